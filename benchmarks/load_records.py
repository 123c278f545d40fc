"""The records of a large campaign, made up: candidates, generations, calculations and their jobs.

Candidates are those of `query.py` (3 to 10 kB, every state of the funnel), drawn from a few
thousand different ones; each has an id, codes and an order of its own. The last of them wait for
their evaluation, as in a campaign that runs; all others are at their end or wait for DFT.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from query import candidate

from db.connection import current_database, ensure_indexes
from db.documents import DOCUMENTS
from db.states import FUNNEL, CalculationState, State
from discovery.campaign.config import CampaignConfig

CAMPAIGN = "load"
GENERATION = 100
"""Candidates of one generation; ten generations of one proposer are an episode."""
BATCH = 2000
TEMPLATES = 3000
REACHED = (
    ("verification", "verified"),
    ("screening", "screened"),
    ("relaxation", "relaxed"),
    ("evaluation", "evaluated"),
    (None, "proposed"),
)
"""The field that is there from a state on, the last state first."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def config() -> CampaignConfig:
    """Return the campaign that the records are of."""
    return CampaignConfig.model_validate(
        {
            "name": CAMPAIGN,
            "seed": 1,
            "generator": "perov5",
            "targets": [
                {"property": "formation_energy_per_atom", "max": -0.5},
                {"property": "band_gap", "min": 0.5, "max": 2.5},
            ],
            "budget": {"rounds": 1_000_000},
            "propose": {"proposers": [{"kind": "random", "batch": GENERATION, "generations": 10}]},
            "verify": {"backend": "gpaw", "max_submitted": 100_000, "max_completed": 100_000},
            "follow_up": {"max_hits": 8},
        }
    )


def fill(first: int, last: int, open_candidates: int) -> None:
    """Add candidates and what belongs to them; indexes are made afterwards.

    Args:
        first: Number of candidates there are.
        last: Number there shall be.
        open_candidates: So many of the last ones wait for their evaluation.
    """
    database = current_database()
    source = random.Random(first + 1)
    templates = _templates(source)
    waiting = next(one for one in templates if one["state"] == "proposed")
    settled = [one for one in templates if one["state"] != "proposed"]
    for start in range(first, last, BATCH):
        numbers = range(start, min(start + BATCH, last))
        documents = [
            _candidate(waiting if last - n <= open_candidates else source.choice(settled), n)
            for n in numbers
        ]
        raw = [RawBSONDocument(bson.encode(one)) for one in documents]
        database["candidates"].insert_many(raw, ordered=False)
        verified = [one for one in documents if one["state"] == "verified"]
        if verified:
            for name, records in zip(
                ("calculations", "fireworks", "launches", "workflows"),
                zip(*(_calculation(one) for one in verified), strict=True),
                strict=True,
            ):
                database[name].insert_many(records, ordered=False)
    database["generations"].insert_many(_generations(first, last))
    database["counters"].update_one(
        {"_id": f"seq/{CAMPAIGN}"}, {"$set": {"next": last}}, upsert=True
    )


def settle() -> None:
    """Let the candidates that wait for their evaluation be rejected ones."""
    reject = {"reason": "smact", "detail": {}, "stage": "prescreen"}
    current_database()["candidates"].update_many(
        {"campaign": CAMPAIGN, "state": str(State.PROPOSED)},
        {"$set": {"state": str(State.REJECTED), "rejection": reject}},
    )


def without_indexes() -> None:
    """Drop the indexes of the candidates: records are written faster without."""
    current_database()["candidates"].drop_indexes()


def with_indexes() -> None:
    """Make the indexes again, those of the candidates in one pass through the records."""
    for kind in DOCUMENTS:
        kind._collection = None  # mongoengine remembers which indexes it has made
    ensure_indexes()


def _templates(source: random.Random) -> list[dict[str, Any]]:
    made = [candidate(number, source) for number in range(TEMPLATES)]
    for one in made:
        one |= {"campaign": CAMPAIGN, "history": _history(one)}
        one["structure"] = crystal = _crystal(one["structure"]["species"], source)
        if "relaxation" in one:
            one["relaxation"]["structure"] = crystal
        if "hull" in one:
            one["hull"]["level"] = "chgnet-0.3.0"
    return made


def _crystal(species: list[str], source: random.Random) -> dict[str, Any]:
    """Put atoms on a slightly distorted grid, 2.5 Å from each other: DFT's cost is estimated."""
    rows = math.ceil(len(species) ** (1 / 3))
    edge = 2.5 * rows
    places = list(itertools.product(range(rows), repeat=3))[: len(species)]
    coordinates = [[(x + source.uniform(0, 0.1)) / rows for x in place] for place in places]
    lattice = [[edge * (i == j) for j in range(3)] for i in range(3)]
    return {"lattice": lattice, "species": species, "frac_coords": coordinates}


def _history(one: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the transitions of a candidate that ended where this one did."""
    funnel = [str(state) for state in FUNNEL]
    last = next(stage for field, stage in REACHED if field is None or one.get(field))
    path = funnel[: funnel.index(last) + 1]
    if one["state"] != path[-1]:
        path.append(one["state"])
    inputs = {"potential": "chgnet-0.3.0", "references": "0" * 64}
    return [
        {
            "from": before,
            "to": after,
            "agent": "relax",
            "code_version": "0.1.0+0000000",
            "inputs": inputs,
            "at": START + timedelta(seconds=step),
            "token": step,
        }
        for step, (before, after) in enumerate(itertools.pairwise([None, *path]))
    ]


def _candidate(template: dict[str, Any], number: int) -> dict[str, Any]:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    one = {
        **template,
        "_id": f"{CAMPAIGN}-{digest[:12]}",
        "seq": number,
        "codes_hash": digest,
        "episode": number // (10 * GENERATION),
        "generation": number // GENERATION % 10,
        "proposer": "random",
        "created_at": START + timedelta(seconds=number),
    }
    if one["state"] == "verified":
        one["selection"] = {"position": number, "control": number % 5 == 0, "core_seconds": 60.0}
        one["verification"] = {
            **template["verification"],
            "calculations": {"compound": digest, "references": {}},
            "targets": {"formation_energy_per_atom": True, "band_gap": number % 3 == 0},
        }
    return one


def _calculation(one: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    number = one["seq"]
    attempt = {"campaign": CAMPAIGN, "core_seconds": 60.0, "wall_seconds": 60.0, "fw_id": number}
    calculation = {
        "_id": one["codes_hash"],
        "kind": "compound",
        "task": "static",
        "code": "gpaw",
        "version": "1",
        "level": "gpaw-pbe",
        "formula": one["formula"],
        "structure": one["structure"],
        "state": str(CalculationState.COMPLETED),
        "fw_id": number,
        "result": {"energy_per_atom": -3.0, "band_gap": 1.0, "structure": one["structure"]},
        "candidates": [one["_id"]],
        "info": {"campaign": CAMPAIGN},
        "attempts": [attempt],
        "history": [],
        "created_at": one["created_at"],
    }
    stamp = one["created_at"].isoformat()
    firework = {
        "fw_id": number,
        "name": one["formula"],
        "state": "COMPLETED",
        "spec": {"calculation": one["codes_hash"], "_priority": -number},
        "launches": [number],
        "archived_launches": [],
        "created_on": stamp,
        "updated_on": stamp,
    }
    launch = {
        "launch_id": number,
        "fw_id": number,
        "state": "COMPLETED",
        "fworker": {"name": "load"},
        "time_end": stamp,
        "state_history": [],
        "action": {"stored_data": {"result": {}}},
    }
    workflow = {
        "nodes": [number],
        "state": "COMPLETED",
        "fw_states": {str(number): "COMPLETED"},
        "links": {str(number): []},
        "parent_links": {},
        "name": one["formula"],
        "created_on": stamp,
        "updated_on": stamp,
    }
    return calculation, firework, launch, workflow


def _generations(first: int, last: int) -> Iterator[dict[str, Any]]:
    for start in itertools.count(first - first % GENERATION, GENERATION):
        if start >= last:
            return
        numbers = range(start, min(start + GENERATION, last))
        digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]
        yield {
            "campaign": CAMPAIGN,
            "episode": start // (10 * GENERATION),
            "generation": start // GENERATION % 10,
            "proposer": "random",
            "base_id": "mp-1",
            "seed": 1,
            "candidate_ids": [f"{CAMPAIGN}-{digest[:12]}" for digest in digests],
            "info": {"round": start // GENERATION, "proposers": 1, "asked": GENERATION},
            "created_at": START + timedelta(seconds=start),
        }
