"""A candidate beside the known crystal that it equals."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from rich.console import Console

from agents.screen.duplicates import compare_with_reference
from agents.screen.references import CatalogueReference
from agents.screen.settings import MatcherSettings
from db import reference_structures
from db.connection import Session
from db.crystals import crystal_fields, record_to_structure, structure_to_record
from discovery.lineage.known_crystals import lines, link_known, side_by_side, url_of
from discovery.lineage.view import describe

TOLERANCES = MatcherSettings()


def crystal(seed: int = 0) -> Structure:
    """Three atoms without symmetry."""
    random = np.random.default_rng(seed)
    places = [[0.05, 0.1, 0.2], [0.45, 0.6, 0.4], [0.7, 0.2, 0.75]]
    cell = Lattice.from_parameters(3.9, 4.4, 5.1, 84, 97, 105)
    return Structure(cell, ["Na", "Cl", "Cl"], np.add(places, random.uniform(-0.01, 0.01, (3, 3))))


def disguised(structure: Structure) -> Structure:
    """The same, 6 % larger, in another cell, moved and with its sites in another order."""
    other = structure.copy()
    other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, -1]])
    other.translate_sites(range(3), [0.3, 0.8, 0.4])
    other.scale_lattice(1.06 * other.volume)
    return Structure.from_sites([other[2], other[0], other[1]])


def compared(ours: Structure, known: Structure) -> dict[str, Any]:
    reference = CatalogueReference("mp", {"mp-7": known})
    return compare_with_reference(ours, reference, TOLERANCES).record()


def test_atoms_are_paired_and_their_distances_are_those_of_the_match() -> None:
    ours, known = crystal(1), disguised(crystal(2))
    comparison = compared(ours, known)
    found = side_by_side(structure_to_record(ours), structure_to_record(known), comparison)
    one, other = (record_to_structure(found[key]) for key in ("candidate", "known"))
    assert one.species == other.species
    # the known crystal keeps its size and shape: only turned and moved
    assert other.volume == pytest.approx(known.volume)
    assert np.sort(other.distance_matrix, axis=None) == pytest.approx(
        np.sort(known.distance_matrix, axis=None), abs=1e-6
    )
    assert other.lattice.parameters == pytest.approx(
        [1.06 ** (1 / 3) * x for x in one.lattice.abc] + list(one.lattice.angles), rel=1e-6
    )
    distances = np.array(found["distances"])
    assert np.sqrt((distances**2).mean()) == pytest.approx(
        comparison["matches"][0]["rms_angstrom"], rel=1e-3
    )


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_distances_do_not_depend_on_where_the_axes_point(mirror: float) -> None:
    ours, known = crystal(1), disguised(crystal(2))
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turn *= mirror * np.sign(np.linalg.det(turn))
    turned = Structure(known.lattice.matrix @ turn, known.species, known.frac_coords)
    comparison = compared(ours, turned)
    found = side_by_side(structure_to_record(ours), structure_to_record(turned), comparison)
    distances = np.array(found["distances"])
    assert np.sqrt((distances**2).mean()) == pytest.approx(
        comparison["matches"][0]["rms_angstrom"], rel=1e-3
    )
    # both lie in the same frame: their atoms can be laid upon one another
    one, other = (np.array(found[key]["lattice"]) for key in ("candidate", "known"))
    assert other == pytest.approx(1.06 ** (1 / 3) * one, abs=1e-6)


def test_the_match_is_linked_and_printed(database: Session) -> None:
    ours, known = crystal(1), disguised(crystal(2))
    reference_structures.put(
        "mp", [{"reference_id": "mp-7", "checksum": "c", **crystal_fields(known)}]
    )
    nothing = {**compared(ours, known), "matches": []}
    gone = compared(ours, known) | {"reference": "lost"}
    references = [compared(ours, known), nothing | {"reference": "c2db"}, gone]
    record = {
        "relaxation": {"structure": structure_to_record(ours)},
        "duplicates": {"training": nothing, "campaign": nothing, "references": references},
    }
    first, second = link_known(record, {"name": "perov5", "version": "v"})
    assert (first["reference"], first["id"]) == ("mp", "mp-7")
    assert first["url"] == "https://materialsproject.org/materials/mp-7"
    assert second["unknown"] == "the collection lost in this database has no mp-7"
    text = list(lines(first))
    assert text[0].startswith("equals mp-7, RMS 0.0")
    assert max(map(len, text)) <= 67
    [volume] = [line for line in text if line.startswith("V (")]
    assert [float(part) for part in volume.split()[-2:]] == pytest.approx(
        [ours.volume / 3, known.volume / 3], abs=1e-4
    )
    assert [line[:2].strip() for line in text[-3:]] == ["Na", "Cl", "Cl"]
    assert list(lines(second))[-1] == second["unknown"]


def test_show_prints_it_and_says_what_was_rediscovered(database: Session) -> None:
    ours, known = crystal(1), disguised(crystal(2))
    reference_structures.put(
        "mp", [{"reference_id": "mp-7", "checksum": "c", **crystal_fields(known)}]
    )
    nothing = {**compared(ours, known), "matches": []}
    found = compared(ours, known) | {"version": "v2025", "rediscovered": True}
    record = {
        **{"id": "c-1", "state": "screened", "history": [], "base_id": "b", "proposer": "random"},
        **{"episode": 1, "generation": 1, "generator_version": "g"},
        "codes": {"species": [], "crystal": [], "local": []},
        "relaxation": {"structure": structure_to_record(ours)},
        "duplicates": {"training": nothing, "campaign": nothing, "references": [found]},
    }
    known_ones = link_known(record, {"name": "perov5", "version": "v"})
    text = io.StringIO()
    describe({**record, "lineage": {"known": known_ones}}, Console(file=text, width=80))
    shown = text.getvalue()
    assert "mp v2025: 1 compared (ltol 0.3, stol 0.5, angle_tol 10)" in shown
    assert "rediscovered: the generator was not trained on it" in shown
    for line in lines(known_ones[0]):
        assert line.rstrip() in shown


@pytest.mark.parametrize(
    ("identifier", "known"), [("mp-149", True), ("mvc-12", True), ("Be4-09dd42", False)]
)
def test_only_materials_project_ids_have_a_page(identifier: str, known: bool) -> None:
    assert (url_of(identifier) is not None) is known
