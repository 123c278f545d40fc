"""Every write to a candidate: proposals, transitions, annotations.

A transition is one compare-and-set on (state, fencing token) of one document: it moves the state,
stores the results, clears the lease and appends to the history, or it does nothing at all. Times
are the server's. Leases are in `db.leases` and offered here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pymongo.errors import BulkWriteError

from db import events
from db.code_version import code_version
from db.connection import current_database
from db.counters import reserve
from db.documents import Candidate
from db.leases import abandon, lease, reap, release, renew
from db.plain import NotPlain, plain
from db.queries import UnknownCandidate, count_by, counts, reached, rejections
from db.states import ALLOWED, TERMINAL, State

__all__ = [
    "IllegalTransition",
    "NotPlain",
    "StaleLease",
    "UnknownCandidate",
    "abandon",
    "candidate_id",
    "count_by",
    "counts",
    "insert_proposals",
    "lease",
    "load",
    "reached",
    "reap",
    "rejections",
    "release",
    "renew",
    "set_fields",
    "transition",
]

REQUIRED = ("generator_version", "codes_hash", "codes")
DESCRIPTIVE = ("base_id", "proposer", "episode", "generation")
RESULTS = frozenset(
    {
        *("structure", "formula", "chemical_system", "elements", "n_atoms"),
        *("evaluation", "relaxation", "relaxed_codes", "screening", "duplicates"),
        *("selection", "verification"),
    }
)
DUPLICATE_KEY = 11000


class StaleLease(RuntimeError):
    """A write came with a state or token that is no longer the candidate's."""

    def __init__(self, candidate_id: str, message: str) -> None:
        super().__init__(message)
        self.candidate_id = candidate_id


class IllegalTransition(ValueError):
    """A pair of states with no transition between them."""


def candidate_id(campaign: str, generator_version: str, codes_hash: str) -> str:
    """Name a candidate by what it is, so that proposing it twice gives one name."""
    digest = hashlib.sha256(f"{generator_version}:{codes_hash}".encode()).hexdigest()
    return f"{campaign}-{digest[:12]}"


def load(candidate_id: str) -> Candidate:
    """Read one candidate.

    Raises:
        UnknownCandidate: There is none of this id.
    """
    found = Candidate.objects(id=candidate_id).first()
    if found is None:
        raise UnknownCandidate(f"there is no candidate {candidate_id!r}")
    return found


def insert_proposals(campaign: str, proposals: Sequence[dict[str, Any]]) -> list[str]:
    """Insert new candidates in state ``proposed``; those that exist already are left alone.

    May be repeated after a crash: each candidate exists once, and ``seq`` follows the order given
    (it may have gaps).

    Args:
        campaign: Name of the campaign.
        proposals: Each with ``generator_version``, ``codes_hash``, ``codes``, and optionally
            ``base_id``, ``proposer``, ``episode``, ``generation``, ``predictions`` and result
            fields of a decoded crystal (see `db.crystals.crystal_fields`).

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
            _check_same(failure["op"], load(failure["op"]["_id"]).codes_hash)
    return ids


def transition(
    candidate_id: str,
    *,
    source: State,
    to: State,
    token: int,
    agent: str,
    updates: dict[str, Any] | None = None,
    predictions: Sequence[dict[str, Any]] = (),
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
) -> None:
    """Move a candidate to another state, with its results, in one atomic write.

    Args:
        candidate_id: The candidate.
        source: The state it is believed to be in.
        to: The state it moves to.
        token: The fencing token of its lease, or as read when it is not leased.
        agent: Who moves it.
        updates: Result fields, dotted names allowed, to plain JSON values.
        predictions: Records appended to its predictions.
        reason: Rule that rejects it or text of the error; needed for REJECTED and FAILED.
        detail: Numbers behind the reason.
        inputs: Hashes and versions that went in, for the history.

    Raises:
        IllegalTransition: There is no such transition.
        ValueError: A value is not plain JSON, a field is not a result, a reason is missing.
        StaleLease: State or token do not match; nothing is written, the refusal is recorded.
        UnknownCandidate: There is none of this id.
    """
    source, to = State(source), State(to)
    if to not in ALLOWED[source]:
        allowed = ", ".join(sorted(ALLOWED[source])) or "nothing: it is final"
        raise IllegalTransition(f"{source} cannot become {to}; it can become {allowed}")
    if to in (State.REJECTED, State.FAILED) and not reason:
        raise ValueError(f"{candidate_id} cannot become {to} without a reason")
    entry: dict[str, Any] = {
        "from": str(source),
        "to": str(to),
        "agent": agent,
        "code_version": code_version(),
        "inputs": plain(inputs or {}, "inputs"),
        **({"reason": reason} if reason else {}),
    }
    fields = _literals(updates or {})
    if to is State.REJECTED:
        rejection = {"reason": reason, "detail": plain(detail or {}, "detail"), "stage": agent}
        fields["rejection"] = {"$literal": rejection}
    elif to is State.FAILED:
        fields["error"] = {"$literal": reason}
    if predictions:
        added = plain(list(predictions), "predictions")
        fields["predictions"] = _appended("$predictions", {"$literal": added})
    fields |= {
        "state": {"$literal": str(to)},
        "lease": {"$literal": None},
        "attempts": {"$literal": 0},
        "history": _appended("$history", [history_entry(entry)]),
    }
    _compare_and_set(candidate_id, source, token, fields, f"{agent}: {source} to {to}")


def set_fields(
    candidate_id: str, *, state: State, token: int, updates: dict[str, Any], agent: str = "note"
) -> None:
    """Store results without moving the candidate, under the same guard as `transition`.

    Raises:
        StaleLease: State or token do not match; nothing is written, the refusal is recorded.
        IllegalTransition: The state is final.
        ValueError: A value is not plain JSON or a field is not a result.
        UnknownCandidate: There is none of this id.
    """
    state = State(state)
    if state in TERMINAL:
        raise IllegalTransition(f"{candidate_id} is {state}: its record is final")
    fields = _literals(updates)
    if fields:
        names = ", ".join(sorted(fields))
        _compare_and_set(candidate_id, state, token, fields, f"{agent}: {names}")


def history_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Write a history entry as a pipeline expression that adds the server's time and the token."""
    return {"$mergeObjects": [{"$literal": entry}, {"at": "$$NOW", "token": "$token"}]}


def _compare_and_set(
    candidate_id: str, state: State, token: int, fields: dict[str, Any], attempted: str
) -> None:
    collection = current_database()["candidates"]
    done = collection.update_one(
        {"_id": candidate_id, "state": str(state), "token": token}, [{"$set": fields}]
    )
    if done.matched_count == 1:
        return
    found = collection.find_one({"_id": candidate_id}, {"campaign": 1, "state": 1, "token": 1})
    if found is None:
        raise UnknownCandidate(f"there is no candidate {candidate_id!r}")
    events.record(
        found["campaign"],
        "stale_write_refused",
        agent=attempted.partition(":")[0],
        data={
            "candidate": candidate_id,
            "attempted": attempted,
            "expected": {"state": str(state), "token": token},
            "found": {"state": found["state"], "token": found["token"]},
        },
    )
    raise StaleLease(
        candidate_id,
        f"{candidate_id} was believed to be {state} with token {token}, but is {found['state']} "
        f"with token {found['token']}: the write ({attempted}) is refused and recorded",
    )


def _literals(updates: dict[str, Any]) -> dict[str, Any]:
    """Write updates as pipeline expressions that the server does not interpret."""
    fields = {}
    for name, value in updates.items():
        root, *inner = name.split(".")
        if root not in RESULTS:
            raise ValueError(
                f"{name} is not a result field of a candidate: "
                f"use one of {', '.join(sorted(RESULTS))}"
            )
        if any(not part or part.startswith("$") or part.isdigit() for part in inner):
            raise ValueError(f"{name} is not a path of names")
        fields[name] = {"$literal": plain(value, name)}
    return fields


def _appended(field: str, added: Any) -> dict[str, Any]:
    return {"$concatArrays": [{"$ifNull": [field, []]}, added]}


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
