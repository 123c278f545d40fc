"""What a worker loads for a campaign is what the campaign was started with."""

from __future__ import annotations

from importlib import resources
from types import SimpleNamespace

import pytest

from agents.screen.duplicates_fingerprint import VERSION
from agents.screen.models import ScreenModels
from db import campaigns, reference_collections
from db.connection import Session
from discovery.campaign.config import parse_campaign
from discovery.campaign.resolution import resolve_references
from discovery.workers import runtime as module
from discovery.workers.runtime import Runtime, VersionChanged, runtime


def note(name: str, sha256: str) -> None:
    """Declare a collection complete; its crystals do not matter here."""
    reference_collections.note_file(
        name,
        "t.csv.gz",
        {"sha256": sha256, "read": 0, "n_bad": 0, "role": "known"},
        complete=True,
        version="v1",
        fingerprint_version=VERSION,
    )


def start(dimensionality: int = 3) -> Runtime:
    """Start a campaign and return a worker's runtime of it."""
    text = (resources.files("configs") / "campaigns" / "quickstart.yaml").read_text()
    config = parse_campaign(f"{text}\ndimensionality: {dimensionality}\n", source="test")
    resolved = {
        "references": resolve_references(config.screen),
        "potential": {"device": "cpu"},
        "generator": {"name": "perov5", "version": "1"},
    }
    campaigns.create("c", config=config.record(), seed=0, resolved=resolved)
    return Runtime("c")


def test_candidates_are_compared_with_the_collections_of_the_start(database: Session) -> None:
    note("mp", "a" * 64)
    here = start()
    note("c2db", "b" * 64)  # imported later: not one of this campaign
    [found] = here.known_crystals
    assert (found.name, found.version, found.checksum) == ("mp", "v1", "a" * 12)
    assert found.vacuum is None
    note("mp", "c" * 64)
    with pytest.raises(VersionChanged, match=f"collection mp {'a' * 12}, but .* {'c' * 12}"):
        _ = Runtime("c").known_crystals


@pytest.mark.parametrize(("dimensionality", "vacuums"), [(3, [None, 15.0]), (2, [15.0, 15.0])])
def test_slabs_get_one_vacuum(
    database: Session, dimensionality: int, vacuums: list[float | None]
) -> None:
    note("mp", "a" * 64)
    note("c2db", "b" * 64)
    here = start(dimensionality=dimensionality)
    assert [one.vacuum for one in here.known_crystals] == vacuums
    assert here.slabs is (dimensionality == 2)


def test_the_screens_are_given_these_collections(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    note("mp", "a" * 64)
    here = start()
    bank = SimpleNamespace(formulas=[], ids=[], role=[])
    generator = type("Fake", (), {"name": "g", "version": "1", "bank": bank, "head": "h"})()
    monkeypatch.setattr("agents.learn.event.live_head", lambda campaign, generator: ("head", None))
    here.__dict__.update(generator=generator, screen_models=ScreenModels())
    search = here.stage("screen").duplicates  # type: ignore[attr-defined]
    assert [one.name for one in search.references] == ["mp"]
    assert search.training.name == "g-bank@1"
    assert search.inputs()["references"] == [f"mp@{'a' * 12}"]


def test_a_limit_that_is_raised_reaches_a_worker_with_its_models(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    monkeypatch.setattr(module, "_RUNTIMES", {})
    monkeypatch.setattr(module, "_connected", lambda: None)
    before = runtime("c")
    before.__dict__.update(generator="loaded", phases="of the old limits")
    assert runtime("c") is before
    record = campaigns.load("c")
    changed = {**record.config, "budget": {**record.config["budget"], "max_hits": 7}}
    campaigns.update("c", config=changed)
    after = runtime("c")
    assert after.config.budget.max_hits == 7
    assert after.generator == "loaded"
    assert "phases" not in after.__dict__
    campaigns.update("c", resolved={**record.resolved, "generator": {"name": "mp20"}})
    assert "generator" not in runtime("c").__dict__
