"""DFT with GPAW: the backend, and one module for each task of its runner."""
