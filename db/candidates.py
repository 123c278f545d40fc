"""Every write to a candidate that exists: transitions and annotations.

A transition is one compare-and-set on (state, fencing token) of one document: it moves the state,
stores the results, clears the lease and appends to the history, or it does nothing at all. Times
are the server's. Proposals are in `db.proposals`, leases in `db.leases`; both are offered here
too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db import events
from db.code_version import code_version
from db.connection import current_database
from db.documents import RESULTS, Candidate
from db.leases import abandon, lease, reap, release, renew
from db.plain import NotPlain, plain
from db.property_table import REMOVED, prediction_fields, update_fields
from db.proposals import candidate_id, insert_proposals, proposed_at_most
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
    "proposed_at_most",
    "reached",
    "reap",
    "rejections",
    "release",
    "renew",
    "restore",
    "set_fields",
    "transition",
]


class StaleLease(RuntimeError):
    """A write came with a state or token that is no longer the candidate's."""

    def __init__(self, candidate_id: str, message: str) -> None:
        super().__init__(message)
        self.candidate_id = candidate_id


class IllegalTransition(ValueError):
    """A pair of states with no transition between them."""


def load(candidate_id: str) -> Candidate:
    """Read one candidate.

    Raises:
        UnknownCandidate: There is none of this id.
    """
    found = Candidate.objects(id=candidate_id).first()
    if found is None:
        raise UnknownCandidate(f"there is no candidate {candidate_id!r}")
    return found


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
    elif source is State.FAILED:
        fields["error"] = None
    if predictions:
        added = plain(list(predictions), "predictions")
        fields["predictions"] = _appended("$predictions", {"$literal": added})
        fields |= _derived(prediction_fields(added))
    fields |= {
        "state": {"$literal": str(to)},
        "lease": {"$literal": None},
        "attempts": {"$literal": 0},
        "history": _appended("$history", [history_entry(entry)]),
    }
    _compare_and_set(candidate_id, source, token, fields, f"{agent}: {source} to {to}")


def restore(candidate_id: str, *, by: str, why: str) -> State:
    """Take a failed candidate back to the state that it failed in; a person's decision.

    Args:
        candidate_id: A failed candidate.
        by: Who decided.
        why: The reason, for the history.

    Returns:
        The state it is in now.

    Raises:
        IllegalTransition: It did not fail, or failed in its verification, which is run again by
            its calculations (`agents.verify.queue.operations.rerun`).
        StaleLease: Somebody else moved it at the same moment.
        UnknownCandidate: There is none of this id.
    """
    found = load(candidate_id)
    if found.state != State.FAILED:
        raise IllegalTransition(f"{candidate_id} is {found.state}: only failed ones are restored")
    to = State(found.history[-1]["from"])
    if to is State.VERIFYING:
        raise IllegalTransition(f"{candidate_id} failed by DFT: run its calculations again")
    # Not among the transitions of `transition`: no agent may do this.
    entry = {
        "from": str(State.FAILED),
        "to": str(to),
        "agent": by,
        "code_version": code_version(),
        "inputs": {},
        "reason": why,
    }
    fields = {
        "state": {"$literal": str(to)},
        "error": None,
        "lease": {"$literal": None},
        "attempts": {"$literal": 0},
        "token": {"$add": ["$token", 1]},  # a worker that held it then may still wake up
        "history": _appended("$history", [history_entry(entry)]),
    }
    _compare_and_set(candidate_id, State.FAILED, found.token, fields, f"{by}: failed to {to}")
    return to


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
        names = ", ".join(sorted(updates))
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
    return fields | _derived(update_fields(updates))


def _derived(fields: dict[str, Any]) -> dict[str, Any]:
    """Write derived fields as pipeline expressions."""
    return {
        name: value if value == REMOVED else {"$literal": plain(value, name)}
        for name, value in fields.items()
    }


def _appended(field: str, added: Any) -> dict[str, Any]:
    return {"$concatArrays": [{"$ifNull": [field, []]}, added]}
