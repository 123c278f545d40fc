"""Leases on candidates: who may work on what, until when.

A lease names its owner, ends at a time of the server's clock and carries a fencing token that grows
with every lease of that candidate. A worker that lost its lease writes with an old token and is
refused (`db.candidates.transition`). A candidate whose worker vanished is found by `reap`. One that
is given up becomes ``failed``; one that is verified stays so, and is not leased again until
somebody writes to it.
"""

from __future__ import annotations

from typing import Any

from pymongo import ASCENDING, ReturnDocument

from db.code_version import code_version
from db.connection import current_database
from db.documents import Candidate
from db.owners import is_dead
from db.retry import idempotent
from db.states import KEPT, LEASABLE, State

MAX_ATTEMPTS = 3
LONGEST_ERROR = 2000
BY_LEASE = "campaign_1_state_1_lease.expires_at_1_seq_1"
"""Leads straight to the oldest candidate that nobody holds, past all that others hold."""
_INDEXES = {
    "hull.level": "campaign_1_state_1_hull.level_1_seq_1",
    "follow_up.position": "campaign_1_follow_up.position_1",
}
"""Of what a stage lacks or has: whatever else is in that state need not be looked at."""
HELD = {"lease.expires_at": {"$type": "date"}}
EXPIRED = {"$expr": {"$lte": ["$lease.expires_at", "$$NOW"]}}


def lease(
    campaign: str,
    state: State,
    owner: str,
    limit: int,
    seconds: float,
    *,
    lacks: str | None = None,
    has: str | None = None,
) -> list[Candidate]:
    """Lease candidates of a state whose lease expired, then the oldest that nobody holds.

    A candidate that was leased before in this state, and came back, is leased alone: if it kills
    its worker, it takes no others with it.

    Args:
        campaign: Name of the campaign.
        state: The state to take candidates from.
        owner: Name of the worker, see `db.owners.owner_name`.
        limit: Most candidates to lease.
        seconds: How long the leases last unless renewed.
        lacks: Only candidates without a result in this field.
        has: Only candidates with a result in this field.

    Returns:
        The candidates in order of proposal, with their new tokens.
    """
    state = State(state)
    if state not in LEASABLE:
        raise ValueError(f"{state} candidates are final and cannot be leased")
    wanted: dict[str, Any] = {"campaign": campaign, "state": str(state)}
    if lacks is not None:
        wanted[lacks] = None  # missing counts as None
    if has is not None:
        wanted[has] = {"$exists": True}
    if state in KEPT:  # one that was given up is still there
        wanted["attempts"] = {"$lt": MAX_ATTEMPTS}
    change = {
        "lease": {"owner": {"$literal": owner}, "expires_at": from_now(seconds)},
        "token": {"$add": ["$token", 1]},
        "attempts": {"$add": ["$attempts", 1]},
    }
    collection = current_database()["candidates"]
    index = _INDEXES.get(has or lacks or "", BY_LEASE)
    leased: list[Candidate] = []
    for free, by in (({**HELD, **EXPIRED}, BY_LEASE), ({"lease.expires_at": None}, index)):
        while len(leased) < limit:
            found = collection.find_one_and_update(
                {**wanted, **free, "attempts": 0} if leased else {**wanted, **free},
                [{"$set": change}],
                sort=[("seq", ASCENDING)],
                return_document=ReturnDocument.AFTER,
                hint=by,
            )
            if found is None:
                break
            leased.append(Candidate._from_son(found))
            if found["attempts"] > 1:
                return leased
    return leased


@idempotent
def renew(leased: dict[str, int], owner: str, seconds: float) -> set[str]:
    """Extend leases.

    Args:
        leased: Candidate ids and the tokens they were leased with.
        owner: Who leased them.
        seconds: How long they last from now.

    Returns:
        The ids whose lease is still held; the others were lost.
    """
    if not leased:
        return set()
    held = {
        "_id": {"$in": list(leased)},
        "$or": [{"_id": name, "token": token} for name, token in leased.items()],
        "lease.owner": owner,
    }
    collection = current_database()["candidates"]
    collection.update_many(held, [{"$set": {"lease.expires_at": from_now(seconds)}}])
    return {str(found["_id"]) for found in collection.find(held, {"_id": 1})}


def release(candidate_id: str, token: int) -> bool:
    """Give a lease back unused; it does not count as an attempt.

    Returns:
        Whether the lease was still held.
    """
    done = current_database()["candidates"].update_one(
        {"_id": candidate_id, "token": token, **HELD},
        [{"$set": {"lease": None, "attempts": {"$max": [0, {"$subtract": ["$attempts", 1]}]}}}],
    )
    return done.matched_count == 1


@idempotent
def abandon(
    tokens: dict[str, int], error: str, *, agent: str = "worker", max_attempts: int = MAX_ATTEMPTS
) -> int:
    """Give leases up after an error; the attempts count.

    The candidates can be leased again at once, each alone; one whose attempts are used up becomes
    ``failed`` with the error in words.

    Args:
        tokens: Candidate ids and the tokens they were leased with.
        error: What went wrong.
        agent: Who gives them up.
        max_attempts: Leases of one candidate in one state before it is given up.

    Returns:
        Number of leases given up; those that are no longer held are left to their new owners.
    """
    if not tokens:
        return 0
    held = {
        "_id": {"$in": list(tokens)},
        "$or": [{"_id": name, "token": token} for name, token in tokens.items()],
        **HELD,
    }
    words = error.encode("utf-8", "replace").decode()[:LONGEST_ERROR]
    collection = current_database()["candidates"]
    failed = collection.update_many(
        {**held, "attempts": {"$gte": max_attempts}},
        [{"$set": _given_up(f"gave up after {max_attempts} attempts: {words}", agent)}],
    )
    returned = collection.update_many(held, [{"$set": {"lease": None}}])
    return failed.modified_count + returned.modified_count


@idempotent
def reap(campaign: str, max_attempts: int = MAX_ATTEMPTS) -> int:
    """Take candidates back from workers that vanished.

    A lease is taken back when it expired by the server's clock, or when its owner was a process of
    this machine that no longer runs. A candidate whose attempts are used up becomes ``failed``.

    Args:
        campaign: Name of the campaign.
        max_attempts: Leases of one candidate in one state before it is given up.

    Returns:
        Number of leases taken back.
    """
    collection = current_database()["candidates"]
    open_states = [str(state) for state in LEASABLE]
    leased = {"campaign": campaign, **HELD, "state": {"$in": open_states}}
    owners = {
        found["lease"]["owner"]
        for found in collection.find(leased, {"lease.owner": 1}, hint=BY_LEASE)
    }
    dead = [owner for owner in owners if is_dead(owner)]
    gone = {**leased, "$or": [EXPIRED, {"lease.owner": {"$in": dead}}]}
    failed = collection.update_many(
        {**gone, "attempts": {"$gte": max_attempts}},
        [{"$set": _given_up(f"gave up after {max_attempts} attempts", "reaper")}],
        hint=BY_LEASE,
    )
    returned = collection.update_many(
        {**gone, "attempts": {"$lt": max_attempts}}, [{"$set": {"lease": None}}], hint=BY_LEASE
    )
    return failed.modified_count + returned.modified_count


def _given_up(message: str, agent: str) -> dict[str, Any]:
    """Write the end of a leased candidate's last attempt as a pipeline stage's fields."""
    entry = {
        "agent": agent,
        "code_version": code_version(),
        "inputs": {},
        "reason": message,
    }
    kept = {"$in": ["$state", [str(state) for state in KEPT]]}
    to = {"$cond": [kept, "$state", str(State.FAILED)]}
    seen = {"at": "$$NOW", "from": "$state", "to": to, "token": "$token", "owner": "$lease.owner"}
    return {
        "history": {
            "$concatArrays": ["$history", [{"$mergeObjects": [{"$literal": entry}, seen]}]]
        },
        "state": to,
        "error": {"$cond": [kept, "$error", {"$literal": message}]},
        "lease": None,
    }


def from_now(seconds: float) -> dict[str, Any]:
    """Write a time in the future of the server's clock as a pipeline expression."""
    amount = round(seconds * 1000)
    return {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": amount}}
