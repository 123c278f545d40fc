"""What a worker loads for a campaign is what the campaign was started with."""

from __future__ import annotations

from importlib import resources

import pytest

from agents.screen.duplicates_fingerprint import VERSION
from db import campaigns, reference_structures
from db.connection import Session
from discovery.config import parse_campaign
from discovery.resolution import resolve_references
from discovery.runtime import Runtime, VersionChanged


def note(name: str, sha256: str) -> None:
    """Declare a collection complete; its crystals do not matter here."""
    reference_structures.note_file(
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
