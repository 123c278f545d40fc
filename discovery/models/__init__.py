"""Models by name: listed, checked, trained, and asked for crystals."""
