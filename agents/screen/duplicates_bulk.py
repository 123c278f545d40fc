"""Duplicates in bulk: many crystals against a large reference collection.

Crystals are grouped by reduced formula; within a group the known ones are compared in the order of
a geometric fingerprint, the nearest first, and confirmed by StructureMatcher. Cells are reduced
once per crystal and not once per pair, and two crystals whose primitive cells have unequal numbers
of sites are not compared (StructureMatcher never matches them). Neither changes a verdict: whether
a crystal has a match is what comparing it with every crystal of its formula would say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from agents.screen.duplicates_fingerprint import fingerprint, nearest_first
from agents.screen.settings import MatcherSettings
from agents.tables import parse_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from agents.screen.references import CatalogueReference

FAULTS = (ValueError, LookupError, TypeError, ArithmeticError, np.linalg.LinAlgError)
"""What pymatgen raises for a crystal that it cannot reduce or compare."""

DISORDERED = "it has partially occupied sites"


@dataclass(frozen=True)
class BulkMatch:
    """A known crystal that counts as the same one.

    Attributes:
        reference_id: Its identifier in the reference.
        rms: Root mean square displacement, in units of (V/N)^(1/3).
        rms_angstrom: The same in Å, at the geometric mean of the two volumes.
        max_distance: Largest displacement of a site, in units of (V/N)^(1/3).
        label: Role in the reference.
    """

    reference_id: str
    rms: float
    rms_angstrom: float
    max_distance: float
    label: str


@dataclass(frozen=True)
class Found:
    """What became of one crystal.

    Attributes:
        id: Crystal asked about.
        formula: Its reduced formula.
        block: Known crystals with this formula.
        compared: How many of them StructureMatcher was asked about.
        matches: Those that match, the closest first. Unless the search was exhaustive it stopped at
            the first one.
        error: Why it could not be compared, else None.
        broken: Known crystals of its formula that could not be compared, with the reason.
    """

    id: str
    formula: str
    block: int
    compared: int
    matches: tuple[BulkMatch, ...]
    error: str | None = None
    broken: tuple[tuple[str, str], ...] = ()


class ReducedMatcher(StructureMatcher):
    """StructureMatcher for crystals that StructureMatcher has reduced before."""

    @classmethod
    def _get_reduced_structure(
        cls, struct: Structure, primitive_cell: bool = True, niggli: bool = True
    ) -> Structure:
        return struct.copy()


class _Crystal:
    """A crystal that is reduced when it is first compared, and only once.

    Attributes:
        id: Its identifier.
        label: Its role.
        fingerprint: `agents.screen.duplicates_fingerprint.fingerprint`; it needs no reduced cell.
    """

    def __init__(self, identifier: str, structure: Structure, label: str = "") -> None:
        """Take a crystal.

        Raises:
            ValueError: It has partially occupied sites, or no volume.
        """
        if not structure.is_ordered:
            raise ValueError(DISORDERED)
        self.id, self.label = identifier, label
        self._structure = structure.copy()
        self._structure.remove_oxidation_states()
        self.fingerprint: NDArray[np.float64] = fingerprint(self._structure)

    @cached_property
    def reduced(self) -> Structure:
        """Its primitive cell, as StructureMatcher makes it."""
        return StructureMatcher()._get_reduced_structure(self._structure)


@dataclass(frozen=True)
class _Group:
    """The crystals of one formula; structures may be text of the data folder's tables."""

    formula: str
    queries: tuple[tuple[str, Structure], ...]
    known: tuple[tuple[str, Structure | str, str], ...]
    tolerances: MatcherSettings
    exhaustive: bool


def search(
    queries: Mapping[str, Structure],
    reference: CatalogueReference,
    tolerances: MatcherSettings,
    *,
    exhaustive: bool = False,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Found]:
    """Find the known crystals that crystals match.

    Args:
        queries: Name to ordered crystal.
        reference: Known crystals.
        tolerances: When two count as the same.
        exhaustive: Compare with every crystal of the formula instead of stopping at the first that
            matches, so that all are found and the closest is truly the closest.
        processes: Processes that share the formulas; the answer does not depend on it.
        progress: Told how many crystals are done, and of how many, now and then.

    Returns:
        What was found, in the order of `queries`.
    """
    groups = list(_groups(queries, reference, tolerances, exhaustive))
    found: dict[str, Found] = {}
    for results in _run(groups, processes):
        found.update((one.id, one) for one in results)
        progress(len(found), len(queries))
    return [found[name] for name in queries]


def _groups(
    queries: Mapping[str, Structure],
    reference: CatalogueReference,
    tolerances: MatcherSettings,
    exhaustive: bool,
) -> Iterator[_Group]:
    by_formula: dict[str, list[tuple[str, Structure]]] = defaultdict(list)
    for name, structure in queries.items():
        by_formula[structure.composition.reduced_formula].append((name, structure))
    for formula, members in by_formula.items():
        yield _Group(formula, tuple(members), reference.entries(formula), tolerances, exhaustive)


def _run(groups: Sequence[_Group], processes: int) -> Iterator[list[Found]]:
    if processes == 1:
        yield from map(_search_group, groups)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_search_group, groups, chunksize=16)


def _search_group(group: _Group) -> list[Found]:
    if not group.known:
        return [
            Found(name, group.formula, 0, 0, (), None if structure.is_ordered else DISORDERED)
            for name, structure in group.queries
        ]
    known: list[_Crystal] = []
    broken: list[tuple[str, str]] = []
    for identifier, entry, label in group.known:
        try:
            structure = parse_structure(entry) if isinstance(entry, str) else entry
            known.append(_Crystal(identifier, structure, label))
        except FAULTS as error:
            broken.append((identifier, _reason(error)))
    prints = np.stack([one.fingerprint for one in known]) if known else np.zeros((0, 0))
    found = []
    for name, structure in group.queries:
        try:
            target = _Crystal(name, structure)
            _ = target.reduced
        except FAULTS as error:
            found.append(_failed(group, name, _reason(error), broken))
            continue
        found.append(_search_one(group, target, known, prints, broken))
    return found


def _search_one(
    group: _Group,
    target: _Crystal,
    known: Sequence[_Crystal],
    prints: NDArray[np.float64],
    broken: list[tuple[str, str]],
) -> Found:
    compared, matches, wrong = 0, [], list(broken)
    for index in nearest_first(target.fingerprint, prints)[0] if known else ():
        other = known[index]
        try:
            if len(other.reduced) != len(target.reduced):
                continue
            compared += 1
            match = _match(target, other, group.tolerances)
        except FAULTS as error:
            wrong.append((other.id, _reason(error)))
            continue
        if match is not None:
            matches.append(match)
            if not group.exhaustive:
                break
    matches.sort(key=lambda match: match.rms)
    block = len(group.known)
    return Found(target.id, group.formula, block, compared, tuple(matches), broken=tuple(wrong))


def _match(target: _Crystal, other: _Crystal, tolerances: MatcherSettings) -> BulkMatch | None:
    """Compare as `agents.screen.duplicates.match_distance` does, without reducing again."""
    matcher = _matcher(tolerances)
    result = matcher.get_rms_dist(target.reduced, other.reduced)
    if result is None:
        return None
    rms, largest = float(result[0]), float(result[1])
    if largest > tolerances.stol and not matcher.fit(target.reduced, other.reduced):
        return None
    volume = (target.reduced.volume * other.reduced.volume) ** 0.5 / len(target.reduced)
    return BulkMatch(other.id, rms, rms * float(volume) ** (1 / 3), largest, other.label)


def _failed(group: _Group, name: str, error: str, broken: list[tuple[str, str]]) -> Found:
    return Found(name, group.formula, len(group.known), 0, (), error, tuple(broken))


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


@lru_cache(maxsize=8)
def _matcher(tolerances: MatcherSettings) -> ReducedMatcher:
    settings: dict[str, Any] = tolerances.model_dump()
    return ReducedMatcher(**settings)
