"""DFT hulls are pymatgen's, and are refused where they would be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Lattice, Structure

from agents.relax.phases import IncompleteHull, MixedLevels
from agents.verify.properties.hull import PhaseCalculation, Uncorrected, hull_record, phase_specs
from agents.verify.settings import VerifySettings
from agents.verify.setup.presets import preset
from db.crystals import structure_to_record
from db.documents import Calculation
from tests.agents.verify.conftest import StubBackend

ENERGIES = {"Na": -1.3, "K": -1.1, "Cl": -1.8}  # of the elements, eV/atom
FORMATION = {"NaCl": -2.0, "KCl": -2.2, "NaCl3": -0.9, "Na3Cl": -0.4, "NaK3Cl4": -2.16}


def crystal(formula: str) -> Structure:
    symbols = [str(e) for e, n in Composition(formula).items() for _ in range(int(n))]
    places = np.linspace(0, 0.9, len(symbols))[:, None] * np.ones(3)
    return Structure(Lattice.cubic(6), symbols, places)


def energy(formula: str, formation: float) -> float:
    fractions = Composition(formula).fractional_composition
    return formation + sum(x * ENERGIES[str(e)] for e, x in fractions.items())


def completed(formula: str, per_atom: float, **fields: Any) -> Calculation:
    structure = structure_to_record(crystal(formula))
    result = {"structure": structure, "energy_per_atom": per_atom, **fields.pop("result", {})}
    values = {
        **{"hash": formula, "code": "gpaw", "version": "1", "level": "gpaw-1-pbe-fast-00"},
        **{"structure": structure, "formula": formula, "state": "completed", "result": result},
        **fields,
    }
    return Calculation(**values)


def phases(**changed: Any) -> list[PhaseCalculation]:
    return [
        PhaseCalculation(f"mp-{name}", completed(name, energy(name, value), **changed))
        for name, value in FORMATION.items()
    ]


REFERENCES = {element: completed(element, value) for element, value in ENERGIES.items()}


@pytest.mark.parametrize(
    ("formula", "formation"), [("NaKCl2", -2.05), ("Na2KCl3", -2.3), ("NaKCl5", -1.2)]
)
def test_distances_and_products_are_pymatgens(formula: str, formation: float) -> None:
    compound = completed(formula, energy(formula, formation))
    found = hull_record(compound, phases(), REFERENCES, geometry="chgnet, relaxed")
    entries = [PDEntry(Composition(e), value) for e, value in ENERGIES.items()]
    entries += [
        PDEntry(Composition(name), energy(name, value) * Composition(name).num_atoms)
        for name, value in FORMATION.items()
    ]
    diagram = PhaseDiagram(entries)
    composition = Composition(formula)
    hull = diagram.get_hull_energy_per_atom(composition)
    assert found["energy_above_hull"] == pytest.approx(energy(formula, formation) - hull)
    theirs = {
        entry.composition.reduced_formula: amount
        for entry, amount in diagram.get_decomposition(composition).items()
    }
    ours = {one["formula"]: one["amount"] for one in found["decomposition"]}
    assert ours == pytest.approx(theirs)
    assert found["formation_energy_per_atom"] == pytest.approx(formation)
    assert found["energies"] == "raw"
    assert found["level"] == "gpaw-1-pbe-fast-00"
    assert found["calculations"]["mp-NaCl"] == "NaCl"


def test_a_missing_or_failed_phase_refuses_the_hull() -> None:
    compound = completed("NaCl", energy("NaCl", -2.1))
    broken = phases()
    broken[2] = PhaseCalculation("mp-NaCl3", completed("NaCl3", 0.0, state="failed", error="scf"))
    with pytest.raises(IncompleteHull, match=r"mp-NaCl3 \(NaCl3: scf\)"):
        hull_record(compound, broken, REFERENCES, geometry="x")
    unfinished = {**REFERENCES, "Cl": completed("Cl", -1.8, state="submitted")}
    with pytest.raises(IncompleteHull, match="element:Cl"):
        hull_record(compound, phases(), unfinished, geometry="x")


def test_energies_of_two_levels_never_meet() -> None:
    compound = completed("NaCl", energy("NaCl", -2.1))
    for change in ({"level": "gpaw-1-pbe-standard-11"}, {"version": "2"}, {"code": "vasp"}):
        with pytest.raises(MixedLevels):
            hull_record(compound, phases(**change), REFERENCES, geometry="x")
    smeared = {"result": {"changes": {"smearing": 0.1}}}
    with pytest.raises(MixedLevels, match="converged only with other settings"):
        hull_record(compound, phases(**smeared), REFERENCES, geometry="x")
    mixed = {"result": {"changes": {"mixer": {"beta": 0.02}}}}  # the same answer, more slowly
    hull_record(compound, phases(**mixed), REFERENCES, geometry="x")


def test_one_u_brings_corrections_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    compound = completed("NaCl", energy("NaCl", -2.1), result={"hubbard_u": {"Na": 1.0}})

    class Shift:
        per_atom: float | None = -0.5
        terms = ("shift",)

    monkeypatch.setattr("agents.verify.properties.hull.mp2020_correction", lambda *_: Shift())
    found = hull_record(compound, phases(), REFERENCES, geometry="x")
    assert found["energies"] == "mp2020"
    assert found["formation_energy_per_atom"] == pytest.approx(-2.6)
    assert found["phases"]["mp-NaCl"] == pytest.approx(-2.5)
    monkeypatch.setattr(Shift, "per_atom", None)
    with pytest.raises(Uncorrected, match="no MP2020 correction: shift"):
        hull_record(compound, phases(), REFERENCES, geometry="x")


def test_phases_are_computed_as_candidates_are() -> None:
    backend, dft = StubBackend(), preset("fast")
    (static,) = phase_specs(backend, crystal("NaCl"), dft, VerifySettings())
    assert (static["kind"], static["task"], static["options"]) == (
        "phase",
        "static",
        {"gap": False},
    )
    relax, after = phase_specs(backend, crystal("NaCl"), dft, VerifySettings(relax=True))
    assert relax["task"] == "relax"
    assert after["parent"] == relax["hash"]
