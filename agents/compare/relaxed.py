"""What is left of the candidates of a search after relaxation, at an equal number of force calls.

Whatever found the candidates, they are chosen in the same way: one crystal of each reduced formula,
SMACT-valid with a negative formation energy, ranked by its single-point energy above the hull of
single points of competing phases. Crystals that are known already are not relaxed. The
relaxation goes down this list until the force calls are spent; the one that they do not suffice
for does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from agents.compare.fitness import above_hull
from agents.relax.batch import relaxations
from agents.relax.hull import Hull, energy_above_hull
from agents.relax.phases import HullRefused
from agents.relax.rules import judge_relaxation

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from agents.compare.evaluation import Evaluated, Evaluator
    from agents.compare.novelty import KnownCrystals
    from agents.relax.phases import Phases
    from agents.relax.phases_evaluation import CompetingPhases
    from agents.relax.relaxation import Relaxation
    from agents.relax.single_point_hulls import SinglePointHulls

NEAR = 0.1
"""A crystal no further above the hull than this counts as near it, eV/atom."""


@dataclass(frozen=True)
class Relaxed:
    """One candidate after relaxation.

    Attributes:
        formula: reduced formula.
        above_hull_before: single-point energy above the single-point hull, eV/atom.
        force_calls: what its relaxation cost.
        formation_energy: of the relaxed crystal, eV/atom; None where it blew up.
        max_force: raw, from a new evaluation, eV/Å; None where it blew up.
        refused: the rule of acceptance that it breaks, or None.
        known: the known crystal it became, or None.
        above_single_points: its energy above the hull of the single points of all phases, eV/atom,
            which is a lower bound, as relaxing phases lowers the hull; of those for the ranking
            where that is enough to see that it is far. None where it was refused or has no hull.
        above_hull: energy above the hull of relaxed phases, eV/atom; computed only where the bound
            leaves it open.
        near_hull: whether it was accepted and is near the hull, new or not; None where the hull is
            undecided.
        undecided: why there is no hull, or None.
    """

    formula: str
    above_hull_before: float
    force_calls: int
    formation_energy: float | None = None
    max_force: float | None = None
    refused: str | None = None
    known: str | None = None
    above_single_points: float | None = None
    above_hull: float | None = None
    near_hull: bool | None = False
    undecided: str | None = None


@dataclass(frozen=True)
class Judge:
    """Everything that judges candidates, the same for all methods.

    Attributes:
        evaluator: potential, references and settings of the relaxation.
        hulls: distances to the hulls of single points, for the ranking.
        single: all competing phases as they are in the reference collection.
        relaxed: the same, relaxed with the candidates' criterion.
        known: crystals that are not new.
    """

    evaluator: Evaluator
    hulls: SinglePointHulls
    single: Phases
    relaxed: CompetingPhases
    known: KnownCrystals


@dataclass(frozen=True)
class Relaxations:
    """The relaxed comparison of one search.

    Attributes:
        relaxed: what was relaxed, in the order of the ranking.
        candidates: length of the list that was ranked.
        skipped: candidates that were known crystals before they were relaxed.
        unranked: candidates whose hull is undecided.
        force_calls: of the relaxations that count and of the one that was cut short.
    """

    relaxed: tuple[Relaxed, ...]
    candidates: int
    skipped: int
    unranked: int
    force_calls: int

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "crystals": [vars(one) for one in self.relaxed],
            "candidates": self.candidates,
            "skipped": self.skipped,
            "unranked": self.unranked,
            "force_calls": self.force_calls,
        }


def relax_best(evaluated: Sequence[Evaluated], judge: Judge, force_calls: int) -> Relaxations:
    """Relax the best candidates of a search.

    Args:
        evaluated: what the search evaluated.
        judge: how they are ranked and judged.
        force_calls: how many may be spent here.
    """
    ranked, unranked = _ranking(evaluated, judge)
    line = _Line(ranked, judge.known)
    relaxed: list[Relaxed] = []
    left = force_calls
    per_crystal = _most_calls(judge)
    while left > 0:
        # as many at once as certainly fit, so that the result is that of one after the other
        wave = line.take(max(1, left // per_crystal))
        if not wave:
            break
        for (candidate, distance), result in zip(wave, _relax(wave, judge), strict=True):
            calls = per_crystal if isinstance(result, Exception) else result.force_calls
            left -= calls
            if left >= 0:
                relaxed.append(_judged(candidate, distance, result, calls, judge))
    spent = force_calls - max(left, 0)
    return Relaxations(tuple(relaxed), len(ranked), line.skipped, unranked, spent)


class _Line:
    """The ranked candidates, without those that are known already."""

    def __init__(self, ranked: list[tuple[Evaluated, float]], known: KnownCrystals) -> None:
        self.skipped = 0
        self._waiting = self._new(iter(ranked), known)

    def take(self, n: int) -> list[tuple[Evaluated, float]]:
        return list(islice(self._waiting, n))

    def _new(
        self, ranked: Iterator[tuple[Evaluated, float]], known: KnownCrystals
    ) -> Iterator[tuple[Evaluated, float]]:
        for candidate, distance in ranked:
            assert candidate.structure is not None  # hits have one
            if known.matches(candidate.structure) is None:
                yield candidate, distance
            else:
                self.skipped += 1


def _ranking(
    evaluated: Sequence[Evaluated], judge: Judge
) -> tuple[list[tuple[Evaluated, float]], int]:
    """Return the best crystal of every formula with its distance to the single-point hull."""
    best: dict[str, Evaluated] = {}
    for one in evaluated:
        if one.hit and one.structure is not None and len(one.structure.composition) > 1:
            assert one.formula is not None
            rival = best.get(one.formula)
            if rival is None or _energy(one) < _energy(rival):
                best[one.formula] = one
    ranked: list[tuple[Evaluated, float]] = []
    for one in best.values():
        distance = above_hull(one, judge.hulls)
        if distance is not None:
            ranked.append((one, distance))
    ranked.sort(key=lambda entry: entry[1])
    return ranked, len(best) - len(ranked)


def _energy(evaluated: Evaluated) -> float:
    assert evaluated.formation_energy is not None  # of a hit
    return evaluated.formation_energy


def _most_calls(judge: Judge) -> int:
    """Return the most force calls that one relaxation can need."""
    settings = judge.evaluator.settings
    scan = len({1.0, *settings.volume_scan_scales}) if settings.volume_scan else 0
    return settings.max_steps + scan + 2


def _relax(wave: Sequence[tuple[Evaluated, float]], judge: Judge) -> list[Relaxation | Exception]:
    structures = [one.structure for one, _ in wave if one.structure is not None]
    evaluator = judge.evaluator
    found = dict(relaxations(structures, evaluator.potential, evaluator.settings))
    return [found[place] for place in range(len(structures))]


def _judged(
    candidate: Evaluated,
    distance: float,
    result: Relaxation | Exception,
    calls: int,
    judge: Judge,
) -> Relaxed:
    assert candidate.formula is not None
    if isinstance(result, Exception):
        return Relaxed(candidate.formula, distance, calls, refused="failed")
    evaluator = judge.evaluator
    composition = result.structure.composition
    energy = evaluator.references.formation_energy_per_atom(composition, result.energy)
    verdict = judge_relaxation(
        result, energy, evaluator.potential, evaluator.references, evaluator.settings
    )
    if result.stop.blown_up:
        reason = str(result.stop) if verdict is None else verdict.reason
        return Relaxed(candidate.formula, distance, calls, refused=reason)
    figures = (candidate.formula, distance, calls, energy, result.max_force)
    if verdict is not None:
        return Relaxed(*figures, refused=verdict.reason)
    known = judge.known.matches(result.structure)
    hull = judge.hulls.energy(candidate.formula, composition)
    if hull is None or energy - hull > NEAR:  # more phases, and relaxed ones, only lower the hull
        bound = None if hull is None else energy - hull
        return Relaxed(*figures, known=known, above_single_points=bound)
    place = _place(composition, energy, judge)
    return Relaxed(*figures, known=known, **place)


def _place(composition: Composition, energy: float, judge: Judge) -> dict[str, Any]:
    """Return where a crystal lies, without relaxing phases where single points decide."""
    bound = None
    try:
        single = Hull(judge.single.phases_of(composition.chemical_system))
        bound = single.at(composition, energy).energy_above_hull
        if bound > NEAR:
            return {"above_single_points": bound}
        if bound + judge.relaxed.hull.margin <= NEAR:
            return {"above_single_points": bound, "near_hull": True}
        phases = judge.relaxed.phases_for(composition)
        above = energy_above_hull(composition, energy, phases).energy_above_hull
    except HullRefused as refusal:
        return {"above_single_points": bound, "near_hull": None, "undecided": refusal.reason}
    return {"above_single_points": bound, "above_hull": above, "near_hull": above <= NEAR}
