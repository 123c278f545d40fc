"""The agents of one campaign: each reads records, acts, and writes records."""
