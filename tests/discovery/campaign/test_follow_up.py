"""The follow-up in a campaign: off unless asked for, decided at the start, shown to a person."""

from __future__ import annotations

from typing import Any

import pytest

from agents.follow_up.settings import FollowUpSettings
from db import campaigns, reference_collections
from db.connection import Session
from db.reference_collections import UnknownCollection
from discovery.campaign import launch
from discovery.campaign.config import ConfigError, load_campaign, parse_campaign
from discovery.campaign.launch import RunOptions
from discovery.campaign.resolution import resolve_follow_up
from discovery.lineage.follow_up import follow_up_lines
from discovery.workers.runtime import Runtime
from discovery.workers.tasks import STAGES

CAMPAIGN = """
name: c
generator: perov5
targets: [{property: band_gap, min: 0.5}]
propose: {proposers: [{kind: random, batch: 4, generations: 1}]}
"""


def test_a_campaign_without_the_key_has_none() -> None:
    assert parse_campaign(CAMPAIGN, source="c").follow_up.max_hits == 0
    assert parse_campaign(CAMPAIGN + "follow_up: off\n", source="c").follow_up.max_hits == 0
    asked = parse_campaign(CAMPAIGN + "follow_up: {max_hits: 2, hybrid: true}\n", source="c")
    assert (asked.follow_up.max_hits, asked.follow_up.hybrid) == (2, True)
    assert load_campaign("quickstart").follow_up.hybrid is False


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown key follow_up\.phonon: did you mean phonons"):
        parse_campaign(CAMPAIGN + "follow_up: {phonon: true}\n", source="c")
    pressed = CAMPAIGN + "relax: {pressure: 10}\nfollow_up: {hull: true}\n"
    with pytest.raises(ConfigError, match=r"set follow_up\.hull to false"):
        parse_campaign(pressed, source="c")


def test_a_hull_needs_its_reference_at_the_start(database: Session) -> None:
    assert resolve_follow_up(FollowUpSettings()) == {"used": False}
    assert resolve_follow_up(FollowUpSettings(max_hits=1)) == {"used": True}
    with pytest.raises(UnknownCollection, match="discovery data import mp"):
        resolve_follow_up(FollowUpSettings(max_hits=1, hull=True))
    automatic = FollowUpSettings(max_hits=1, hull="auto")
    without = resolve_follow_up(automatic)
    assert "run `discovery data import mp`" in without["reason"]
    assert not follow_up_of("alone", without).hull
    done = {"sha256": "ab" * 32, "read": 1, "bad": [], "complete": True}
    reference_collections.note_file("mp", "a.csv.gz", done, version="v1", source="x", complete=True)
    found = resolve_follow_up(FollowUpSettings(max_hits=1, hull=True))
    assert (found["name"], found["checksum"]) == ("mp", "abababababab")
    assert resolve_follow_up(automatic) == found
    assert follow_up_of("placed", found).hull is True


def follow_up_of(name: str, resolved: dict[str, Any]) -> FollowUpSettings:
    """What a campaign with an automatic hull follows up with, after this was decided."""
    config = parse_campaign(CAMPAIGN + "follow_up: {max_hits: 1, hull: auto}\n", source="c")
    decided = {"potential": {"device": "cpu"}, "follow_up": resolved}
    campaigns.create(name, config=config.record(), resolved=decided, seed=1)
    return Runtime(name).follow_up


def test_the_workers_that_relax_ask_the_potential() -> None:
    assert "stability" in STAGES["relax"]


def test_a_campaign_that_goes_on_is_led_by_what_its_file_says_now(database: Session) -> None:
    before = parse_campaign(CAMPAIGN, source="c")
    now = parse_campaign(CAMPAIGN + "follow_up: {max_hits: 2}\n", source="c")
    resolved = {"potential": {"device": "cpu"}}
    campaigns.create("c", config=before.record(), resolved=resolved, seed=1)
    assert not Runtime("c").has("stability")
    assert Runtime("c", config=now).has("stability")
    assert not launch._extended(campaigns.load("c"), before, RunOptions())
    assert launch._extended(campaigns.load("c"), now, RunOptions())


MODE = {"q": [0.5, 0.5, 0.5], "label": "R", "frequency": -1.287}
RECORD: dict[str, Any] = {
    "stability": {
        "verdict": "unstable",
        "level": "chgnet-0.3.0",
        "settings": {"rattle": 0.03},
        "minimum": {
            **{"is_minimum": True, "reason": None, "seed": 7},
            **{"energy_change": -0.0001, "rms": 0.012},
        },
        "phonons": {
            **{"verdict": "unstable", "lowest": MODE, "supercell": [2, 2, 2], "n_atoms": 40},
            **{"code": "phonopy 4.10.0"},
            "displacements": [
                {"displacement": 0.02, "acoustic_noise": 1.0},
                {"displacement": 0.04, "acoustic_noise": 0.85},
            ],
        },
    },
    "dft": {"refused": {"hull": "too_many_phases: 400 phases"}},
    "bands": {
        **{"level": "gpaw", "is_metal": False, "direct": False, "band_gap_path": 1.84},
        **{"direct_gap_path": 2.2, "path": "GXMGRX,MR"},
        **{"top": {"label": "R"}, "bottom": {"label": "G-X 0.85"}},
    },
    "spin_orbit": {"band_gap_spin_orbit": 0.176, "shift": -1.097},
    "hybrid": {"failed": "timeout: no result within 1800 s"},
    "gaps": {
        **{"estimate": 0.743, "includes": ["spin_orbit"], "note": "a note"},
        "in_window": {"verified": True, "estimate": False},
    },
}


def shown(record: dict[str, Any] | None) -> str:
    return "\n".join(follow_up_lines(record))


def test_a_person_sees_every_answer_and_what_gave_it() -> None:
    text = shown(RECORD)
    assert "stability (chgnet-0.3.0): unstable" in text
    assert "rattled by 0.03 Å (seed 7) and relaxed, energy -0.1 meV/atom, rms 0.012 Å" in text
    assert "lowest -1.29 THz at R; 2x2x2 cells, 40 atoms, displacements 0.02 and 0.04 Å" in text
    assert "indirect gap 1.840 eV on GXMGRX,MR, from R to G-X 0.85" in text
    assert "spin-orbit: gap 0.176 eV, -1.097 against" in text
    assert "hybrid: failed, timeout" in text
    assert "hull: not asked, too_many_phases: 400 phases" in text
    assert "gap: 0.743 eV estimated (DFT + spin_orbit), outside the window" in text
    assert shown(None) == ""
    assert "not asked yet" in shown({"position": 0})
    failed = {"failed": "ValueError: x", "is_minimum": None}
    stability = {"verdict": "undecided", "level": "l", "minimum": failed}
    assert "minimum: failed, ValueError: x" in shown({"stability": stability})
