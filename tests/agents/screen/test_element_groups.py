"""The named groups of elements against pymatgen, and the rules that a campaign makes of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pymatgen.core import Element

from agents.screen.element_groups import (
    ACTINIDES,
    CRUSTAL_ABUNDANCE,
    GROUPS,
    LANTHANIDES,
    RADIOACTIVE,
    SCARCE,
    SCARCE_BELOW,
    TOXIC,
    Group,
)
from agents.screen.settings import ScreenSettings
from agents.screen.stage import PrescreenStage
from agents.screen.validity import judge
from db.crystals import structure_to_record
from db.states import State
from discovery.campaign.config import ConfigError, parse_campaign
from tests.agents.screen.conftest import perovskite

CAMPAIGN = """
name: without
generator: perov5
targets: [{property: band_gap, min: 0.5}]
propose: {proposers: [{kind: random}]}
screen: {exclude: [toxic, scarce]}
"""
ALL = [Element.from_Z(z) for z in range(1, 119)]


def test_the_periodic_table_agrees() -> None:
    assert {e.symbol for e in ALL if e.is_lanthanoid} == LANTHANIDES
    assert {e.symbol for e in ALL if e.is_actinoid} == ACTINIDES
    # pymatgen counts Bi as radioactive too
    assert {e.symbol for e in ALL if e.is_radioactive} - {"Bi"} == RADIOACTIVE
    known = {e.symbol for e in ALL}
    assert all(group <= known for group in GROUPS.values())
    assert set(GROUPS) == set(get_args(Group))


def test_scarce_is_what_the_crust_holds_little_of() -> None:
    assert {"Te", "In", "Re", "Au", "Xe", "Po", "Lr"} <= SCARCE
    assert not {"I", "Tl", "Sn", "Ge", "Th", "U", "Si"} & SCARCE
    assert all((ppm < SCARCE_BELOW) == (e in SCARCE) for e, ppm in CRUSTAL_ABUNDANCE.items())
    assert not {"Cr", "Ni"} & TOXIC


@pytest.mark.parametrize(
    ("species", "group", "symbols"),
    [
        (["Cs", "Pb", "I"], "toxic", ["Pb"]),
        (["U", "Ti", "O"], "radioactive", ["U"]),
        (["Cs", "Au", "Te"], "scarce", ["Te", "Au"]),
    ],
)
def test_a_group_is_recorded_always_and_rejected_where_asked(
    species: list[str], group: Any, symbols: list[str]
) -> None:
    crystal = perovskite(5.0, species)
    free = judge(crystal, ScreenSettings(smact="off"))
    assert free.valid
    assert free.record()[group] == sorted(symbols, key=lambda s: Element(s).X)
    strict = judge(crystal, ScreenSettings(smact="off", exclude=(group,)))
    assert strict.failed == (group,)
    assert ScreenSettings(exclude=(group,)).rules()["exclude"] == [group]
    others = tuple(name for name in GROUPS if name != group)
    assert judge(crystal, ScreenSettings(smact="off", exclude=others)).valid  # type: ignore[arg-type]


def test_excluded_elements_are_one_set() -> None:
    settings = ScreenSettings(
        forbidden_elements=("F",), exclude=("toxic",), exclude_lanthanides=True
    )
    assert settings.excluded_elements == {"F"} | TOXIC | LANTHANIDES


def test_the_prescreen_rejects_before_anything_is_paid_and_keeps_the_list() -> None:
    crystal = perovskite(6.2, ["Cs", "Pb", "I"])
    candidate = SimpleNamespace(id="c-1", structure=structure_to_record(crystal))
    config = parse_campaign(CAMPAIGN, source="test")
    [outcome] = PrescreenStage(config.screen).process([candidate])  # type: ignore[list-item]
    assert (outcome.to, outcome.reason) == (State.REJECTED, "toxic")
    record = outcome.updates["screening.prescreen"]
    assert record["toxic"] == ["Pb"]
    assert record["settings"]["exclude"] == ["toxic", "scarce"]
    with pytest.raises(ConfigError, match=r"screen\.exclude.*toxic"):
        parse_campaign(CAMPAIGN.replace("scarce", "smelly"), source="test")
