"""Collections of known crystals: fetched, read row by row, and imported."""
