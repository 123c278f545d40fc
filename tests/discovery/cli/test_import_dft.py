"""``discovery import-dft`` as a person runs it, with a database of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fake_vasp import write_vasprun
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from discovery.cli import app


def test_a_folder_becomes_one_json_document(tmp_path: Path) -> None:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], sites)
    lab = tmp_path / "lab"
    lab.mkdir()
    incar = {"ENCUT": 520.0, "ISPIN": 2}
    titles = {"Na": "PAW_PBE Na_pv 19Sep2006", "Cl": "PAW_PBE Cl 06Sep2000"}
    options = {"incar": incar, "titles": titles, "mesh": (6, 6, 6)}
    write_vasprun(lab / "vasprun.xml", cubic.get_primitive_structure(), **options)
    (lab / "vasprun.cut.xml").write_text((lab / "vasprun.xml").read_text()[:3000])
    environment = {name: value for name, value in os.environ.items() if name != "MONGODB_URI"}
    ended = subprocess.run(
        [sys.executable, "-m", "discovery", "import-dft", str(lab), "--json"],
        env={**environment, "DISCOVERY_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    (salt,) = report["imported"]
    assert (salt["formula"], salt["kind"], salt["new"]) == ("NaCl", "compound", True)
    assert report["levels"][salt["level"]]["missing_references"] == {"Cl": 1, "Na": 1}
    (refused,) = report["refused"]
    assert refused["path"] == "vasprun.cut.xml"
    assert "vasprun.xml: read" in ended.stderr


def test_wrong_use_is_explained_before_a_database_is_opened(tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        return str(CliRunner().invoke(app, ["import-dft", *map(str, arguments)]).exception)

    assert "there is no folder" in run(tmp_path / "nowhere")
    assert "use letters, digits" in run(tmp_path, "--level", "two words")
