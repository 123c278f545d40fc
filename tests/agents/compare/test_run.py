"""Searches spend exactly their budget, start cold, and are counted right."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymatgen.core import Composition

from agents.compare.cache import EnergyCache
from agents.compare.evaluation import Evaluator
from agents.compare.figures import figures_of
from agents.compare.methods import METHODS, UnknownMethod, settings_of
from agents.compare.records import record_of
from agents.compare.run import Search, search
from agents.propose.proposer import Proposal
from agents.propose.settings import GeneticSettings
from agents.relax.settings import RelaxSettings

COLD = ("uniform", "donor", "paper_ga", "tpe")


def _formulas(found: Search) -> list[str | None]:
    return [one.formula for one in found.evaluated]


def _formation_energies(found: Search) -> list[float | None]:
    return [one.formation_energy for one in found.evaluated]


@pytest.mark.parametrize("method", COLD)
@pytest.mark.parametrize("budget", [1, 64, 150])
def test_the_budget_is_spent_to_the_last_evaluation(
    evaluator: Evaluator, method: str, budget: int
) -> None:
    found = search(evaluator, METHODS[method], 45, seed=1, evaluations=budget)
    assert len(found.evaluated) == budget == sum(found.generations)
    assert len({one.codes for one in found.evaluated}) == budget
    assert len(evaluator.potential.asked) <= budget


def test_figures_equal_a_recount_of_what_the_potential_saw(evaluator: Evaluator) -> None:
    from smact.screening import smact_validity

    found = search(evaluator, METHODS["donor"], 45, seed=2, evaluations=200)
    formulas, deep, negative = set(), set(), 0
    for structure in list(evaluator.potential.asked):
        energy = float(evaluator.potential.energies([structure])[0]) / len(structure) - 0.1
        negative += energy < 0
        formula = Composition(structure.formula).reduced_formula
        if energy < 0 and smact_validity(formula, oxidation_states_set="smact14"):
            formulas.add(formula)
            if energy < -0.5:
                deep.add(formula)
    figures = figures_of(record_of(found))
    assert 0 < len(deep) < len(formulas)
    assert (figures["hits"], figures["hits_below_-0.5"]) == (len(formulas), len(deep))
    assert figures["share_negative"] == negative / 200
    assert figures["evaluations"] == 200


def test_refused_crystals_cost_an_evaluation_and_never_reach_the_potential(
    evaluator: Evaluator,
) -> None:
    found = search(evaluator, METHODS["uniform"], 45, seed=0, evaluations=200)
    reasons = record_of(found)["refused"]
    assert set(reasons) == {"invalid_decode", "volume", "unsupported_elements"}
    assert len(evaluator.potential.asked) + sum(reasons.values()) == 200
    assert evaluator.potential_calls == len(evaluator.potential.asked)


def test_a_survivor_is_not_paid_for_twice(evaluator: Evaluator) -> None:
    settings = GeneticSettings(population=20, parents=6, survivors=4, distinct=True)
    found = search(evaluator, settings, 45, seed=0, evaluations=100)
    assert found.asked > 100
    assert [len(members) for members in found.members[:3]] == [20, 20, 20]
    assert found.generations[0] == 20
    assert all(size <= 16 for size in found.generations[1:])
    first, second = found.members[:2]
    assert len(set(first) & set(second)) >= 4


def test_a_method_with_nothing_left_stops_below_the_budget(evaluator: Evaluator) -> None:
    points = 8 * 8 * 6
    found = search(evaluator, METHODS["uniform"], 45, seed=0, evaluations=points + 50)
    assert len(found.evaluated) == points


def test_a_search_knows_nothing_of_the_searches_before(
    evaluator: Evaluator, toy_generator, toy_potential, toy_references
) -> None:
    alone = search(evaluator, METHODS["paper_ga"], 45, seed=3, evaluations=150)
    search(evaluator, METHODS["donor"], 46, seed=3, evaluations=150)
    again = search(evaluator, METHODS["paper_ga"], 45, seed=3, evaluations=150)
    other = Evaluator(toy_generator, toy_potential, toy_references, RelaxSettings())
    fresh = search(other, METHODS["paper_ga"], 45, seed=3, evaluations=150)
    for found in (again, fresh):
        assert [one.codes for one in found.evaluated] == [one.codes for one in alone.evaluated]
    different = search(evaluator, METHODS["paper_ga"], 45, seed=4, evaluations=150)
    assert [o.codes for o in different.evaluated] != [o.codes for o in alone.evaluated]


def test_a_cache_changes_no_figure_but_spares_the_potential(
    toy_generator, toy_potential, toy_references, tmp_path: Path
) -> None:
    def run(cache: EnergyCache | None) -> tuple[Search, int, int]:
        toy_potential.asked.clear()
        judge = Evaluator(toy_generator, toy_potential, toy_references, RelaxSettings(), cache)
        found = search(judge, METHODS["paper_ga"], 45, seed=3, evaluations=150)
        return found, len(toy_potential.asked), judge.potential_calls

    def cache(version: str = "toy-1") -> EnergyCache:
        return EnergyCache(tmp_path / "e.sqlite", generator_version=version, level="toy-1")

    plain, asked, calls = run(None)
    first, first_asked, first_calls = run(cache())
    second, second_asked, second_calls = run(cache())
    assert _formulas(plain) == _formulas(first) == _formulas(second)
    assert _formation_energies(plain) == _formation_energies(first) == _formation_energies(second)
    assert calls == first_calls == second_calls == asked == first_asked
    assert second_asked == 0
    assert second.seconds.cpu > second.seconds_without_potential.cpu
    _, other_asked, _ = run(cache("toy-2"))
    assert other_asked == asked


def test_an_error_of_the_library_is_one_crystals_own(evaluator: Evaluator, monkeypatch) -> None:
    plain = search(evaluator, METHODS["uniform"], 45, seed=0, evaluations=64)
    bad = next(one for one in plain.evaluated if one.formation_energy is not None).formula
    real = evaluator.potential.energies

    def fails(structures):
        if any(s.composition.reduced_formula == bad for s in structures):
            raise RuntimeError("isolated atom")
        return real(structures)

    monkeypatch.setattr(evaluator.potential, "energies", fails)
    found = search(evaluator, METHODS["uniform"], 45, seed=0, evaluations=64)
    for before, after in zip(plain.evaluated, found.evaluated, strict=True):
        if before.formula == bad and before.refused is None:
            assert after.refused == "failed"
            assert not after.hit
        else:
            assert after == before


def test_a_proposed_structure_is_evaluated_and_not_its_codes(
    evaluator: Evaluator, toy_generator
) -> None:
    codes = toy_generator.bank.codes(45).with_global_genes((0, 0, 2))
    own = toy_generator.decode([codes.with_global_genes((1, 1, 5))])[0].structure
    plain, brought = evaluator.evaluate(
        [Proposal(codes, "x", "b", 0, 0, 0), Proposal(codes, "x", "b", 0, 0, 1, structure=own)]
    )
    assert plain.formula != brought.formula
    assert brought.structure is own
    assert brought.energy == pytest.approx(evaluator.potential.energies([own])[0])


def test_an_unknown_method_is_named_with_the_nearest(evaluator: Evaluator) -> None:
    with pytest.raises(UnknownMethod, match="did you mean paper_ga"):
        settings_of("papr_ga")
    with pytest.raises(UnknownMethod, match="known: uniform, donor"):
        settings_of("xyz")
