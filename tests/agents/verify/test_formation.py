"""Formation energies against numbers of RECIPES and of pymatgen's own tables."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from agents.verify.formation import MissingElement, formation_energy_per_atom, mp2020_correction


def test_formation_energy_weighs_by_composition() -> None:
    # SrTiO3 with energies per atom chosen so that the sum is easily done by hand
    composition = {"Sr": 2, "Ti": 2, "O": 6}
    found = formation_energy_per_atom(composition, -7.0, {"Sr": -1.0, "Ti": -6.0, "O": -4.0})
    assert found == pytest.approx(-7.0 - (-1.0 - 6.0 - 3 * 4.0) / 5)


def test_missing_reference_is_named() -> None:
    with pytest.raises(MissingElement, match="Ti"):
        formation_energy_per_atom({"Sr": 1, "Ti": 1}, -7.0, {"Sr": -1.0})


def test_corrections_are_those_between_raw_and_corrected_recipes() -> None:
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    titanate = Structure(Lattice.cubic(3.945), ["Sr", "Ti", "O", "O", "O"], sites)
    assert mp2020_correction(titanate).per_atom == pytest.approx(-3.532 + 3.12, abs=0.002)
    gallium_arsenide = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.75), ["Ga", "As"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    assert mp2020_correction(gallium_arsenide).per_atom == pytest.approx(0.0)


def test_correction_that_pymatgen_cannot_look_up_is_none_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    def fails(*_: object, **__: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(MaterialsProject2020Compatibility, "get_adjustments", fails)
    found = mp2020_correction(Structure(Lattice.cubic(3.0), ["Na"], [[0, 0, 0]]))
    assert found.per_atom is None
    assert found.terms == ("IndexError: list index out of range",)
