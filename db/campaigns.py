"""Campaigns: creation, the one loop that leads each, and the live model."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from db.connection import current_database
from db.documents import Campaign
from db.events import server_time
from db.leases import from_now
from db.owners import is_dead
from db.plain import plain
from db.states import CampaignState
from db.suggestion import did_you_mean

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
EDITABLE = frozenset({"config", "resolved", "progress"})


class UnknownCampaign(ValueError):
    """No campaign has this name."""


class BeingRestored(RuntimeError):
    """A campaign is not there yet: it is being restored from a backup, or that was interrupted."""


class AlreadyLed(RuntimeError):
    """Another loop leads the campaign.

    Attributes:
        owner: Who leads it.
        seconds_left: When its lead ends unless renewed.
    """

    def __init__(self, name: str, owner: str, seconds_left: float) -> None:
        super().__init__(
            f"campaign {name!r} is led by {owner}, whose lead lasts {seconds_left:.0f} s more "
            "unless renewed: stop that loop, or wait"
        )
        self.owner = owner
        self.seconds_left = seconds_left


class LostLead(RuntimeError):
    """A loop that no longer leads its campaign tried to change it."""


def create(
    name: str, *, config: dict[str, Any], seed: int, resolved: dict[str, Any] | None = None
) -> Campaign:
    """Create a campaign in state ``running``, led by nobody; one that exists is left as it is.

    Args:
        name: Letters, digits, ``.``, ``_`` and ``-``; at most 64.
        config: Its configuration, as given.
        seed: The seed of all its random draws.
        resolved: What its ``auto`` choices became.

    Returns:
        The campaign as it is recorded, now or before.

    Raises:
        ValueError: The name or a value cannot be stored.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a campaign: use at most 64 letters, digits, '.', '_' and '-'"
        )
    now = server_time()
    document = {
        "_id": name,
        "config": plain(config, "config"),
        "resolved": plain(resolved or {}, "resolved"),
        "state": str(CampaignState.RUNNING),
        "stop_reason": None,
        "seed": seed,
        "leader": None,
        "token": 0,
        "live_model": None,
        "progress": {},
        "created_at": now,
        "updated_at": now,
    }
    with suppress(DuplicateKeyError):
        current_database()["campaigns"].insert_one(document)
    return load(name)


def load(name: str) -> Campaign:
    """Read a campaign.

    Raises:
        UnknownCampaign: There is none of this name; the message lists those there are.
        BeingRestored: A backup of it is being restored, or that was interrupted.
    """
    found = Campaign.objects(name=name).first()
    if found is None:
        known = sorted(names())
        raise UnknownCampaign(
            f"there is no campaign {name!r} in the database; "
            f"there is: {', '.join(known) or 'none yet'}.{did_you_mean(name, known)}"
        )
    if found.state == CampaignState.RESTORING:
        raise BeingRestored(
            f"campaign {name!r} is being restored, or that was interrupted: wait, or run the same "
            "`discovery restore` again"
        )
    return found


def names() -> list[str]:
    """List the names of all campaigns, the one changed last first."""
    found = current_database()["campaigns"].find({}, {"_id": 1}).sort("updated_at", -1)
    return [str(document["_id"]) for document in found]


def listed() -> list[dict[str, Any]]:
    """List all campaigns, the one changed last first.

    Returns:
        Records with ``campaign``, ``state``, ``candidates`` (how many), ``created_at`` and
        ``updated_at``.
    """
    candidates = current_database()["candidates"]
    return [
        {
            "campaign": campaign.name,
            "state": campaign.state,
            "candidates": candidates.count_documents({"campaign": campaign.name}),
            "created_at": campaign.created_at.isoformat(),
            "updated_at": campaign.updated_at.isoformat(),
        }
        for campaign in Campaign.objects.order_by("-updated_at")
    ]


def lead(name: str, owner: str, seconds: float) -> int:
    """Become the loop that leads a campaign.

    A lead is free when nobody holds it, when it expired by the server's clock, when it is this
    owner's own, or when its owner was a process of this machine that no longer runs.

    Args:
        name: Name of the campaign.
        owner: Name of the loop, see `db.owners.owner_name`.
        seconds: How long the lead lasts unless renewed.

    Returns:
        The token that every change of the campaign needs; it grows with every leader.

    Raises:
        AlreadyLed: Another loop leads it.
        UnknownCampaign: There is none of this name.
    """
    leader = load(name).leader or {}
    gone = [owner, leader["owner"]] if leader and is_dead(leader["owner"]) else [owner]
    campaigns = current_database()["campaigns"]
    expired = {"$expr": {"$lte": ["$leader.expires_at", "$$NOW"]}}
    led = campaigns.find_one_and_update(
        {"_id": name, "$or": [{"leader": None}, {"leader.owner": {"$in": gone}}, expired]},
        [
            {
                "$set": {
                    "leader": {"owner": {"$literal": owner}, "expires_at": from_now(seconds)},
                    "token": {"$add": ["$token", 1]},
                    "updated_at": "$$NOW",
                }
            }
        ],
        return_document=ReturnDocument.AFTER,
    )
    if led is not None:
        return int(led["token"])
    leader = load(name).leader
    if not leader:  # given up since: try again
        return lead(name, owner, seconds)
    left = (leader["expires_at"] - server_time()).total_seconds()
    raise AlreadyLed(name, leader["owner"], max(left, 0.0))


def renew_lead(name: str, owner: str, token: int, seconds: float) -> None:
    """Extend a lead.

    Raises:
        LostLead: Another loop leads the campaign since, so this one must stop.
    """
    done = current_database()["campaigns"].update_one(
        {"_id": name, "token": token, "leader.owner": owner},
        [{"$set": {"leader.expires_at": from_now(seconds), "updated_at": "$$NOW"}}],
    )
    if done.matched_count == 0:
        raise _lost(name, token)


def resign(name: str, owner: str, token: int) -> bool:
    """Give a lead up.

    Returns:
        Whether it was still held.
    """
    done = current_database()["campaigns"].update_one(
        {"_id": name, "token": token, "leader.owner": owner},
        [{"$set": {"leader": None, "updated_at": "$$NOW"}}],
    )
    return done.matched_count == 1


def set_state(
    name: str,
    state: CampaignState | str,
    *,
    token: int | None = None,
    stop_reason: str | None = None,
) -> None:
    """Store where a campaign stands and why it stopped.

    Args:
        name: Name of the campaign.
        state: Its state from now on.
        token: The lead's token; a loop always gives it, None writes without a lead.
        stop_reason: Why it stopped.

    Raises:
        LostLead: Another loop leads it since.
        UnknownCampaign: There is none of this name.
    """
    values = {"state": str(CampaignState(state)), "stop_reason": stop_reason}
    _write(name, token, {key: {"$literal": value} for key, value in values.items()})


def update(name: str, *, token: int | None = None, **values: dict[str, Any]) -> None:
    """Store ``config``, ``resolved`` or ``progress``, each as a whole.

    Args:
        name: Name of the campaign.
        token: The lead's token; a loop always gives it, None writes without a lead.
        values: The fields.

    Raises:
        LostLead: Another loop leads it since.
        UnknownCampaign: There is none of this name.
        ValueError: Another field, or a value that is not plain JSON.
    """
    unknown = set(values) - EDITABLE
    if unknown:
        raise ValueError(f"{sorted(unknown)} cannot be set: use {sorted(EDITABLE)}")
    _write(name, token, {key: {"$literal": plain(value, key)} for key, value in values.items()})


def add_figures(name: str, *, token: int, **counted: float) -> None:
    """Add to the totals that the loop keeps of itself (``figures`` in the campaign's document).

    Args:
        name: Name of the campaign.
        token: The lead's token.
        counted: Since last time.

    Raises:
        LostLead: Another loop leads it since.
        UnknownCampaign: There is none of this name.
    """
    added = {
        f"figures.{key}": {"$add": [{"$ifNull": [f"$figures.{key}", 0]}, value]}
        for key, value in counted.items()
    }
    _write(name, token, {**added, "figures.at": "$$NOW"})


def swap_live_model(name: str, expected: str | None, new: str | None) -> bool:
    """Make another model version the live one, if the live one is the expected one.

    None stands for the model that the generator ships.

    Returns:
        Whether it was swapped.

    Raises:
        UnknownCampaign: There is none of this name.
    """
    done = current_database()["campaigns"].update_one(
        {"_id": name, "live_model": expected},
        [{"$set": {"live_model": {"$literal": new}, "updated_at": "$$NOW"}}],
    )
    if done.matched_count == 0:
        load(name)
    return done.matched_count == 1


def claim_learning(name: str, owner: str, seconds: float) -> bool:
    """Become the one worker that learns for a campaign, beside its loop.

    The claim (``learner`` in the campaign's document) is free under the conditions of `lead`:
    nobody's, expired by the server's clock, the owner's own, or that of a process that died.

    Args:
        name: Name of the campaign.
        owner: Name of the worker, see `db.owners.owner_name`.
        seconds: How long the claim lasts unless released.

    Returns:
        Whether it was obtained.

    Raises:
        UnknownCampaign: There is none of this name.
    """
    campaigns = current_database()["campaigns"]
    found = campaigns.find_one({"_id": name}, {"learner": 1}) or {}
    holder = (found.get("learner") or {}).get("owner")
    gone = [owner, holder] if holder and is_dead(holder) else [owner]
    expired = {"$expr": {"$lte": ["$learner.expires_at", "$$NOW"]}}
    claimed = campaigns.update_one(
        {"_id": name, "$or": [{"learner": None}, {"learner.owner": {"$in": gone}}, expired]},
        [{"$set": {"learner": {"owner": {"$literal": owner}, "expires_at": from_now(seconds)}}}],
    )
    if claimed.matched_count == 0:
        load(name)
    return claimed.matched_count == 1


def release_learning(name: str, owner: str) -> bool:
    """Give the claim of `claim_learning` up.

    Returns:
        Whether it was still held.
    """
    released = current_database()["campaigns"].update_one(
        {"_id": name, "learner.owner": owner}, [{"$set": {"learner": None}}]
    )
    return released.matched_count == 1


def _write(name: str, token: int | None, fields: dict[str, Any]) -> None:
    chosen = {"_id": name} if token is None else {"_id": name, "token": token}
    done = current_database()["campaigns"].update_one(
        chosen, [{"$set": {**fields, "updated_at": "$$NOW"}}]
    )
    if done.matched_count == 0:
        raise _lost(name, token)


def _lost(name: str, token: int | None) -> LostLead:
    found = load(name)
    return LostLead(
        f"campaign {name!r} is led with token {found.token} by {(found.leader or {}).get('owner')} "
        f"now, not with token {token}: this loop must stop"
    )
