"""What a person must decide: faults that no loop may mend by itself, and how each is mended.

The loop, the reaper and the launchers mend what has one right answer (expired leases, lost
launches, a broker that was wiped). What is left needs somebody who knows why it happened: was the
disk full, is that machine gone for good? `examine` lists it with its evidence, `apply` does one
thing that was asked for, records who asked, and deletes nothing.
"""

from discovery.repair.actions import NotFound, apply
from discovery.repair.checks import examine
from discovery.repair.finding import Finding

__all__ = ["Finding", "NotFound", "apply", "examine"]
