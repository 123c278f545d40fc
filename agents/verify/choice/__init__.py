"""Which candidates get a DFT calculation, and whether the choice pays."""
