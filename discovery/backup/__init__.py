"""A campaign in one archive, and back from it, under another name if wanted."""
