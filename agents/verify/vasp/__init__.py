"""DFT with VASP under custodian: the backend, its runner, inputs and results."""
