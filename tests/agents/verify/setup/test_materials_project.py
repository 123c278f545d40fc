"""Spin and +U of the presets against pymatgen's own input sets for VASP."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.sets import MPRelaxSet

from agents.verify.gpaw.calculator import atoms_of, parameters
from agents.verify.setup import materials_project
from agents.verify.setup.presets import DFTSettings, preset

SALT = [[0, 0, 0], [0.5, 0.5, 0.5]]
PEROVSKITE = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
CRYSTALS = {
    "MnO": Structure(Lattice.cubic(3.0), ["Mn", "O"], SALT),
    "LaFeO3": Structure(Lattice.cubic(3.9), ["La", "Fe", "O", "O", "O"], PEROVSKITE),
    "KNiF3": Structure(Lattice.cubic(4.0), ["K", "Ni", "F", "F", "F"], PEROVSKITE),
    "VF": Structure(Lattice.cubic(3.0), ["V", "F"], SALT),
    "WO": Structure(Lattice.cubic(3.0), ["W", "O"], SALT),
    "CoO": Structure(Lattice.cubic(3.0), ["Co", "O"], SALT),
    "MnS": Structure(Lattice.cubic(3.0), ["Mn", "S"], SALT),
    "MnOF": Structure(Lattice.cubic(3.0), ["Mn", "O", "F"], [*SALT, [0.5, 0, 0]]),
    "Fe": Structure(Lattice.cubic(2.8), ["Fe"], [[0, 0, 0]]),
    "SrTiO3": Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], PEROVSKITE),
}


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("level", ["fast", "standard"])
def test_u_and_moments_are_those_of_the_input_set(name: str, level: str) -> None:
    crystal = CRYSTALS[name].get_sorted_structure()
    incar = MPRelaxSet(crystal).incar
    symbols = list(dict.fromkeys(site.specie.symbol for site in crystal))
    theirs = dict(zip(symbols, incar.get("LDAUU", [0.0] * len(symbols)), strict=True))
    settings = preset(level)
    assert settings.hubbard_of(symbols) == {e: u for e, u in theirs.items() if u}
    atoms, spin = atoms_of(crystal, settings, molecule=False)
    if spin:  # the Materials Project polarises the others, too
        assert list(atoms.get_initial_magnetic_moments()) == pytest.approx(incar["MAGMOM"])
    else:
        assert set(incar["MAGMOM"]) == {materials_project.DEFAULT_MOMENT}
    setups = parameters(atoms, settings, (2, 2, 2), spin=spin)["setups"]
    assert {e: f":d,{u:g}" for e, u in theirs.items() if u} == {
        element: text for element, text in setups.items() if element != "default"
    }


def test_moments_of_the_sites_count_before_those_of_the_elements() -> None:
    crystal = CRYSTALS["MnO"].copy(site_properties={"magmom": [-4.0, 0.0]})
    ours = atoms_of(crystal, preset("fast"), molecule=False)[0].get_initial_magnetic_moments()
    assert list(ours) == list(MPRelaxSet(crystal).incar["MAGMOM"]) == [-4.0, 0.0]


def test_a_table_that_differs_between_anions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    differing = {"LDAUU": {"O": {"Mn": 3.9}, "F": {"Mn": 4.0}}, "LDAUL": {}, "LDAUTYPE": 2}
    monkeypatch.setattr(materials_project, "_incar", lambda: differing)
    with pytest.raises(ValueError, match="differ between anions"):
        materials_project.hubbard_u()


def test_records_older_than_a_field_keep_their_level() -> None:
    old = DFTSettings(
        preset="fast",
        cutoff=400.0,
        k_density=3.5,
        gap_k_density=5.0,
        symprec=0.05,
        energy_tolerance=1e-4,
        density_tolerance=1e-3,
        eigenstates_tolerance=1e-6,
    ).record()
    assert "hubbard_anions" not in old
    assert DFTSettings.model_validate(old).record() == old
    assert DFTSettings.model_validate({**old, "relax_cutoff": 800.0}).record() != old
    assert preset("fast").record() != old
