"""Proposers: which codes to decode next."""
