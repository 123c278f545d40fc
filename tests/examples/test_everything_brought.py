"""A campaign in which every part comes from an installed package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workplace import Workplace

from db import campaigns
from discovery import connect

EXAMPLES = Path(__file__).parents[2] / "examples" / "extending"
NAMES = ("potential", "screen", "proposer", "dft_code")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packages as pip installs them, in a folder of their own."""
    folder = tmp_path / "site"
    for name in NAMES:
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    sources = [str(tmp_path / name) for name in NAMES]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), *sources],
        check=True,
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.usefixtures("installed", "elements")
def test_a_campaign_of_brought_parts_ends_with_verified_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    place = Workplace(tmp_path)
    campaign = str(EXAMPLES / "campaign" / "everything-brought.yaml")

    place.run("run", "--campaign", campaign, "--workers", "1", "--json")

    with connect(home=tmp_path / ".discovery") as records:
        (verified,) = records.query("everything-brought", status="verified")["id"]
        candidate = records.candidate(verified)
        campaign_record = campaigns.load("everything-brought")
    assert candidate["proposer"] == "hill_climbing"
    assert candidate["verification"]["level"].startswith("example-code-1.0-pbe-fast-")
    assert candidate["relaxation"]["level"] == "through-ase-0.3.0"
    said = [one for one in candidate["predictions"] if one["model"] == "nearest-composition"]
    assert len(said) == 1
    (proposer,) = campaign_record.config["propose"]["proposers"]
    assert proposer["package"] == "example-proposer 1.0"
    screens = {one["name"]: one for one in campaign_record.resolved["screens"]}
    assert screens["nearest-composition"]["package"] == "example-screen 1.0"
    assert screens["nearest-composition"]["version"] == said[0]["version"]
