"""The domain of models trained on bulk crystals, against brute force, slabs and held-out rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, graphene, molecule, mx2
from pymatgen.core import Composition, Element, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.stats import wasserstein_distance

from agents.prediction import Prediction
from agents.screen.domain import (
    MAX_DISTANCE,
    MAX_VACUUM,
    TrainingSet,
    dimensionality,
    mp2018,
    vacuum,
)
from agents.tables import parse_structure, read_rows

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
SLAB = AseAtomsAdaptor.get_structure(mx2("MoS2", vacuum=7.5))


def training_set(*formulas: str) -> TrainingSet:
    """A set of these compositions, each one crystal."""
    numbers, amounts, starts = [], [], []
    for formula in formulas:
        starts.append(len(numbers))
        for element, amount in Composition(formula).items():
            numbers.append(element.Z)
            amounts.append(amount)
    crystals = np.bincount(numbers, minlength=104)
    return TrainingSet("these", np.array(numbers), np.array(amounts), np.array(starts), crystals, 8)


def test_distance_is_the_earth_movers_on_pettifors_scale() -> None:
    known = ["NaCl", "GaAs", "SrTiO3", "Fe2O3", "CsPbI3", "MgO", "U", "LiFePO4"]
    trained = training_set(*known)
    for asked in ["NaCl", "KCl", "InAs", "BaTiO3", "W", "CuInSe2", "Xe", "H2O"]:
        a = {e.mendeleev_no: x for e, x in Composition(asked).items()}
        expected = min(
            wasserstein_distance(list(a), list(b), list(a.values()), list(b.values()))
            for b in (
                {e.mendeleev_no: x for e, x in Composition(formula).items()} for formula in known
            )
        )
        found = trained.distance(Composition(asked))
        assert found == pytest.approx(expected, abs=1e-4), asked
    assert trained.distance(Composition("Na4Cl4")) == pytest.approx(0.0, abs=1e-5)
    places = Element("K").mendeleev_no - Element("Na").mendeleev_no
    assert trained.distance(Composition("KCl")) == pytest.approx(abs(places) / 2, abs=1e-5)


def test_only_far_compositions_are_out_of_domain() -> None:
    near, far = mp2018().distance(Composition("CsPbI3")), mp2018().distance(Composition("XeCs"))
    assert near < 0.5
    assert far > MAX_DISTANCE
    odd = Structure(Lattice.cubic(4.5), ["Xe", "Cs"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (reason,) = mp2018().reasons(odd)
    assert reason.startswith("composition: 3.5 places on Pettifor's scale")
    assert mp2018().distance(Composition("Rf")) == float("inf")


def test_elements_that_hardly_occur_are_named() -> None:
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    assert mp2018().reasons(polonium)[0].startswith("elements: Po in fewer than 10 crystals")
    assert not any("elements" in r for r in mp2018().reasons(polonium, elements=False))
    assert mp2018().reasons(SALT) == ()


def test_a_supercell_is_as_large_as_its_primitive_cell() -> None:
    assert mp2018().reasons(SALT.get_primitive_structure() * (6, 6, 6)) == ()
    noise = np.random.default_rng(0).normal(0, 0.05, (343 * 2, 3))
    large = SALT.get_primitive_structure() * (7, 7, 7)
    rattled = Structure(
        large.lattice, large.species, large.cart_coords + noise, coords_are_cartesian=True
    )
    assert mp2018().reasons(rattled) == (
        "size: 686 atoms in the primitive cell, at most 296 in MP 2018.6.1",
    )


def test_slabs_wires_and_molecules_have_vacuum_and_layered_crystals_have_none() -> None:
    sheet, box = graphene(vacuum=8.0), molecule("H2O", vacuum=6.0)
    sheet.pbc = box.pbc = True
    assert vacuum(SLAB) == pytest.approx(15.0, abs=0.01)
    for structure, dimension in (
        (SLAB, 2),
        (AseAtomsAdaptor.get_structure(sheet), 2),
        (AseAtomsAdaptor.get_structure(box), 0),
    ):
        assert dimensionality(structure) == dimension
        (reason,) = (r for r in mp2018().reasons(structure) if r.startswith("vacuum:"))
        assert f"around a {dimension}D network" in reason
    layered = mx2("MoS2", vacuum=1.5)
    layered.pbc = True
    as_bulk = AseAtomsAdaptor.get_structure(layered)
    assert dimensionality(as_bulk) == 2
    assert mp2018().reasons(as_bulk) == ()


def test_vacuum_does_not_depend_on_the_choice_of_cell() -> None:
    sheared = SLAB.copy()
    sheared.make_supercell([[1, 0, 0], [2, 1, 0], [1, -1, 1]])
    sheared.translate_sites(range(len(sheared)), [0.3, 0.1, 0.45])
    assert vacuum(sheared) == pytest.approx(vacuum(SLAB), abs=1e-6)
    copper = AseAtomsAdaptor.get_structure(bulk("Cu", "fcc", a=3.6))
    assert vacuum(copper) == pytest.approx(3.6 / 3**0.5, abs=1e-6)


def test_the_table_survives_a_round_trip(tmp_path: Path) -> None:
    trained = training_set("NaCl", "SrTiO3")
    trained.save(tmp_path / "table.npz")
    again = TrainingSet.load(tmp_path / "table.npz", "these")
    assert again.largest == 8
    assert again.distance(Composition("KCl")) == trained.distance(Composition("KCl"))
    assert again.crystals.tolist() == trained.crystals.tolist()


@pytest.mark.data
def test_limits_keep_held_out_crystals_and_no_slab(data_dir: Path) -> None:
    rows = [r for r in read_rows(data_dir / "mp2018_megnet.csv.gz") if r["megnet_split"] == "test"]
    sample = rows[::20]
    far = [mp2018().distance(Composition(row["formula"])) > MAX_DISTANCE for row in sample]
    assert 0 < np.mean(far) < 0.03
    own = [row for row in sample if row["struct_source"] == "crysxpp-PBE2018"]
    empty = [vacuum(parse_structure(row["structure"])) > MAX_VACUUM for row in own]
    assert np.mean(empty) < 0.01
    slabs = [parse_structure(row["structure"]) for row in read_rows(data_dir / "c2db_val.csv.gz")][
        ::25
    ]
    reasons = [" ".join(mp2018().reasons(slab)) for slab in slabs]
    assert all("vacuum:" in reason for reason in reasons)
    assert sum("around a 2D network" in reason for reason in reasons) >= 0.8 * len(slabs)


def test_a_prediction_says_why_it_is_out_of_domain_and_refuses_contradictions() -> None:
    reasons = mp2018().reasons(SLAB)
    words = ("band_gap", 1.7, "eV", "megnet", "1", "pbe")
    record = Prediction(*words, in_domain=False, out_of_domain=reasons).record()
    assert record["out_of_domain"] == list(reasons)
    with pytest.raises(ValueError, match="is in domain, against 'vacuum"):
        Prediction(*words, in_domain=True, out_of_domain=reasons)
    with pytest.raises(ValueError, match="not in eV"):
        Prediction("band_gap", 1.7, "Ha", "megnet", "1", "pbe", in_domain=True)
    with pytest.raises(ValueError, match="without a version"):
        Prediction("band_gap", 1.7, "eV", "megnet", "", "pbe", in_domain=True)
