"""Formation energies against numbers of RECIPES and of pymatgen's own tables."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from agents.verify.properties.formation import (
    MissingElement,
    formation_energy_per_atom,
    gpaw_mixing,
    mp2020_correction,
)


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


# Published corrections, eV per atom of the species named (Wang et al. 2021, Tables 1 and 2,
# doi 10.1038/s41598-021-94550-5).
OXIDE, PEROXIDE, SUPEROXIDE, SULFIDE, FLUORIDE = -0.687, -0.465, -0.161, -0.503, -0.462
MANGANESE, IRON = -1.668, -2.256


def rock_salt(cation: str, anion: str, edge: float) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), [cation, anion], sites)


def carbide_like(cation: str, a: float, c: float, z: float) -> Structure:
    """CaC2's structure: O2 dumb-bells along the axis, as in BaO2 and KO2."""
    lattice = Lattice.tetragonal(a, c)
    return Structure.from_spacegroup("I4/mmm", lattice, [cation, "O"], [[0, 0, 0], [0, 0, z]])


@pytest.mark.parametrize(
    ("crystal", "hubbard_u", "per_formula", "atoms"),
    [
        (rock_salt("Mg", "O", 4.21), {}, OXIDE, 2),
        (carbide_like("Ba", 3.81, 6.84, 0.3911), {}, 2 * PEROXIDE, 3),
        (carbide_like("K", 4.03, 6.70, 0.4045), {}, 2 * SUPEROXIDE, 3),
        (rock_salt("Mg", "S", 5.2), {}, SULFIDE, 2),
        (rock_salt("Mn", "S", 5.22), {}, SULFIDE, 2),
        (rock_salt("Mn", "O", 4.44), {}, OXIDE, 2),
        (rock_salt("Na", "F", 4.63), {}, FLUORIDE, 2),
    ],
)
def test_corrections_are_the_published_ones(
    crystal: Structure, hubbard_u: dict[str, float], per_formula: float, atoms: int
) -> None:
    found = mp2020_correction(crystal, hubbard_u)
    assert found.per_atom == pytest.approx(per_formula / atoms, abs=5e-4), found.terms


@pytest.mark.parametrize(
    ("cation", "potcar", "u", "mixing"),
    [
        ("Mn", "PAW_PBE Mn_pv 07Sep2000", 3.9, MANGANESE),
        ("Fe", "PAW_PBE Fe_pv 02Aug2007", 5.3, IRON),
    ],
)
def test_mixing_terms_of_vasp_are_for_vasp(
    cation: str, potcar: str, u: float, mixing: float
) -> None:
    crystal = rock_salt(cation, "O", 4.4)
    vasp = {"run_type": "GGA+U", "potcars": [potcar, "PAW_PBE O 08Apr2002"]}
    found = mp2020_correction(crystal, {cation: u}, vasp)
    assert found.per_atom == pytest.approx((OXIDE + mixing) / 2, abs=5e-4), found.terms
    own = mp2020_correction(crystal, {cation: u})
    assert own.per_atom == pytest.approx((OXIDE + gpaw_mixing()[cation]["per_atom"]) / 2, abs=5e-4)
    assert f"GPAW's U mixing ({cation})" in own.terms
    assert mixing < gpaw_mixing()[cation]["per_atom"] < 0  # GPAW's U costs less energy


def test_a_mixture_that_nobody_measured_has_no_correction() -> None:
    found = mp2020_correction(rock_salt("Mn", "O", 4.44), {"Mn": 3.0})
    assert found.per_atom is None
    assert found.terms == ("U 3 eV on Mn: U mixing of GPAW is known for 3.9",)
    found = mp2020_correction(rock_salt("Mn", "O", 4.44), {"Mn": 3.9}, cutoff=400.0)
    assert found.per_atom is None
    assert found.terms == ("U mixing (Mn) is known from 600 eV, not 400",)
    found = mp2020_correction(rock_salt("Cr", "O", 4.2), {"Cr": 3.7}, cutoff=600.0)
    assert (found.per_atom, found.terms) == (None, ("U mixing of GPAW is not known for Cr",))


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
