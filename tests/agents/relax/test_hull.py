"""The hull against pymatgen and against a linear program that knows no facets."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition
from scipy.optimize import linprog

from agents.relax.hull import Hull, energy_above_hull
from agents.relax.phases import IncompleteHull, Level, MixedLevels, Phase

LEVEL = Level("chgnet-0.3.0", "abc", "single_point")
SYMBOLS = ["Li", "Fe", "P", "O"]


def phase(name: str, formula: str, energy: float, level: Level = LEVEL) -> Phase:
    return Phase(name, Composition(formula), energy, level)


def random_system(n_elements: int, n_phases: int, seed: int) -> list[Phase]:
    generator = np.random.default_rng(seed)
    symbols = SYMBOLS[:n_elements]
    phases = [phase(f"element:{symbol}", symbol, 0.0) for symbol in symbols]
    for number in range(n_phases):
        amounts = generator.integers(0, 5, n_elements)
        amounts[generator.integers(n_elements)] += 1
        formula = "".join(f"{s}{n}" for s, n in zip(symbols, amounts) if n)
        phases.append(phase(f"p{number}", formula, float(generator.uniform(-2.0, 0.5))))
    return phases


def lowest_mixture(composition: Composition, phases: list[Phase]) -> float:
    """Minimise the energy of a mixture of phases with the composition's atoms, eV/atom."""
    symbols = sorted({str(e) for p in phases for e in p.composition})
    atoms = [[p.composition.get_atomic_fraction(s) for p in phases] for s in symbols]
    found = linprog(
        [p.formation_energy_per_atom for p in phases],
        A_eq=atoms,
        b_eq=[composition.get_atomic_fraction(s) for s in symbols],
        bounds=(0, None),
    )
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize(("n_elements", "seed"), [(1, 0), (2, 1), (2, 2), (3, 3), (3, 4), (4, 5)])
def test_distance_equals_that_of_a_linear_program(n_elements: int, seed: int) -> None:
    phases = random_system(n_elements, 40, seed)
    generator = np.random.default_rng(seed + 100)
    for _ in range(12):
        amounts = generator.integers(1, 6, n_elements)
        composition = Composition({s: int(n) for s, n in zip(SYMBOLS, amounts)})
        energy = float(generator.uniform(-3.0, 1.0))
        result = energy_above_hull(composition, energy, phases)
        lowest = lowest_mixture(composition, phases)
        assert result.hull_energy_per_atom == pytest.approx(lowest, abs=1e-7)
        assert result.energy_above_hull == pytest.approx(energy - lowest, abs=1e-7)
        by_id = {p.id: p for p in phases}
        mixed = sum(
            product.amount * by_id[product.id].formation_energy_per_atom
            for product in result.decomposition
        )
        assert mixed == pytest.approx(lowest, abs=1e-7)
        for symbol in SYMBOLS[:n_elements]:
            atoms = sum(
                product.amount * by_id[product.id].composition.get_atomic_fraction(symbol)
                for product in result.decomposition
            )
            assert atoms == pytest.approx(composition.get_atomic_fraction(symbol), abs=1e-7)


def test_a_phase_of_the_hull_is_where_pymatgen_puts_it() -> None:
    phases = random_system(3, 30, 11)
    entries = {
        p.id: PDEntry(p.composition, p.formation_energy_per_atom * p.composition.num_atoms)
        for p in phases
    }
    diagram = PhaseDiagram(list(entries.values()))
    hull = Hull(phases)
    for one in phases:
        ours = hull.at(one.composition, one.formation_energy_per_atom).energy_above_hull
        assert ours == pytest.approx(diagram.get_e_above_hull(entries[one.id]), abs=1e-8)
        assert ours > -1e-8


def test_without_itself_a_stable_phase_lies_below_by_its_decomposition_energy() -> None:
    phases = random_system(3, 30, 12)
    entries = [
        PDEntry(p.composition, p.formation_energy_per_atom * p.composition.num_atoms, p.id)
        for p in phases
    ]
    diagram = PhaseDiagram(entries)
    compounds = [e for e in diagram.stable_entries if len(e.composition) > 1]
    assert compounds
    for entry in compounds:
        # pymatgen: relative to all others, those only stable without it too; negative when stable
        expected = diagram.get_phase_separation_energy(entry)
        others = [p for p in phases if p.id != entry.name]
        result = energy_above_hull(entry.composition, entry.energy_per_atom, others)
        assert result.energy_above_hull <= 1e-9
        twin = any(
            p.composition.reduced_formula == entry.composition.reduced_formula for p in others
        )
        if not twin:  # pymatgen leaves out polymorphs too
            assert result.energy_above_hull == pytest.approx(expected, abs=1e-6)
            assert result.decomposition_energy == pytest.approx(-expected, abs=1e-6)


def test_phases_of_other_elements_do_not_compete() -> None:
    phases = [*random_system(2, 5, 3), phase("element:O", "O", 0.0), phase("o", "LiO", -9.0)]
    inside = energy_above_hull(Composition("LiFe"), 0.0, phases)
    assert inside.n_phases == 7
    assert inside.hull_energy_per_atom > -3.0


def test_energies_of_two_levels_are_refused() -> None:
    relaxed = Level("chgnet-0.3.0", "abc", "relaxed")
    phases = [phase("a", "Li", 0.0), phase("b", "Fe", 0.0, relaxed)]
    with pytest.raises(MixedLevels, match="single_point"):
        energy_above_hull(Composition("LiFe"), -0.1, phases)
    with pytest.raises(MixedLevels, match="the crystal's energy"):
        energy_above_hull(Composition("Li"), -0.1, phases[:1], level=relaxed)


def test_a_hull_without_an_element_is_refused() -> None:
    with pytest.raises(IncompleteHull, match="element:Fe"):
        energy_above_hull(Composition("LiFe"), -0.1, [phase("a", "Li", 0.0)])
    with pytest.raises(IncompleteHull, match="element:Fe"):
        Hull([phase("a", "Li", 0.0)]).at(Composition("LiFe"), -0.1)
    with pytest.raises(IncompleteHull, match="element:O"):
        Hull([phase("a", "Li", 0.0), phase("b", "Li2O", -1.0)])
    with pytest.raises(IncompleteHull, match="element:Li"):
        energy_above_hull(Composition("Li"), -0.1, [])
