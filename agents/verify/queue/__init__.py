"""Calculations in FireWorks: queued, launched, guarded, recovered.

The task itself is `agents.verify.firetask`: databases know it by that name.
"""
