"""How a calculation is set up: cell, mesh, level of theory, and what it will cost."""
