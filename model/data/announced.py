"""Numbers by which a crystal's file announces what follows: checked before anything is reserved.

A count of twenty digits costs its writer nothing, and whoever believes it fills the memory.
"""

from __future__ import annotations

import re

MOST_COLUMNS = 1000
"""Of one property of an extended XYZ file; a tensor of rank four has 81."""
_COLUMNS = re.compile(r":[A-Za-z]:(\d+)")
_COUNTS = re.compile(r"\s*\d+(\s+\d+)*\s*$")


def require_columns(comment: str) -> None:
    """Refuse the second line of an extended XYZ frame if it announces absurdly many columns.

    Raises:
        ValueError: It does.
    """
    for digits in _COLUMNS.findall(comment):
        if len(digits) > 6 or int(digits) > MOST_COLUMNS:
            raise ValueError(f"a property has {digits:.20} columns, more than {MOST_COLUMNS}")


def require_atoms(poscar: str) -> None:
    """Refuse a POSCAR that announces more atoms than it has lines.

    Args:
        poscar: Its text; the counts are in line 6 (VASP 4) or 7, after the cell.

    Raises:
        ValueError: It does.
    """
    lines = poscar.splitlines()
    counts = next((line for line in lines[5:7] if _COUNTS.match(line)), "")
    longest = max(map(len, counts.split()), default=0)
    if longest > 9 or sum(map(int, counts.split())) > len(lines):
        raise ValueError(f"{counts.strip():.60} atoms announced, but it has {len(lines)} lines")
