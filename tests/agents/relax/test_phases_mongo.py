"""Competing phases from the database are those from the files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymatgen.core import Composition
from reference_phases import COLLECTION, Tabulated, crystal, write_table

from agents.relax.hull import Hull
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry, IncompleteHull
from agents.relax.phases_file import SMALL_CELLS, FilePhases
from agents.relax.phases_mongo import MongoPhases
from agents.relax.settings import RelaxSettings
from agents.relax.single_point_hulls import SinglePointHulls
from db.connection import Session
from db.reference_collections import UnknownCollection
from discovery.references.importing import import_reference


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {name: crystal(COLLECTION[name][0], int(name[3:])) for name in COLLECTION}
    write_table(tmp_path / SMALL_CELLS, rows)
    return tmp_path


def build(potential: Tabulated, *, compute: bool = True) -> MongoPhases:
    return MongoPhases(
        potential,
        potential.references,
        collection="mp",
        relax=RelaxSettings(),
        hull=HullSettings(max_atoms=20),
        geometry=Geometry.SINGLE_POINT,
        compute=compute,
    )


def test_a_collection_that_is_not_there_is_refused(database: Session) -> None:
    with pytest.raises(UnknownCollection, match="discovery data import mp"):
        build(Tabulated())


def test_phases_are_those_of_the_files_and_computed_once(database: Session, folder: Path) -> None:
    import_reference(str(folder / SMALL_CELLS), name="mp")
    potential = Tabulated()
    phases = build(potential)
    assert "files" in phases.store.reference
    with pytest.raises(IncompleteHull, match="10 competing phases"):
        build(potential, compute=False).phases_of("Na-K-Cl")
    found = phases.phases_of("Na-K-Cl")
    files = FilePhases(
        Tabulated(),
        potential.references,
        folder,
        folder / "phases.sqlite",
        geometry=Geometry.SINGLE_POINT,
        hull=HullSettings(max_atoms=20),
    )
    assert found == files.phases_of("Na-K-Cl")
    potential.asked.clear()
    assert build(potential, compute=False).phases_of("Na-K-Cl") == found
    assert potential.asked == []


def test_failures_are_remembered_too(database: Session, folder: Path) -> None:
    import_reference(str(folder / SMALL_CELLS), name="mp")
    for potential in (Tabulated({"mp-5": 1000.0}), Tabulated()):
        with pytest.raises(IncompleteHull, match="has no edge") as refused:
            build(potential).phases_of("Na-Cl")
        assert set(refused.value.missing) == {"mp-5"}


def test_the_distance_a_search_minimises_is_that_to_pymatgens_hull(
    database: Session, folder: Path
) -> None:
    import_reference(str(folder / SMALL_CELLS), name="mp")
    phases = build(Tabulated())
    hulls = SinglePointHulls(phases, phases)
    whole = Hull(phases.phases_of("Na-K-Cl"))
    for formula in ("NaCl", "KCl3", "NaK2Cl3", "Na3KCl2", "NaK"):
        composition = Composition(formula)
        expected = whole.at(composition, -0.4).energy_above_hull
        assert hulls.above(composition, -0.4) == pytest.approx(expected, abs=1e-9)
