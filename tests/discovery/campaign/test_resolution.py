"""What is decided, and refused, at the start of a campaign."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agents.propose.objectives import UnknownObjective
from agents.screen.duplicates_fingerprint import VERSION
from agents.screen.settings import ScreenSettings
from db import reference_collections
from db.connection import Session
from db.reference_collections import OutdatedCollection, UnknownCollection
from discovery.campaign.config import from_record, load_campaign
from discovery.campaign.overrides import apply_overrides, parse_overrides
from discovery.campaign.resolution import (
    MissingScreen,
    NoHull,
    NothingJudges,
    describe,
    require_hull,
    require_judges,
    resolve,
    resolve_references,
)

HEAD = {"name": "head", "used": True, "version": "live", "reason": None}
MEGNET = {"name": "megnet", "used": True, "version": "mp-2018.6.1", "reason": None}
ABSENT = {"name": "megnet", "used": False, "version": None, "reason": "weights not found"}


ALIGNN = {"name": "alignn", "used": True, "version": "1", "reason": None}


def test_a_gate_needs_as_many_screens_beside_the_head_as_have_to_speak() -> None:
    gate, rank = load_campaign("photovoltaic-3d"), load_campaign("quickstart")
    require_judges(gate, [HEAD, MEGNET, ALIGNN])
    require_judges(rank, [HEAD, ABSENT])
    with pytest.raises(NothingJudges, match=r"2 models must speak, .* there is megnet"):
        require_judges(gate, [HEAD, MEGNET])
    content = gate.record()
    content["screen"]["min_models"] = 1
    one = from_record(content, source="test")
    require_judges(one, [HEAD, MEGNET])
    with pytest.raises(NothingJudges, match=r"there is none .*weights not found"):
        require_judges(one, [HEAD, ABSENT])
    with pytest.raises(NothingJudges, match=r"classifier is required.*weights not found"):
        require_judges(one, [HEAD, ABSENT, ALIGNN])
    content["screen"]["classifier"] = "if_present"
    require_judges(from_record(content, source="test"), [HEAD, ABSENT, ALIGNN])


def test_a_screen_whose_files_are_missing_is_named_with_a_way_to_do_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(tmp_path))
    config = load_campaign("photovoltaic-3d")
    with pytest.raises(MissingScreen, match=r"megnet-mp-2018\.6\.1 was not found") as refused:
        resolve(config)
    options = re.findall(r"--set (\S+)", str(refused.value))
    freed = apply_overrides(config, parse_overrides(options))
    assert (freed.screen.consensus, freed.screen.models) == ("gate", "auto")
    require_judges(freed, [HEAD, ABSENT, ALIGNN])


def test_an_objective_that_nothing_predicts_is_refused_at_the_start() -> None:
    objectives = {"fitness": {"objectives": [{"kind": "gap_window"}]}}
    content = load_campaign("quickstart").record()
    content["propose"] |= objectives
    content["screen"]["models"] = ["head"]
    config = from_record(content, source="test")
    with pytest.raises(UnknownObjective, match="gap_window in propose"):
        resolve(config)


def test_a_search_for_the_hull_needs_one() -> None:
    content = load_campaign("quickstart").record()
    content["propose"]["fitness"]["kind"] = "above_hull"
    for proposer in content["propose"]["proposers"]:
        if proposer["kind"] == "code_evolution":
            proposer["threshold"] = 0.1
    config = from_record(content, source="test")
    with pytest.raises(NoHull, match=r"above_hull, but there is no hull \(not imported\)"):
        require_hull(config, {"used": False, "reason": "not imported"})
    used = {"used": True, "name": "mp"}
    assert require_hull(config, used) is used
    assert require_hull(load_campaign("quickstart"), {"used": False})["used"] is False


def test_what_is_absent_is_said_with_its_reason() -> None:
    lines = describe(
        {
            "generator": {"name": "perov5", "version": "abc"},
            "potential": {"level": "chgnet-0.3.0", "device": "cpu"},
            "screens": [HEAD, ABSENT, MEGNET | {"name": "mine", "package": "my-models 2.1"}],
            "dft": {"name": "none", "reason": "GPAW is not installed"},
        }
    )
    assert "screen: megnet is not used (weights not found)" in lines
    assert "screen: mine mp-2018.6.1 of my-models 2.1" in lines
    assert "DFT: none (GPAW is not installed)" in lines


def test_a_reference_that_is_named_has_to_be_imported_and_auto_says_what_is_not(
    database: Session,
) -> None:
    named = ScreenSettings(references=("mp", "mine"))
    with pytest.raises(UnknownCollection, match="run `discovery data import mp`"):
        resolve_references(named)
    reference_collections.note(
        "mp", complete=True, version="v1", source="test", fingerprint_version="old"
    )
    with pytest.raises(OutdatedCollection, match=f"old and not {VERSION}: `discovery data import"):
        resolve_references(named)
    reference_collections.note("mp", fingerprint_version=VERSION)
    with pytest.raises(UnknownCollection, match="run `discovery data import mine`"):
        resolve_references(named)
    mp, c2db = resolve_references(ScreenSettings())
    assert (mp["name"], mp["used"], mp["version"], mp["n"]) == ("mp", True, "v1", 0)
    assert (c2db["name"], c2db["used"]) == ("c2db", False)
    assert resolve_references(ScreenSettings(references=())) == []
    resolved = {
        "generator": {"name": "g", "version": "1"},
        "potential": {"level": "p", "device": "cpu"},
        "screens": [],
        "dft": {"name": "none", "reason": "off"},
        "references": [mp, c2db],
    }
    text = "\n".join(describe(resolved))
    assert "known crystals: 0 of mp v1" in text
    assert "not compared with c2db" in text
    assert "discovery data import c2db" in text
