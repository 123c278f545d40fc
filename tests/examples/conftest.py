"""The example packages, put where Python finds packages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from brought import put_project_on_path

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples" / "extending"
PACKAGES = ("potential", "screen", "proposer", "dft_code")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all of them, on this process's path and on that of processes it starts."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in PACKAGES:
        put_project_on_path(EXAMPLES / name, folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``DISCOVERY_MODELS`` with elemental energies for the example's potential.

    It is CHGNet behind another interface (a test compares the two), so CHGNet's energies are its
    own. `discovery models references` would relax several crystals of each of 89 elements.
    """
    table = json.loads((REPOSITORY / "agents/relax/data/chgnet-0.3.0.json").read_text())
    table["header"]["potential"] = "through-ase"
    folder = tmp_path / "models"
    (folder / "references").mkdir(parents=True)
    (folder / "references" / "through-ase-0.3.0.json").write_text(json.dumps(table))
    monkeypatch.setenv("DISCOVERY_MODELS", str(folder))
    return folder
