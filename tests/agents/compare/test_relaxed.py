"""The relaxed comparison: ranking, budget and verdicts, with relaxations made up by the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Composition, Structure

from agents.compare import relaxed as module
from agents.compare.evaluation import Evaluated, Evaluator
from agents.compare.figures import figures_of
from agents.compare.fitness import above_hull
from agents.compare.methods import METHODS
from agents.compare.records import record_of
from agents.compare.relaxed import Judge, relax_best
from agents.compare.run import search
from agents.relax.hull import Hull
from agents.relax.phases import IncompleteHull, Level, Phase
from agents.relax.relaxation import Relaxation, Stop
from agents.relax.single_point_hulls import SinglePointHulls

LEVEL = Level("toy-1", "f" * 64, "made up")


class ToyPhases:
    """Elements at zero, and one binary phase of some systems; systems with Si have no energies."""

    def __init__(self, lower: float = 0.0) -> None:
        self.lower = lower
        self.hull = SimpleNamespace(margin=0.05)

    def phases_of(self, chemical_system: str) -> list[Phase]:
        symbols = chemical_system.split("-")
        if "Si" in symbols:
            raise IncompleteHull(chemical_system, {"mp-1": "not computed"})
        phases = [Phase(f"element:{s}", Composition(s), 0.0, LEVEL) for s in symbols]
        if len(symbols) == 2:
            depth = -0.1 * (sum(map(ord, chemical_system)) % 4) - self.lower
            phases.append(Phase(chemical_system, Composition("".join(symbols)), depth, LEVEL))
        return phases

    def phases_for(self, composition: Composition) -> list[Phase]:
        return self.phases_of(composition.chemical_system)


class NothingKnown:
    """Knows the crystals of the formulas it was given."""

    def __init__(self, formulas: Sequence[str] = ()) -> None:
        self.formulas = set(formulas)

    def matches(self, structure: Structure) -> str | None:
        return "mp-7" if structure.composition.reduced_formula in self.formulas else None


@pytest.fixture
def judge(evaluator: Evaluator) -> Judge:
    phases = ToyPhases()
    return Judge(
        evaluator, SinglePointHulls(phases, phases), phases, ToyPhases(0.02), NothingKnown()
    )


def _calls(structure: Structure) -> int:
    return 10 + sum(structure.atomic_numbers) % 50


@pytest.fixture(autouse=True)
def relaxations(monkeypatch) -> list[str]:
    """Relaxing lowers the energy by 0.05 eV/atom and costs what `_calls` says; returns the log."""
    log: list[str] = []

    def fake(structures, potential, settings) -> Iterator[tuple[int, Relaxation]]:
        order = np.random.default_rng(len(log)).permutation(len(structures))
        for place in order.tolist():
            structure = structures[place]
            log.append(structure.composition.reduced_formula)
            energy = float(potential.energies([structure])[0]) - 0.05 * len(structure)
            yield place, Relaxation(
                structure, energy, energy, 0.01, 0.0, 5, True, 1.0, 0.1, Stop.CONVERGED,
                _calls(structure),
            )  # fmt: skip

    monkeypatch.setattr(module, "relaxations", fake)
    return log


@pytest.fixture
def found(evaluator: Evaluator) -> tuple[Evaluated, ...]:
    return search(evaluator, METHODS["uniform"], 45, seed=0, evaluations=300).evaluated


def _expected_order(found: Sequence[Evaluated]) -> list[Evaluated]:
    """Rank by brute force."""
    best: dict[str, Evaluated] = {}
    for one in sorted(found, key=lambda e: e.formation_energy or 0.0, reverse=True):
        if one.neutral and one.formation_energy is not None and one.formation_energy < 0:
            best[one.formula] = one
    phases = SinglePointHulls(ToyPhases(), ToyPhases())
    ranked = [(above_hull(one, phases), one) for one in best.values()]
    return [one for above, one in sorted(ranked, key=lambda p: p[0] or 0.0) if above is not None]


@pytest.mark.parametrize("budget", [1, 59, 100, 333, 700, 10_000])
def test_the_budget_is_that_of_one_after_the_other(judge: Judge, found, budget: int) -> None:
    order = _expected_order(found)
    expected, spent = [], 0
    for one in order:
        if spent >= budget:
            break
        spent += _calls(one.structure)
        if spent <= budget:
            expected.append(one.formula)
    result = relax_best(found, judge, budget)
    assert [one.formula for one in result.relaxed] == expected
    assert sum(one.force_calls for one in result.relaxed) <= budget
    assert result.force_calls == min(spent, budget)
    assert result.candidates == len(order)
    assert result.unranked > 0  # those with Si


def test_known_crystals_are_not_relaxed(judge: Judge, found, relaxations: list[str]) -> None:
    first, second = (one.formula for one in _expected_order(found)[:2])
    informed = dataclasses.replace(judge, known=NothingKnown([first]))
    result = relax_best(found, informed, 300)
    assert first not in relaxations
    assert result.skipped == 1
    assert result.relaxed[0].formula == second


def test_near_the_hull_counts_against_the_relaxed_phases(judge: Judge, found) -> None:
    result = relax_best(found, judge, 100_000)
    seen, decided = set(), set()
    for one in result.relaxed:
        system = Composition(one.formula).chemical_system
        depth = -0.1 * (sum(map(ord, system)) % 4) - 0.02
        amounts = sorted(Composition(one.formula).fractional_composition.values())
        hull = depth * 2 * amounts[0]  # the toy's only compound is 1:1
        assert one.refused is None
        above = one.formation_energy - hull
        if one.above_hull is None:  # single points decide: they are at most the margin too high
            bound = one.above_single_points
            assert bound > 0.1 or bound + 0.05 <= 0.1
        else:
            assert one.above_hull == pytest.approx(above)
        seen.add(one.near_hull)
        assert one.near_hull == (above <= 0.1)
        decided.add(one.above_hull is None)
    assert seen == {True, False}
    assert decided == {True, False}


def test_figures_count_new_crystals_near_the_hull(judge: Judge, evaluator: Evaluator) -> None:
    outcome = search(evaluator, METHODS["uniform"], 45, seed=0, evaluations=300)
    result = relax_best(outcome.evaluated, judge, 1000)
    record = record_of(outcome) | {"relaxed": result.record()}
    near = [one for one in result.relaxed if one.near_hull]
    record["relaxed"]["crystals"][result.relaxed.index(near[0])]["known"] = "mp-7"
    figures = figures_of(record)
    assert figures["relaxed_near_hull_known_too"] == len(near)
    assert figures["relaxed_near_hull"] == len(near) - 1
    assert figures["force_calls"] == 1300
    assert figures["undecided"] == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_force": 0.06}, "max_force"),
        ({"energy": -1e4}, "potential_exploited"),
        ({"stop": Stop.VOLUME, "energy": float("nan")}, "volume"),
    ],
)
def test_what_breaks_a_rule_after_relaxation_is_no_hit(
    judge: Judge, found, monkeypatch, change: dict, reason: str
) -> None:
    plain = module.relaxations

    def changed(*arguments) -> Iterator[tuple[int, Relaxation]]:
        for place, one in plain(*arguments):
            yield place, dataclasses.replace(one, **change)

    monkeypatch.setattr(module, "relaxations", changed)
    result = relax_best(found, judge, 300)
    assert {one.refused for one in result.relaxed} == {reason}
    assert not any(one.near_hull for one in result.relaxed)


def test_a_missing_phase_leaves_a_crystal_undecided(judge: Judge, found) -> None:
    def refuses(composition: Composition) -> list[Phase]:
        raise IncompleteHull(composition.chemical_system, {"mp-1": "not converged"})

    unsure = dataclasses.replace(
        judge, relaxed=SimpleNamespace(phases_for=refuses, hull=judge.relaxed.hull)
    )
    result = relax_best(found, unsure, 100_000)
    assert {one.undecided for one in result.relaxed} == {None, "incomplete"}
    assert all((one.near_hull is None) == (one.undecided is not None) for one in result.relaxed)


@pytest.mark.parametrize("seed", range(5))
def test_the_single_point_hull_is_pymatgens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    elements = ("Li", "Fe", "P", "O")

    def phase(name: str, amounts: np.ndarray) -> Phase:
        composition = Composition(dict(zip(elements, amounts.tolist(), strict=True)))
        energy = 0.0 if len(composition) == 1 else float(rng.uniform(-2, 0.3))
        return Phase(name, composition, energy, LEVEL)

    pure = [phase(f"element:{e}", row) for e, row in zip(elements, np.eye(4, dtype=int))]
    mixed = [phase(f"mp-{i}", rng.integers(0, 4, 4)) for i in range(60)]
    phases = pure + [p for p in mixed if len(p.composition) > 1]

    def of(chemical_system: str) -> list[Phase]:
        symbols = set(chemical_system.split("-"))
        return [p for p in phases if {e.symbol for e in p.composition} <= symbols]

    store = SimpleNamespace(phases_of=of)
    hulls = SinglePointHulls(store, store)
    whole = Hull(phases)
    for _ in range(20):
        composition = Composition(dict(zip(elements, rng.integers(0, 5, 4).tolist(), strict=True)))
        if len(composition) < 2:
            continue
        inside = Hull(of(composition.chemical_system)).at(composition, 0.0).hull_energy_per_atom
        assert inside == pytest.approx(whole.at(composition, 0.0).hull_energy_per_atom, abs=1e-9)
        found = hulls.energy(composition.reduced_formula, composition)
        assert found == pytest.approx(inside, abs=1e-9)
