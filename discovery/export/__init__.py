"""Candidates for people: chosen by a filter, and written in every form."""
