"""Whether two crystals are the same: pymatgen's StructureMatcher, plain and strict, in parallel."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from model.data.canonical import Crystal, structure_from_arrays

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

PLAIN = (0.3, 0.5, 10.0)
"""ltol, stol, angle_tol (degrees) of the published tables (CDVAE's protocol)."""
STRICT = (0.2, 0.3, 5.0)
"""ltol, stol, angle_tol (degrees) of pymatgen's own defaults."""
_FEW = 200  # pairs: below this, starting processes costs more than it saves


@dataclass(frozen=True)
class Match:
    """How close two crystals of the same atoms are.

    Attributes:
        rms: root mean square distance in units of (V/N)^(1/3), None without a match.
        rms_angstrom: the same in Å.
        rms_strict: rms at the strict tolerances, None without a match there.
    """

    rms: float | None = None
    rms_angstrom: float | None = None
    rms_strict: float | None = None


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


@lru_cache(maxsize=2)
def matcher(tolerance: tuple[float, float, float] = PLAIN) -> StructureMatcher:
    """Return the matcher of a tolerance (ltol, stol, angle_tol in degrees)."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    ltol, stol, angle_tol = tolerance
    return StructureMatcher(ltol=ltol, stol=stol, angle_tol=angle_tol)


def match(decoded: Crystal, truth: Crystal) -> Match:
    """Compare two crystals; different atoms or an impossible cell are no match."""
    if sorted(decoded.numbers.tolist()) != sorted(truth.numbers.tolist()):
        return Match()
    one, _ = structure_from_arrays(decoded.numbers, decoded.frac, decoded.cell)
    other, _ = structure_from_arrays(truth.numbers, truth.frac, truth.cell)
    if one is None or other is None:
        return Match()
    try:
        plain = matcher(PLAIN).get_rms_dist(one, other)
    except ValueError:  # pymatgen's words for a decoded cell too skewed for a Niggli reduction
        return Match()
    if plain is None:  # the strict search goes through a part of the same mappings
        return Match()
    strict = matcher(STRICT).get_rms_dist(one, other)
    rms = float(plain[0])
    # The matcher scales both cells to their geometric mean volume before it measures.
    length = ((one.volume * other.volume) ** 0.5 / len(one)) ** (1 / 3)
    return Match(rms, rms * length, None if strict is None else float(strict[0]))


def match_all(
    decoded: Sequence[Crystal], truths: Sequence[Crystal], *, jobs: int = 1
) -> list[Match]:
    """Compare crystals pairwise, in order.

    Args:
        decoded: n crystals.
        truths: n crystals.
        jobs: processes; the call must then come from an importable main module.

    Raises:
        ValueError: if the lengths differ.
    """
    if len(decoded) != len(truths):
        raise ValueError(f"{len(decoded)} crystals cannot be paired with {len(truths)}")
    if jobs <= 1 or len(decoded) < _FEW:
        return list(map(match, decoded, truths))
    # A forked copy of a process that has used torch's threads can hang: start clean ones.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        return list(pool.map(match, decoded, truths, chunksize=16))
