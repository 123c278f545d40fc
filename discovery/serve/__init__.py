"""Candidates for other people's programs: a read-only OPTIMADE server over the same database."""
