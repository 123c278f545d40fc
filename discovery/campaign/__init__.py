"""A campaign from its file to its end: configuration, start, and the loop."""
