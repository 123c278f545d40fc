"""Calculations that a laboratory has already, as records with their level of theory."""
