"""Extended XYZ files as ASE reads them, where they are what they say.

A frame begins with its number of atoms, and ASE reads so many lines whether the file has them or
not: a number of twenty digits keeps it busy for ever. So the lines are counted first.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from model.data.announced import require_columns

if TYPE_CHECKING:
    from ase import Atoms

FAULTS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
"""What ASE raises on a damaged file, besides errors of reading it."""


class DamagedFrames(ValueError):
    """A file that is no extended XYZ."""


def read_frames(path: Path) -> list[Atoms]:
    """Read every frame of a file.

    Raises:
        DamagedFrames: It cannot be read, or a frame has fewer lines than it announces.
    """
    from ase.io import read

    try:
        _require_whole(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is refused; the rest is ASE's opinion
            frames: list[Atoms] = read(path, index=":", format="extxyz")
    except (*FAULTS, OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DamagedFrames(f"{reason:.300}") from error
    return frames


def _require_whole(path: Path) -> None:
    """Refuse a file whose frames do not have the lines that they announce."""
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            count = line.strip()
            if not count:  # ASE stops there, too
                return
            if count.startswith("VEC"):  # lattice vectors of old files, after the atoms
                continue
            if not (count.isascii() and count.isdigit()):
                raise DamagedFrames(f"frame {number} begins with {count:.40!r}, no number of atoms")
            announced, found = int(count[:20]) + 1, 1
            require_columns(stream.readline())
            while found < announced and stream.readline():
                found += 1
            if found < announced:
                raise DamagedFrames(
                    f"frame {number} announces {count:.20} atoms, but {max(found - 1, 0)} lines "
                    "follow"
                )
