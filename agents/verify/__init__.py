"""Verification: which candidates are worth a DFT calculation, and what DFT says of them.

choice      which candidates get a DFT calculation, and whether the choice pays
setup       how a calculation is set up: cell, mesh, level of theory, and what it will cost
queue       calculations in FireWorks: queued, launched, guarded, recovered
gpaw        DFT with GPAW: the backend, and one module for each task of its runner
vasp        DFT with VASP under custodian: the backend, its runner, inputs and results
imported    calculations that a laboratory has already, as records with their level of theory
properties  what DFT says of a crystal: gap, bands, formation energy, energy above the hull
"""
