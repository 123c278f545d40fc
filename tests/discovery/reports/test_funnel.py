"""The funnel cut by a query, against brute force over the documents."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from agents.prediction import Prediction, counts
from agents.screen.consensus import find_consensus
from agents.screen.settings import ScreenSettings
from agents.targets import UNITS, Window
from db import campaigns
from db.connection import Session
from discovery.campaign.config import load_campaign
from discovery.cli import app
from discovery.reports.funnel import Thresholds, funnel, own_thresholds
from discovery.reports.paper_funnel import paper_funnel

ENERGY = Window(property="formation_energy_per_atom", max=-0.5)
GAP = Window(property="band_gap", min=0.5, max=2.5)
POOL = ["Sr", "Ti", "O", "La", "U", "Pb", "Te", "Na", "Cl"]
REASONS = (
    ("composition: far",),
    ("vacuum: 9 Å",),
    ("composition: far", "vacuum: 9 Å"),
    ("elements: U", "composition: far"),
    ("unproven: new",),
)
FIELDS = set(Prediction.__dataclass_fields__)


def document(number: int, random: np.random.Generator) -> dict[str, Any]:
    """A candidate as the agents leave one, ended anywhere between proposal and DFT."""
    depth = int(random.integers(0, 6))
    elements = sorted(random.choice(POOL, size=int(random.integers(1, 5)), replace=False).tolist())
    record: dict[str, Any] = {
        "_id": f"c-{number}",
        "campaign": "c",
        "seq": number,
        "state": ["proposed", "rejected", "relaxed", "screened", "screened", "verified"][depth],
        "generator_version": "g",
        "codes_hash": str(number),
        "token": 0,
        "history": [],
    }
    if depth >= 1 or random.random() < 0.5:
        atoms = int(random.integers(1, 30))
        record |= {"structure": {"species": []}, "elements": elements, "n_atoms": atoms}
    if depth >= 1:
        verdicts = {f"smact_{rule}": bool(random.random() < 0.7) for rule in ("cdvae", "strict")}
        record["screening"] = {"prescreen": verdicts}
    if depth >= 2:
        energy = None if random.random() < 0.05 else float(random.normal(-0.6, 0.6))
        record["relaxation"] = {
            "formation_energy_per_atom": energy,
            "max_force": float(random.uniform(0.0, 0.08)),
        }
        potential = float(random.normal(-1, 1))
        record["predictions"] = [
            _prediction("formation_energy_per_atom", potential, "chgnet", "chgnet-0.3.0", True)
        ]
    if depth >= 3:
        labels = random.choice(["train", "val"], size=int(random.integers(0, 2))).tolist()
        record["duplicates"] = {"training": {"matches": [{"label": label} for label in labels]}}
        models = [m for m in ("megnet", "alignn", "head") if random.random() < 0.8]
        record["screening"]["models"] = [{"name": name, "ran": True} for name in models]
        for model in models:
            level = "castelli2012" if model == "head" else "pbe-mp2018"
            inside = bool(random.random() < 0.8)
            words = [
                ("formation_energy_per_atom", float(random.normal(-0.7, 0.5))),
                ("band_gap", float(random.normal(1.0, 1.2))),
            ]
            if model == "megnet" and random.random() < 0.8:
                words.append(("p_gap", float(random.uniform())))
            record["predictions"] += [_prediction(n, v, model, level, inside) for n, v in words]
    if depth >= 4:
        record["selection"] = {"position": number}
        record["state"] = "failed" if random.random() < 0.3 else record["state"]
    if depth >= 5 and record["state"] == "verified":
        raw = float(random.normal(-0.7, 0.5))
        record["verification"] = {
            "formation_energy_per_atom": raw,
            "band_gap": float(abs(random.normal(1.0, 1.0))),
        }
        if random.random() < 0.5:  # as records have it since a U may be used
            record["verification"]["formation_energy_per_atom_judged"] = raw - 0.4
    return record


def _prediction(name: str, value: float, model: str, level: str, inside: bool) -> dict[str, Any]:
    reasons = () if inside else REASONS[int(abs(value) * 1e6) % len(REASONS)]
    given = Prediction(name, value, UNITS[name], model, "1", level, inside, out_of_domain=reasons)
    return given.record()


def brute_force(record: dict[str, Any], thresholds: Thresholds, order: str) -> list[bool | None]:
    """Every condition of one document in plain Python; models judged by the consensus itself."""
    screen = thresholds.screen
    found: dict[str, list[bool | None]] = {"decoded": [record.get("structure") is not None]}
    elements = set(record.get("elements", []))
    found["composition"] = [None]
    if "n_atoms" in record:
        allowed = screen.allowed_elements
        found["composition"] = [
            record["n_atoms"] <= screen.max_atoms
            and screen.min_elements <= len(elements) <= screen.max_elements
            and not elements & screen.excluded_elements
            and (allowed is None or elements <= set(allowed))
        ]
    found["smact"] = []
    if screen.smact != "off":
        prescreen = record.get("screening", {}).get("prescreen", {})
        found["smact"] = [prescreen.get(f"smact_{screen.smact}")]
    relaxation = record.get("relaxation", {})
    energy, force = relaxation.get("formation_energy_per_atom"), relaxation.get("max_force")
    found["relaxed"] = [None]
    if energy is not None and force is not None:
        limit = thresholds.elemental_max if len(elements) == 1 else thresholds.formation_energy_max
        found["relaxed"] = [energy < limit and force < thresholds.max_force]
    matches = record.get("duplicates", {}).get("training", {}).get("matches")
    found["new"] = [None if matches is None else all(m["label"] == "val" for m in matches)]
    asked = {model["name"] for model in record.get("screening", {}).get("models", [])}
    if thresholds.models is not None:
        asked &= set(thresholds.models)
    words = [
        Prediction(**{key: value for key, value in one.items() if key in FIELDS})
        for one in record.get("predictions", [])
        if one["model"] in asked
    ]
    found["models"] = []
    consensus = find_consensus(words, thresholds.windows, screen)
    for name in dict.fromkeys(consensus.properties):
        verdict = None if name in consensus.unjudged else True
        verdict = False if name in consensus.outside else verdict
        minded = screen.counted_out_of_domain
        silent = not [
            w
            for w in words
            if w.property == "p_gap" and counts(w.in_domain, w.out_of_domain, minded)
        ]
        if name == "p_gap" and screen.classifier == "if_present" and silent:
            verdict = True if "models" in record.get("screening", {}) else None
        found["models"].append(verdict)
    if "p_gap" in consensus.properties:  # the query asks it after all windows
        place = list(dict.fromkeys(consensus.properties)).index("p_gap")
        found["models"].append(found["models"].pop(place))
    verification = record.get("verification", {})
    chosen = "position" in record.get("selection", {})
    ended = False if chosen and record["state"] in ("failed", "rejected") else None
    found["dft"] = [True if record["state"] == "verified" else ended]
    for window in thresholds.windows:
        value = verification.get(window.property)
        if window.property == "formation_energy_per_atom":
            value = verification.get("formation_energy_per_atom_judged", value)
        found["dft"].append(None if value is None else window.contains(value))
    cheap = {
        "campaign": ["decoded", "composition", "smact", "relaxed", "new"],
        "paper": ["decoded", "new", "smact", "relaxed", "composition"],
    }[order]
    return [verdict for part in [*cheap, "models", "dft"] for verdict in found[part]]


@pytest.fixture
def stored(database: Session) -> list[dict[str, Any]]:
    """600 candidates of every kind, and some of another campaign."""
    random = np.random.default_rng(5)
    documents = [document(number, random) for number in range(600)]
    others = [
        {**document(number, random), "_id": f"d-{number}", "campaign": "d"} for number in range(40)
    ]
    database.database["candidates"].insert_many([*documents, *others])
    return documents


CUTS = [
    Thresholds((ENERGY, GAP), ScreenSettings()),
    Thresholds((ENERGY, GAP), ScreenSettings(agreement=2, classifier="required", min_p_gap=0.7)),
    Thresholds((ENERGY, GAP), ScreenSettings(min_models=2, classifier="required")),
    Thresholds(
        (ENERGY, GAP),
        ScreenSettings(min_models=2, counted_out_of_domain=("composition", "vacuum")),
    ),
    Thresholds((GAP, ENERGY), ScreenSettings(agreement=1, classifier="off", smact="off")),
    Thresholds(
        (Window(property="band_gap", max=0.1),),
        ScreenSettings(
            smact="strict",
            exclude=("toxic", "scarce"),
            exclude_lanthanides=True,
            max_atoms=20,
            max_elements=3,
            gate_ignores_levels=(),
        ),
        models=("megnet", "head"),
        formation_energy_max=-0.3,
        max_force=0.03,
    ),
    Thresholds((), ScreenSettings(allowed_elements=("Sr", "Ti", "O", "Na"), min_elements=2)),
]


@pytest.mark.parametrize("order", ["campaign", "paper"])
@pytest.mark.parametrize("cut", range(len(CUTS)))
def test_the_query_counts_as_brute_force_does(
    stored: list[dict[str, Any]], cut: int, order: Any
) -> None:
    verdicts = [brute_force(record, CUTS[cut], order) for record in stored]
    found = funnel("c", CUTS[cut], order=order)
    assert found["candidates"] == len(stored)
    assert len(found["steps"]) == len(verdicts[0])
    seen = set()
    for place, step in enumerate(found["steps"]):
        arrived = [v[place] for v in verdicts if all(one is True for one in v[:place])]
        everywhere = [v[place] for v in verdicts]
        for name, column in (("left", arrived), ("all_passed", everywhere)):
            assert step[name] == column.count(True), step
        for name, column in (("failed", arrived), ("all_failed", everywhere)):
            assert step[name] == column.count(False), step
        for name, column in (("unknown", arrived), ("all_unknown", everywhere)):
            assert step[name] == column.count(None), step
        seen |= set(everywhere)
    assert seen == {True, False, None}


@pytest.fixture
def campaign(stored: list[dict[str, Any]]) -> str:
    """The stored candidates as a campaign with the settings of the photovoltaic one."""
    config = load_campaign("photovoltaic-3d").model_copy(update={"name": "c"})
    campaigns.create("c", config=config.record(), seed=1, resolved={})
    return "c"


def test_own_thresholds_are_those_of_the_campaign(campaign: str) -> None:
    own = own_thresholds(campaign)
    config = load_campaign("photovoltaic-3d")
    assert own.windows == config.targets
    assert own.screen == config.screen
    assert own.max_force == config.relax.accept_max_force == 0.05


def test_the_command_changes_only_what_is_given(campaign: str, database: Session) -> None:
    run = CliRunner().invoke
    own = own_thresholds(campaign)

    def ask(*options: str) -> dict[str, Any]:
        done = run(app, ["funnel", campaign, "--db", database.uri, *options, "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    assert ask() == json.loads(json.dumps(funnel(campaign, own)))
    other = replace(
        own,
        windows=(Window(property="band_gap", min=1.0, max=2.0),),
        screen=own.screen.model_copy(update={"min_p_gap": 0.7, "exclude": ("toxic",)}),
        max_force=0.02,
    )
    options = ["--window", "band_gap:1.0:2.0", "--min-p-gap", "0.7", "--exclude", "toxic"]
    assert ask(*options, "--max-force", "0.02", "--order", "paper") == json.loads(
        json.dumps(funnel(campaign, other, order="paper"))
    )
    laxer = replace(
        own,
        screen=own.screen.model_copy(update={"counted_out_of_domain": ("composition", "vacuum")}),
    )
    assert ask("--out-of-domain", "composition, vacuum") == json.loads(
        json.dumps(funnel(campaign, laxer))
    )
    beside = ask("--paper", "photovoltaic-3d", "--max-force", "0.02")
    cut = replace(own, max_force=0.02)
    assert beside == json.loads(json.dumps(paper_funnel(campaign, cut, name="photovoltaic-3d")))
    lines = run(app, ["funnel", campaign, "--db", database.uri, "--paper", "photovoltaic-3d"])
    assert "not in the training set" in lines.stdout
    assert "20183" in lines.stdout
    table = run(app, ["funnel", campaign, "--db", database.uri])
    assert "models: 0.5 <= band_gap <= 2.5 eV" in table.stdout
    for wrong, said in (
        ("--order=best", "campaign or paper"),
        ("--smact=both", "smact"),
        ("--paper=3d", "photovoltaic-3d or c2db-2d"),
        ("--out-of-domain=weather", "counted_out_of_domain"),
    ):
        assert said in str(run(app, ["funnel", campaign, "--db", database.uri, wrong]).exception)
