"""A person's own crystals: read, written, compared with what is known, and verified."""
