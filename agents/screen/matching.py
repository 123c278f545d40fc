"""When two crystals count as the same one: StructureMatcher, every cell reduced once.

pymatgen's StructureMatcher reduces both cells anew for every pair. Here a crystal is reduced when
it is first compared and remembered, and two shortcuts spare comparisons that cannot end in a match:
primitive cells with unequal numbers of sites never match, and the primitive cell's number of sites
divides that of the cell. No verdict is changed by that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from agents.screen.duplicates_fingerprint import fingerprint, nearest_first
from agents.screen.settings import MatcherSettings
from agents.slab import is_slab_like, with_vacuum
from db.crystals import record_to_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

FAULTS = (ValueError, LookupError, TypeError, ArithmeticError, np.linalg.LinAlgError)
"""What pymatgen raises for a crystal that it cannot read, reduce or compare."""

DISORDERED = "it has partially occupied sites"


@dataclass(frozen=True)
class Match:
    """A crystal that counts as the same one; displacements are of the mapping with the least RMS.

    Attributes:
        id: Identifier in the reference, or candidate.
        rms: Root mean square displacement, in units of (V/N)^(1/3).
        rms_angstrom: The same in Å, at the geometric mean of the two volumes.
        max_distance: Largest displacement of a site, in units of (V/N)^(1/3).
        label: Role in a reference (``train``, ``val``, ``known``), or state of a candidate.
    """

    id: str
    rms: float
    rms_angstrom: float
    max_distance: float
    label: str


@dataclass(frozen=True)
class Matches:
    """What one crystal matches among others of its formula.

    Attributes:
        compared: How many of them StructureMatcher was asked about.
        found: Those that match, the closest first.
        broken: Those that could not be compared, with the reason.
    """

    compared: int
    found: tuple[Match, ...]
    broken: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Written:
    """A crystal as a table has it.

    Attributes:
        text: The cell of its `structure` column.
        read: What reads it (`agents.tables.structure_reader`).
    """

    text: str
    read: Callable[[str], Structure]


class ComparedCrystal:
    """A crystal that is read, described and reduced when it is first compared, each once.

    Attributes:
        id: Its identifier.
        role: ``train`` if a generator was trained on it, ``val``, ``test`` or ``known``; of a
            candidate its state.
    """

    def __init__(
        self,
        identifier: str,
        crystal: Structure | Written | Mapping[str, Any],
        role: str = "",
        *,
        stored: NDArray[np.float64] | None = None,
        vacuum: float | None = None,
    ) -> None:
        """Take a crystal.

        Args:
            identifier: Its identifier.
            crystal: The crystal; or what a table has; or a record
                (`db.crystals.record_to_structure`).
            role: Its role.
            stored: Its fingerprint, if it is known.
            vacuum: Å that a slab gets before it is compared (`agents.slab`); a crystal without a
                vacuum stays as it is. None: slabs stay as they are, too.
        """
        self.id, self.role = identifier, role
        self._crystal, self._vacuum = crystal, vacuum
        self._stored = stored if vacuum is None else None  # that of another vacuum

    @property
    def structure(self) -> Structure:
        """The crystal as it is compared: no oxidation states, and a slab with the vacuum of all.

        Raises:
            ValueError: It has partially occupied sites, or is no crystal (also others of `FAULTS`).
        """
        crystal = self._crystal
        if isinstance(crystal, Written):
            structure = crystal.read(crystal.text)
        elif isinstance(crystal, Mapping):
            structure = record_to_structure(dict(crystal))
        else:
            structure = crystal.copy()
        if not structure.is_ordered:
            raise ValueError(DISORDERED)
        structure.remove_oxidation_states()
        if self._vacuum is not None and is_slab_like(structure):
            structure = with_vacuum(structure, self._vacuum)
        return structure

    @cached_property
    def n_sites(self) -> int:
        """Sites of the cell as it is given."""
        crystal = self._crystal
        if isinstance(crystal, Written):
            return len(json.loads(crystal.text)["species"])
        return len(crystal["species"] if isinstance(crystal, Mapping) else crystal)

    @cached_property
    def fingerprint(self) -> NDArray[np.float64]:
        """`agents.screen.duplicates_fingerprint.fingerprint`, the stored one if there is one."""
        return fingerprint(self.structure) if self._stored is None else self._stored

    @cached_property
    def reduced(self) -> Structure:
        """Its primitive cell, as StructureMatcher makes it.

        StructureMatcher's own method looks every crystal up in a cache first, which costs a fifth
        of the whole comparison where few come twice.
        """
        niggli = self.structure.get_reduced_structure(reduction_algo="niggli")
        return niggli.get_primitive_structure()


class ReducedMatcher(StructureMatcher):
    """StructureMatcher for crystals that StructureMatcher has reduced before."""

    @classmethod
    def _get_reduced_structure(
        cls, struct: Structure, primitive_cell: bool = True, niggli: bool = True
    ) -> Structure:
        return struct  # the caller has copied it


def match_crystals(
    first: ComparedCrystal, second: ComparedCrystal, tolerances: MatcherSettings
) -> Match | None:
    """Compare two crystals as `StructureMatcher.fit` does (primitive cells, scaled to one volume).

    A match demands that the *largest* displacement can be brought below the site tolerance; the
    reconstruction metric of the papers, which looks at the RMS only, is laxer.

    Args:
        first: One crystal.
        second: Another with the same reduced formula.
        tolerances: When they count as the same.

    Returns:
        The second as a match of the first, or None.
    """
    one, other = first.reduced, second.reduced
    matcher = _matcher(tolerances)
    result = matcher.get_rms_dist(one, other)
    if result is None:
        return None
    rms, largest = float(result[0]), float(result[1])
    if largest > tolerances.stol and not matcher.fit(one, other):
        return None
    volume = (one.volume * other.volume) ** 0.5 / len(one)
    return Match(second.id, rms, rms * float(volume) ** (1 / 3), largest, second.role)


def match_distance(
    first: Structure, second: Structure, tolerances: MatcherSettings
) -> tuple[float, float] | None:
    """Compare two crystals; see `match_crystals`.

    Returns:
        (RMS, largest) displacement in units of (V/N)^(1/3), or None if they do not match.
    """
    match = match_crystals(ComparedCrystal("", first), ComparedCrystal("", second), tolerances)
    return None if match is None else (match.rms, match.max_distance)


def find_matches(
    target: ComparedCrystal,
    known: Sequence[ComparedCrystal],
    tolerances: MatcherSettings,
    *,
    exhaustive: bool,
) -> Matches:
    """Find the crystals that match one.

    Args:
        target: The crystal; it can be reduced.
        known: Others with its formula.
        tolerances: When two count as the same.
        exhaustive: Find all that match, so that the first of `Matches.found` is truly the closest;
            False: compare in the order of the fingerprints, and stop at the first that matches.
    """
    compared, found = 0, []
    n = len(target.reduced)
    alike, broken = _of_sites(known, n)
    if not exhaustive:
        alike, unreadable = _nearest_first(target, alike)
        broken += unreadable
    for other in alike:
        try:
            if len(other.reduced) != n:
                continue
            compared += 1
            match = match_crystals(target, other, tolerances)
        except FAULTS as error:
            broken.append((other.id, reason_of(error)))
            continue
        if match is not None:
            found.append(match)
            if not exhaustive:
                break
    found.sort(key=lambda match: match.rms)
    return Matches(compared, tuple(found), tuple(broken))


_Broken = list[tuple[str, str]]


def _of_sites(known: Sequence[ComparedCrystal], n: int) -> tuple[list[ComparedCrystal], _Broken]:
    """Leave those whose primitive cell may have n sites."""
    alike, broken = [], []
    for other in known:
        try:
            if other.n_sites % n == 0:
                alike.append(other)
        except FAULTS as error:
            broken.append((other.id, reason_of(error)))
    return alike, broken


def _nearest_first(
    target: ComparedCrystal, known: Sequence[ComparedCrystal]
) -> tuple[list[ComparedCrystal], _Broken]:
    described, prints, broken = [], [], []
    for other in known:
        try:
            prints.append(other.fingerprint)
            described.append(other)
        except FAULTS as error:
            broken.append((other.id, reason_of(error)))
    if len(described) < 2:
        return described, broken
    order = nearest_first(target.fingerprint, np.stack(prints))[0]
    return [described[index] for index in order], broken


def reason_of(error: Exception) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@lru_cache(maxsize=8)
def _matcher(tolerances: MatcherSettings) -> ReducedMatcher:
    settings: dict[str, Any] = tolerances.model_dump()
    return ReducedMatcher(**settings)
