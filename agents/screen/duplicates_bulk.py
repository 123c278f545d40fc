"""Duplicates in bulk: many crystals against a large reference collection.

Crystals are grouped by reduced formula; within a group the known ones are compared in the order of
a geometric fingerprint, the nearest first, and confirmed by StructureMatcher
(`agents.screen.matching`). Whether a crystal has a match is what comparing it with every crystal of
its formula would say.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING

from agents.screen.matching import (
    DISORDERED,
    FAULTS,
    ComparedCrystal,
    Match,
    find_matches,
    reason_of,
)
from agents.screen.settings import MatcherSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.screen.references import Reference

FORMULAS_AT_ONCE = 200
"""Formulas that are read from the reference together, and given to one process."""
AHEAD = 3
"""Such lots that wait for each process."""


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
    matches: tuple[Match, ...]
    error: str | None = None
    broken: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Group:
    """The crystals of one formula."""

    formula: str
    queries: tuple[tuple[str, Structure], ...]
    known: tuple[ComparedCrystal, ...]


@dataclass(frozen=True)
class _Lot:
    """Groups that one process compares at once."""

    groups: tuple[_Group, ...]
    tolerances: MatcherSettings
    exhaustive: bool
    vacuum: float | None


def search(
    queries: Mapping[str, Structure],
    reference: Reference,
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
    lots = (
        _Lot(groups, tolerances, exhaustive, reference.vacuum)
        for groups in _groups(queries, reference)
    )
    found: dict[str, Found] = {}
    for results in _run(lots, processes):
        found.update((one.id, one) for one in results)
        progress(len(found), len(queries))
    return [found[name] for name in queries]


def _groups(queries: Mapping[str, Structure], reference: Reference) -> Iterator[tuple[_Group, ...]]:
    by_formula: dict[str, list[tuple[str, Structure]]] = defaultdict(list)
    for name, structure in queries.items():
        by_formula[structure.composition.reduced_formula].append((name, structure))
    formulas = iter(by_formula)
    while chosen := list(islice(formulas, FORMULAS_AT_ONCE)):
        known = reference.of_formulas(chosen)
        yield tuple(_Group(one, tuple(by_formula[one]), known[one]) for one in chosen)


def _run(lots: Iterator[_Lot], processes: int) -> Iterator[list[Found]]:
    if processes == 1:
        yield from map(_search_lot, lots)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[list[Found]]] = deque()
        for lot in lots:
            waiting.append(pool.submit(_search_lot, lot))
            if len(waiting) >= AHEAD * processes:  # or the whole reference lies in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _search_lot(lot: _Lot) -> list[Found]:
    return [one for group in lot.groups for one in _search_group(group, lot)]


def _search_group(group: _Group, lot: _Lot) -> Iterator[Found]:
    block = len(group.known)
    for name, structure in group.queries:
        if not group.known:
            error = None if structure.is_ordered else DISORDERED
            yield Found(name, group.formula, 0, 0, (), error)
            continue
        target = ComparedCrystal(name, structure, vacuum=lot.vacuum)
        try:
            _ = target.reduced
            matches = find_matches(target, group.known, lot.tolerances, exhaustive=lot.exhaustive)
        except FAULTS as error:
            yield Found(name, group.formula, block, 0, (), reason_of(error))
            continue
        yield Found(
            name, group.formula, block, matches.compared, matches.found, broken=matches.broken
        )
