"""The screening task of a worker: models loaded once, batches, and what a prediction must carry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.screen.megnet import FOLDER, MEGNet
from agents.screen.models import resolve_models
from agents.stage import work
from agents.targets import UNITS
from db import campaigns, candidates
from db.connection import Session
from db.crystals import crystal_fields, structure_to_record
from db.queries import find
from db.states import State
from discovery.campaign.config import load_campaign
from discovery.reports.funnel import funnel, own_thresholds
from discovery.workers.runtime import Runtime
from model.generator import Generator

NAME = "screened"
SITES = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def perovskite(a: float, b_site: str, length: float) -> Structure:
    return Structure(Lattice.cubic(length), [a, b_site, "O", "O", "O"], SITES)


def relaxed(here: Runtime, crystals: Sequence[Structure], first: int) -> None:
    """Bring crystals through the cheap rules to where the screens take them."""
    proposals = [
        {"generator_version": "g", "codes_hash": f"{first + i:064d}", "codes": {"n": first + i}}
        for i in range(len(crystals))
    ]
    names = candidates.insert_proposals(NAME, proposals)
    for name, crystal in zip(names, crystals, strict=True):
        move(name, State.PROPOSED, State.EVALUATED, crystal_fields(crystal))
    assert work(here.stage("prescreen"), NAME, here.owner) == len(crystals)
    for name, crystal in zip(names, crystals, strict=True):
        numbers = {"formation_energy_per_atom": -1.0, "max_force": 0.01}
        structure = structure_to_record(crystal)
        move(name, State.PRESCREENED, State.RELAXING, {})
        move(
            name, State.RELAXING, State.RELAXED, {"relaxation": {"structure": structure, **numbers}}
        )


def move(name: str, source: State, to: State, updates: dict[str, Any]) -> None:
    token = candidates.load(name).token
    candidates.transition(name, source=source, to=to, token=token, agent="test", updates=updates)


@pytest.mark.models
def test_models_load_once_work_in_batches_and_every_number_can_be_defended(
    database: Session, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(models_dir))
    config = load_campaign("quickstart")
    config = config.model_copy(
        update={
            "name": NAME,
            "screen": config.screen.model_copy(update={"models": ("megnet", "head"), "batch": 8}),
        }
    )
    generator = Generator.load(config.generator)
    resolved = {
        "generator": {
            "name": config.generator,
            "version": generator.version,
            "head": generator.head.version,
        },
        "potential": {"device": "cpu"},
        "screens": resolve_models(config.screen),
    }
    campaigns.create(NAME, config=config.record(), seed=1, resolved=resolved)
    loads, batches = [], []
    load, predict = MEGNet.load, MEGNet.predict

    def counted_load(**options: Any) -> MEGNet:
        loads.append(options)
        return load(models_dir / FOLDER, **options)

    def counted_predict(self: MEGNet, structures: Sequence[Structure], on: str = "relaxed") -> Any:
        batches.append(len(structures))
        return predict(self, structures, on)

    monkeypatch.setattr(MEGNet, "load", counted_load)
    monkeypatch.setattr(MEGNet, "predict", counted_predict)
    here = Runtime(NAME)
    relaxed(here, [perovskite("Sr", "Ti", 3.95), perovskite("Ba", "Zr", 4.26)], first=0)
    assert work(here.stage("screen"), NAME, here.owner) == 2
    assert batches.pop() == 2
    slab = perovskite("Ca", "Sn", 4.1)
    slab = Structure(
        Lattice.tetragonal(4.1, 24.1), slab.species, slab.frac_coords * [1, 1, 4.1 / 24.1]
    )
    relaxed(here, [slab, perovskite("K", "Ta", 4.03), perovskite("Na", "Nb", 3.97)], first=2)
    assert work(here.stage("screen"), NAME, here.owner) == 3
    assert batches.pop() == 3
    assert len(loads) == 1
    records = find(NAME)
    assert len(records) == 5
    for record in records:
        assert {p["model"] for p in record["predictions"]} >= {"megnet"}
        for prediction in record["predictions"]:
            assert prediction["version"]
            assert prediction["unit"] == UNITS[prediction["property"]]
            assert prediction["in_domain"] is (prediction["out_of_domain"] == [])
            assert prediction["on"] == "relaxed"
    reasons = {
        record["formula"]: {r for p in record["predictions"] for r in p["out_of_domain"]}
        for record in records
    }
    assert any(reason.startswith("vacuum:") for reason in reasons["CaSnO3"])
    assert not any(reason.startswith("vacuum:") for reason in reasons["SrTiO3"])
    steps = {step["name"]: step for step in funnel(NAME, own_thresholds(NAME))["steps"]}
    new = [r for r in records if not any_known(r["duplicates"]["training"]["matches"])]
    verdicts = [r["screening"]["consensus"] for r in new]
    assert steps["relaxed"]["left"] == 5
    assert steps["not in training data"]["left"] == len(new)
    for window, name in zip(config.targets, ("formation_energy_per_atom", "band_gap")):
        verdicts = [v for v in verdicts if name not in v["outside"] + v["unjudged"]]
        assert steps[f"models: {window}"]["left"] == len(verdicts)
    assert steps["models: P(gap) >= 0.5"]["left"] == sum(
        "p_gap" not in v["outside"] for v in verdicts
    )
    assert steps["DFT completed"]["left"] == 0


def any_known(matches: Sequence[dict[str, Any]]) -> bool:
    return any(match["label"] != "val" for match in matches)
