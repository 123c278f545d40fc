"""Verification: which candidates are worth a DFT calculation, and what DFT says of them."""
