"""A person sees the whole lineage of a candidate, on 80 columns."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from rich.console import Console
from workplace import Workplace

from db import campaigns, generations, model_versions
from db.connection import Session
from db.proposals import insert_proposals
from discovery.lineage.tracing import changed_codes, purposes, trace
from discovery.lineage.view import describe
from model.generator import Generator


def shown(record: dict[str, Any], width: int = 80) -> str:
    text = io.StringIO()
    describe(record, Console(file=text, width=width))
    return text.getvalue()


@pytest.fixture(scope="module")
def shipped() -> Generator:
    """The Perov-5 generator that comes with the package."""
    return Generator.load("perov5")


@pytest.fixture
def proposed(database: Session, shipped: Generator) -> str:
    """A child of another candidate, of the shipped Perov-5 generator."""
    resolved = {
        "discovery": "0.1.0",
        "generator": {"name": "perov5", "version": shipped.version, "head": shipped.head.version},
        "bases": [],
        "potential": {"name": "chgnet", "level": "chgnet-0.3.0", "references": "a" * 64}
        | {"device": "cpu"},
        "screens": [{"name": "megnet", "used": True, "files": {"band_gap": "b" * 64}}],
    }
    proposers = [{"kind": "random"}, {"kind": "genetic", "population": 8}]
    campaigns.create("c", config={"propose": {"proposers": proposers}}, seed=3, resolved=resolved)
    base = shipped.bank.codes(5)
    version = model_versions.store(
        *("c", "property_head", b"weights"),
        **{"parent": None, "metrics": {}, "decision": "promoted", "reason": "better"},
        labels={"counts": {"band_gap@x": 7}, "gate": ["k"] * 4, "trained": []},
    )
    head = model_versions.load(version).sha256[:12]
    one = {"property": "band_gap", "value": 1.0, "unit": "eV", "in_domain": True, "on": "decoded"}
    common = {
        "generator_version": shipped.version,
        "codes": base.record(),
        "base_id": str(shipped.bank.ids[5]),
        "proposer": "genetic",
        "episode": 1,
        "generation": 1,
        "predictions": [
            {**one, "model": "head", "version": head, "level": "x"},
            {**one, "model": "megnet", "version": "mp-2018.6.1", "level": "pbe"},
            {**one, "model": "chgnet", "version": "0.3.0", "level": "chgnet-0.3.0"},
        ],
    }
    (parent,) = insert_proposals("c", [{**common, "codes_hash": "one"}])
    (child,) = insert_proposals("c", [{**common, "codes_hash": "two", "parents": [parent]}])
    insert = {"proposer": "genetic", "base_id": common["base_id"], "seed": 3}
    info = {"round": 1, "spawn_key": [1, 1, 1], "asked": 2, "new": 2}
    generations.record("c", 1, 1, candidate_ids=[parent, child], info=info, **insert)
    return child


def test_the_lineage_names_base_proposer_parents_and_what_a_head_learned(
    proposed: str, shipped: Generator
) -> None:
    lineage = trace(proposed)["lineage"]
    base = lineage["base"]
    assert base["formula"] == shipped.bank.formulas[5]
    assert base["data_set"] == "Perov-5"
    assert base["changed"] == {"species": [], "crystal": False, "local": []}
    decoded = shipped.decode([shipped.bank.codes(5)])[0].structure
    assert base["structure"]["species"] == [site.specie.symbol for site in decoded]
    assert base["structure"]["lattice"] == decoded.lattice.matrix.tolist()
    proposer = lineage["proposer"]
    assert proposer["settings"] == {"kind": "genetic", "population": 8}
    assert [one["info"]["spawn_key"] for one in proposer["generations"]] == [[1, 1, 1]]
    (parent,) = lineage["parents"]
    assert parent["id"] != proposed
    about = {one["model"]: one for one in lineage["models"]}
    learned = about["head"]["learned"]
    assert [one["decision"] for one in learned] == ["shipped", "promoted"]
    assert learned[1]["labels"] == {"band_gap@x": 7}
    assert about["megnet"]["files"] == {"band_gap": "b" * 64}
    assert about["chgnet"]["references"] == "a" * 64


def test_everything_fits_on_80_columns(proposed: str) -> None:
    text = shown(trace(proposed))
    assert max(map(len, text.splitlines())) <= 80
    for word in ("Perov-5", "spawn key 1 1 1", "population 8", "learned 7 band_gap@x", "parent"):
        assert word in text


def test_a_generator_of_another_version_is_not_asked(proposed: str, database: Session) -> None:
    resolved = dict(campaigns.load("c").resolved)
    resolved["generator"] = {**resolved["generator"], "version": "f" * 12}
    campaigns.update("c", resolved=resolved)
    base = trace(proposed)["lineage"]["base"]
    assert "is not on this machine" in base["unknown"]
    assert "formula" not in base


def test_what_a_crystal_equals_is_named(proposed: str) -> None:
    limits = {"ltol": 0.3, "stol": 0.5, "angle_tol": 10.0}
    none = {"reference": "bank", "compared": 2, "matches": [], "tolerances": limits}
    match = {"id": "mp-22862", "rms": 0.0123, "rms_angstrom": 0.034, "label": "known"}
    known = {**none, "reference": "mp v1", "matches": [match], "rediscovered": True}
    record = trace(proposed)
    record["duplicates"] = {"training": none, "campaign": none, "references": [known, none]}
    text = shown(record)
    assert "equals mp-22862, RMS 0.0123" in text
    assert text.count("rediscovered") == 1
    assert text.count("2 compared") == 4
    assert max(map(len, text.splitlines())) <= 80


def test_changed_codes_are_those_that_a_comparison_token_by_token_finds() -> None:
    rng = random.Random(1)

    def codes() -> dict[str, Any]:
        return {
            "species": [[rng.randrange(2)] for _ in range(3)],
            "crystal": [rng.randrange(2)],
            "local": [[rng.randrange(2)] for _ in range(rng.randrange(2, 5))],
        }

    for _ in range(200):
        one, other = codes(), codes()
        found = changed_codes(one, other)
        rebuilt = {
            "species": list(one["species"]),
            "local": list(one["local"]) + [None] * 5,
        }
        for part in ("species", "local"):
            for place in found[part]:
                rebuilt[part][place] = (other[part] + [None] * 9)[place]
        assert rebuilt["species"] == other["species"]
        assert [token for token in rebuilt["local"] if token is not None] == other["local"]
        assert found["crystal"] == (one["crystal"] != other["crystal"])


def test_every_calculation_has_a_purpose() -> None:
    record = {
        "verification": {"calculations": {"compound": "1", "references": {"Zr": "2"}}},
        "follow_up": {
            "dft": {
                "calculations": {"bands": "3"},
                "phases": {"mp-1": "4"},
            }
        },
    }
    assert [(one["for"], one["hash"]) for one in purposes(record)] == [
        *(("compound", "1"), ("reference Zr", "2"), ("bands", "3")),
        ("phase mp-1", "4"),
    ]


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_verified_candidate_shows_every_step(finished: Workplace) -> None:
    (record,) = finished.json("query", "tiny", "--status", "verified", "--format", "json")
    traced = finished.json("show", record["id"], "--json")
    text = shown(traced)
    assert max(map(len, text.splitlines())) <= 80
    for entry in traced["history"]:
        assert entry["at"][11:19] in text
        assert f"{entry['to']} by {entry['agent']}" in text
    for one in traced["verification"]["records"]:
        assert one["hash"][:12] in text
    for one in traced["predictions"]:
        assert f"{one['value']:.4f}" in text
    assert traced["lineage"]["base"]["structure"]["species"]
    children = [
        one for one in finished.json("query", "tiny", "--format", "json") if one.get("parents")
    ]
    assert children, "no child of the genetic algorithm knows its parents"
    assert {one["proposer"] for one in children} == {"genetic"}
    known = {one["id"] for one in finished.json("query", "tiny", "--format", "json")}
    assert all(set(one["parents"]) <= known for one in children)
