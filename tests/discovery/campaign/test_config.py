"""What a campaign file may say, and what each mistake gets."""

from __future__ import annotations

import pytest
import yaml

from discovery.campaign.config import (
    ConfigError,
    differing_keys,
    from_record,
    load_campaign,
    parse_campaign,
    shipped_campaigns,
)

MINIMAL = {
    "name": "tiny",
    "generator": "perov5",
    "targets": [{"property": "band_gap", "min": 0.5, "max": 2.5}],
    "propose": {"proposers": [{"kind": "random", "batch": 4}]},
}


def campaign(**changes: object) -> str:
    return yaml.safe_dump({**MINIMAL, **changes})


@pytest.mark.parametrize("name", shipped_campaigns())
def test_shipped_campaigns_are_valid_and_survive_their_record(name: str) -> None:
    config = load_campaign(name)
    assert config.name == name
    assert from_record(config.record(), source=name) == config


def test_quickstart_has_the_photovoltaic_windows_and_the_asked_budget() -> None:
    config = load_campaign("quickstart")
    windows = {window.property: (window.min, window.max) for window in config.targets}
    assert windows == {"formation_energy_per_atom": (None, -0.5), "band_gap": (0.5, 2.5)}
    assert (config.verify.max_completed, config.verify.max_submitted) == (3, 8)
    assert config.verify.timeout_seconds == 180
    sizes = {
        one.kind: (one.population if one.kind == "genetic" else one.batch) * config.budget.rounds
        for one in config.propose.proposers
    }
    survivors = 1
    assert sizes["genetic"] - survivors >= 64
    assert sizes["optuna_tpe"] >= 64
    assert sum(sizes.values()) - survivors >= 256


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("quikstart", "quickstart"),
        ("Quickstart", "quickstart"),
        ("photovoltaic", "photovoltaic-3d"),
        ("3d", "photovoltaic-3d"),
        ("carbon24", "carbon"),
    ],
)
def test_unknown_campaign_names_the_near_ones_and_describes_all(name: str, near: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_campaign(name)
    told = str(refused.value)
    assert told.startswith(f"unknown campaign '{name}'. Did you mean {near}")
    for known in shipped_campaigns():
        assert f"{known} ({load_campaign(known).description})" in told


def test_a_name_that_is_like_none_gets_no_guess() -> None:
    with pytest.raises(ConfigError) as refused:
        load_campaign("zzzz")
    assert "Did you mean" not in str(refused.value)
    assert "quickstart (" in str(refused.value)


@pytest.mark.parametrize("name", shipped_campaigns())
def test_shipped_campaigns_say_what_they_are_and_take(name: str) -> None:
    config = load_campaign(name)
    assert config.description
    assert "core" in config.expected


def test_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no campaign file nowhere\.yaml"):
        load_campaign("nowhere.yaml")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sede": 3}, r"unknown key sede: did you mean seed\?"),
        ({"budget": {"ronds": 3}}, r"unknown key budget\.ronds: did you mean rounds\?"),
        (
            {"targets": [{"property": "band_gap", "min": 3, "max": 1}]},
            r"targets\.0: the window of band_gap is empty: min 3\.0 is above max 1\.0",
        ),
        ({"targets": [{"property": "band_gap"}]}, "neither min nor max"),
        (
            {"targets": [{"property": "band_gap", "min": 1}, {"property": "band_gap", "max": 2}]},
            "two windows of band_gap",
        ),
        (
            {"targets": [{"property": "energy_above_hull", "max": 0.1}]},
            "energy_above_hull, which means that of DFT",
        ),
        (
            {"hull": {"reference": "mp"}, "relax": {"pressure": 10.0}},
            r"zero pressure and relax\.pressure is 10 GPa",
        ),
        ({"hull": {"margins": 0.2}}, r"unknown key hull\.margins: did you mean margin\?"),
        ({"targets": []}, "targets"),
        ({"targets": [{"property": "colour", "min": 1}]}, r"targets\.0\.property"),
        ({"name": "../../etc"}, r"name: String should match"),
        ({"seed": -1}, "seed"),
        ({"relax": {"fmax": 0.2}}, "fmax 0.2 must not exceed"),
    ],
)
def test_every_mistake_is_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_campaign(campaign(**changes), source="test")


@pytest.mark.parametrize("text", ["- a\n- b", "42", "", "a: [", "!!python/object:os.system {}"])
def test_what_is_no_campaign_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="campaign test"):
        parse_campaign(text, source="test")


def test_differing_keys_are_dotted() -> None:
    old = {"a": 1, "b": {"c": 2, "d": 3}}
    assert differing_keys(old, {"a": 1, "b": {"c": 2, "d": 4}}) == ["b.d"]
    assert differing_keys(old, {"a": 2, "b": {"c": 2}}) == ["a", "b.d"]
    assert differing_keys(old, old) == []


FLAT = {
    "name": "flat",
    "generator": "c2db",
    "dimensionality": 2,
    "targets": [{"property": "formation_energy_per_atom", "max": -0.5}],
    "propose": {"proposers": [{"kind": "random", "batch": 4, "generations": 1}]},
}


def test_every_agent_of_a_two_dimensional_campaign_is_told() -> None:
    screen = {"counted_out_of_domain": ["vacuum"]}
    config = from_record({**FLAT, "screen": screen}, source="here")
    assert config.screen.dimensionality == 2
    assert config.relax.in_plane
    assert config.verify.slab_vacuum == 12.0
    assert config.verify.counted_out_of_domain == ("vacuum",)
    assert from_record(config.record(), source="its record") == config
    wider = from_record({**FLAT, "verify": {"slab_vacuum": 18.0}}, source="here")
    assert wider.verify.slab_vacuum == 18.0
    bulk = from_record({**FLAT, "dimensionality": 3}, source="here")
    assert not bulk.relax.in_plane
    assert bulk.verify.slab_vacuum is None


@pytest.mark.parametrize(
    "contradiction",
    [
        {"relax": {"in_plane": False}},
        {"screen": {"dimensionality": 3}},
        {"dimensionality": 3, "relax": {"in_plane": True}},
        {"dimensionality": 3, "verify": {"slab_vacuum": 12.0}},
    ],
)
def test_half_a_slab_is_refused(contradiction: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="says otherwise"):
        from_record({**FLAT, **contradiction}, source="here")
