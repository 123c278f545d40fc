"""Keys set on the command line: read, checked by the campaign's schema, recorded, repeated."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from db import campaigns
from db.connection import Session
from discovery.campaign.config import ConfigError, load_campaign, parse_campaign
from discovery.campaign.launch import _create_or_continue
from discovery.campaign.overrides import apply_overrides, as_options, parse_overrides
from discovery.campaign.resolution import describe


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("verify.preset=fast", "verify.preset", "fast"),
        ("budget.rounds=1", "budget.rounds", 1),
        ("relax.pressure = 10", "relax.pressure", 10),
        ("hull.reference=null", "hull.reference", None),
        ("screen.models=[megnet, alignn]", "screen.models", ["megnet", "alignn"]),
        ("relax.volume_scan=false", "relax.volume_scan", False),
        ("description=a = b", "description", "a = b"),
    ],
)
def test_a_value_is_yaml(text: str, key: str, value: object) -> None:
    assert parse_overrides([text]) == {key: value}


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["verify.preset"], "write KEY=VALUE"),
        (["=fast"], "write KEY=VALUE"),
        (["verify..preset=fast"], "write KEY=VALUE"),
        (["$where=1"], "write KEY=VALUE"),
        (["verify.preset=[fast"], "no YAML value"),
        (["seed=!!python/object:os.system {}"], "no YAML value"),
        (["budget.max_minutes=.nan"], "nan is no finite number"),
        (["seed=1", "seed=2"], "--set names seed and seed"),
        (["verify={}", "verify.preset=fast"], "--set names verify and verify.preset"),
    ],
)
def test_what_is_no_override_is_refused(texts: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_overrides(texts)
    assert sentence in str(refused.value)


def test_only_the_named_keys_change() -> None:
    config = load_campaign("photovoltaic-3d")
    overrides = parse_overrides(["verify.preset=fast", "propose.proposers.1.population=24"])
    changed = apply_overrides(config, overrides)
    expected: dict[str, Any] = config.record()
    expected["verify"]["preset"] = "fast"
    expected["propose"]["proposers"][1]["population"] = 24
    assert changed.record() == expected
    assert apply_overrides(config, {}) is config


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("verify.prest=fast", "unknown key verify.prest: did you mean preset?"),
        ("verfy.preset=fast", "unknown key verfy: did you mean verify?"),
        ("verify.preset=slow", "verify.preset: Input should be 'fast'"),
        ("budget.rounds=0", "budget.rounds: Input should be greater than or equal to 1"),
        ("seed.x=1", "--set seed.x: seed is 1 and has no keys"),
        ("propose.proposers.9.batch=1", "a list of 5, so '9' must be a number from 0 to 4"),
        ("propose.proposers.first=1", "so 'first' must be a number from 0 to 4"),
        ("verify.max_completed=300", "max_completed 300 exceeds max_submitted 200"),
    ],
)
def test_the_schema_judges_it_as_it_judges_a_file(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        apply_overrides(load_campaign("photovoltaic-3d"), parse_overrides([text]))
    assert sentence in str(refused.value)


FILE = {
    "name": "short",
    "generator": "perov5",
    "targets": [{"property": "formation_energy_per_atom", "max": -0.5}],
    "propose": {"proposers": [{"kind": "random", "batch": 4}]},
}


def test_a_campaign_remembers_what_was_set_and_asks_for_it_again(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "discovery.campaign.resolution.resolve", lambda config: {"hull": {"used": False}}
    )
    config = parse_campaign(yaml.safe_dump(FILE), source="short")
    overrides = parse_overrides(["verify.max_submitted=2", "verify.max_completed=1"])
    changed = apply_overrides(config, overrides)
    _create_or_continue(changed, overrides)
    record = campaigns.load("short")
    assert record.config["verify"]["max_submitted"] == 2
    assert record.resolved["overrides"] == overrides
    assert _create_or_continue(changed, overrides).name == "short"
    with pytest.raises(ConfigError) as refused:
        _create_or_continue(config)
    told = str(refused.value)
    assert "other values of verify.max_completed, verify.max_submitted" in told
    assert "repeat --set verify.max_submitted=2 --set verify.max_completed=1" in told
    longer = apply_overrides(changed, {"budget.rounds": 5})
    assert _create_or_continue(longer).name == "short"


def test_what_was_set_is_told_at_the_start() -> None:
    overrides = parse_overrides(["screen.models=[megnet, alignn]", "verify.preset=fast"])
    shown = as_options(overrides)
    assert shown == """--set 'screen.models=["megnet", "alignn"]' --set verify.preset=fast"""
    resolved = {
        "generator": {"name": "mp20", "version": "1"},
        "potential": {"level": "chgnet-0.3.0", "device": "cpu"},
        "screens": [],
        "dft": {"name": "none", "reason": "not wanted"},
        "overrides": overrides,
    }
    assert describe(resolved)[0] == f"set on the command line: {shown}"
