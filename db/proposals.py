"""New candidates: each set of codes is proposed once in a campaign, whoever proposes it again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pymongo.errors import BulkWriteError

from db import events
from db.code_version import code_version
from db.connection import current_database
from db.counters import reserve
from db.documents import RESULTS
from db.plain import plain
from db.property_table import table_fields
from db.states import State

REQUIRED = ("generator_version", "codes_hash", "codes")
DESCRIPTIVE = ("base_id", "proposer", "episode", "generation", "parents")
DUPLICATE_KEY = 11000


def candidate_id(campaign: str, generator_version: str, codes_hash: str) -> str:
    """Name a candidate by what it is, so that proposing it twice gives one name."""
    digest = hashlib.sha256(f"{generator_version}:{codes_hash}".encode()).hexdigest()
    return f"{campaign}-{digest[:12]}"


def insert_proposals(campaign: str, proposals: Sequence[dict[str, Any]]) -> list[str]:
    """Insert new candidates in state ``proposed``; those that exist already are left alone.

    May be repeated after a crash: each candidate exists once, and ``seq`` follows the order given
    (it may have gaps).

    Args:
        campaign: Name of the campaign.
        proposals: Each with ``generator_version``, ``codes_hash``, ``codes``, and optionally
            ``base_id``, ``proposer``, ``episode``, ``generation``, ``parents`` (ids of candidates
            whose codes it inherits in part), ``predictions`` and result fields of a decoded
            crystal (see `db.crystals.crystal_fields`).

    Returns:
        The ids in the order given, repeated where proposals repeat.

    Raises:
        ValueError: A field is missing, unknown or not plain JSON; nothing is written.
    """
    documents: dict[str, dict[str, Any]] = {}
    ids = []
    for proposal in proposals:
        document = _document(campaign, proposal)
        ids.append(document["_id"])
        documents.setdefault(document["_id"], document)
    collection = current_database()["candidates"]
    known = collection.find({"_id": {"$in": list(documents)}}, {"codes_hash": 1})
    for existing in known:
        _check_same(documents.pop(existing["_id"]), existing["codes_hash"])
    if not documents:
        return ids
    now = events.server_time()
    first = reserve(f"seq/{campaign}", len(documents))
    for offset, document in enumerate(documents.values()):
        document["seq"] = first + offset
        document["created_at"] = now
        document["history"][0]["at"] = now
    try:
        collection.insert_many(list(documents.values()), ordered=False)
    except BulkWriteError as error:
        failures = error.details["writeErrors"]
        if any(failure["code"] != DUPLICATE_KEY for failure in failures):
            raise
        for failure in failures:  # another proposer inserted the same codes meanwhile
            found = collection.find_one({"_id": failure["op"]["_id"]}, {"codes_hash": 1})
            assert found is not None  # candidates are never deleted
            _check_same(failure["op"], found["codes_hash"])
    return ids


def proposed_at_most(campaign: str) -> int:
    """Return a number that a campaign's candidates do not exceed, without counting them.

    Numbers (``seq``) that a crash left unused are in it.
    """
    found = current_database()["counters"].find_one({"_id": f"seq/{campaign}"})
    return 0 if found is None else int(found["next"])


def _document(campaign: str, proposal: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in REQUIRED if not proposal.get(name)]
    unknown = set(proposal) - {*REQUIRED, *DESCRIPTIVE, *RESULTS, "predictions"}
    if missing or unknown:
        raise ValueError(
            f"a proposal lacks {missing or 'nothing'} and has the unknown fields "
            f"{sorted(unknown) or 'none'}"
        )
    values = plain(proposal, "proposal")
    entry = {
        "from": None,
        "to": str(State.PROPOSED),
        "agent": values.get("proposer") or "propose",
        "code_version": code_version(),
        "inputs": {"generator_version": values["generator_version"]},
        "token": 0,
    }
    return {
        "_id": candidate_id(campaign, values["generator_version"], values["codes_hash"]),
        "campaign": campaign,
        **values,
        **table_fields(values),
        "state": str(State.PROPOSED),
        "lease": None,
        "token": 0,
        "attempts": 0,
        "history": [entry],
    }


def _check_same(proposed: dict[str, Any], codes_hash: str) -> None:
    if proposed["codes_hash"] != codes_hash:
        raise RuntimeError(
            f"{proposed['_id']} names two candidates, with codes {proposed['codes_hash']} and "
            f"{codes_hash}: propose another one"
        )
