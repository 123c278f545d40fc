"""What DFT says of a crystal: gap, bands, formation energy, energy above the hull."""
