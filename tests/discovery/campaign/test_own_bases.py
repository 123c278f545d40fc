"""Base crystals from a person's files, from the campaign file to the record."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from workplace import Workplace

from discovery.structures.files import StructureFileError, read_bases, write_structures

CUBIC = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def perovskite(a: str, b: str, edge: float) -> Structure:
    return Structure(Lattice.cubic(edge), [a, b, "O", "O", "O"], CUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "mine"
    where.mkdir()
    CifWriter(perovskite("Sr", "Ti", 3.95)).write_file(where / "sto.cif")
    write_structures({"1": perovskite("La", "Al", 3.85)}, where / "lao.extxyz")
    (where / "notes.txt").write_text("not a crystal")
    return where


def test_folders_and_files_are_read_in_order_of_their_names(folder: Path) -> None:
    found = read_bases([str(folder), str(folder / "sto.cif")])
    assert [Path(name).name for name in found] == ["lao.extxyz", "sto.cif"]
    formulas = [crystal.composition.reduced_formula for crystal in found.values()]
    assert formulas == ["LaAlO3", "SrTiO3"]


def test_a_folder_without_crystals_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StructureFileError, match=r"holds no .*\.cif"):
        read_bases([str(tmp_path)])
    with pytest.raises(StructureFileError, match="there is no file"):
        read_bases([str(tmp_path / "gone.cif")])


CAMPAIGN = {
    "name": "mine",
    "generator": "perov5",
    "targets": [{"property": "formation_energy_per_atom", "max": -0.5}],
    "budget": {"rounds": 50},
    "propose": {
        "base": {"files": ["mine"]},
        "proposers": [{"kind": "random", "batch": 4, "generations": 1}],
    },
    "relax": {"max_per_generation": 1, "max_steps": 2},
    "screen": {"models": ["head"]},
    "verify": {"backend": "none"},
    "learn": {"min_new_labels": 100000},
}


@pytest.mark.campaign
@pytest.mark.long
def test_a_campaign_continues_without_the_files_it_started_from(folder: Path) -> None:
    place = Workplace(folder.parent)
    (folder.parent / "mine.yaml").write_text(yaml.safe_dump(CAMPAIGN))
    arguments = ("run", "--campaign", "mine.yaml", "--workers", "1", "--json")
    place.json(*arguments, "--max-candidates", "4")
    for file in folder.iterdir():
        file.unlink()
    place.json(*arguments, "--max-candidates", "8")
    rows = place.json("query", "mine", "--format", "json")
    bases = {row["base_id"] for row in rows}
    assert {name.split("/")[-1] for name in bases} == {"lao.extxyz", "sto.cif"}
