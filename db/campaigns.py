"""Campaigns: creation, the one loop that leads each, and the live model."""

from __future__ import annotations

import re
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

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
EDITABLE = frozenset({"config", "resolved", "progress"})


class UnknownCampaign(ValueError):
    """No campaign has this name."""


class CampaignExists(ValueError):
    """A campaign of this name exists already."""


class CampaignLed(RuntimeError):
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
    """Create a campaign in state ``running``, led by nobody.

    Args:
        name: Letters, digits, ``.``, ``_`` and ``-``; at most 64.
        config: Its configuration, as given.
        seed: The seed of all its random draws.
        resolved: What its ``auto`` choices became.

    Raises:
        CampaignExists: There is one of this name already.
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
    try:
        current_database()["campaigns"].insert_one(document)
    except DuplicateKeyError:
        raise CampaignExists(f"campaign {name!r} exists already: continue it") from None
    return load(name)


def load(name: str) -> Campaign:
    """Read a campaign.

    Raises:
        UnknownCampaign: There is none of this name; the message lists those there are.
    """
    found = Campaign.objects(name=name).first()
    if found is None:
        known = ", ".join(sorted(names())) or "none yet"
        raise UnknownCampaign(f"there is no campaign {name!r} in the database; there is: {known}")
    return found


def names() -> list[str]:
    """List the names of all campaigns, the one changed last first."""
    found = current_database()["campaigns"].find({}, {"_id": 1}).sort("updated_at", -1)
    return [str(document["_id"]) for document in found]


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
        CampaignLed: Another loop leads it.
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
    raise CampaignLed(name, leader["owner"], max(left, 0.0))


def renew_lead(name: str, token: int, seconds: float) -> bool:
    """Extend a lead.

    Returns:
        Whether it is still held.
    """
    done = current_database()["campaigns"].update_one(
        {"_id": name, "token": token, "leader": {"$ne": None}},
        [{"$set": {"leader.expires_at": from_now(seconds), "updated_at": "$$NOW"}}],
    )
    return done.matched_count == 1


def resign(name: str, token: int) -> bool:
    """Give a lead up.

    Returns:
        Whether it was still held.
    """
    done = current_database()["campaigns"].update_one(
        {"_id": name, "token": token, "leader": {"$ne": None}},
        [{"$set": {"leader": None, "updated_at": "$$NOW"}}],
    )
    return done.matched_count == 1


def set_state(
    name: str, state: CampaignState | str, *, token: int, stop_reason: str | None = None
) -> None:
    """Store where a campaign stands and why it stopped.

    Raises:
        LostLead: Another loop leads it since.
        UnknownCampaign: There is none of this name.
    """
    values = {"state": str(CampaignState(state)), "stop_reason": stop_reason}
    _write(name, token, {key: {"$literal": value} for key, value in values.items()})


def update(name: str, *, token: int, **values: dict[str, Any]) -> None:
    """Store ``config``, ``resolved`` or ``progress``, each as a whole.

    Raises:
        LostLead: Another loop leads it since.
        UnknownCampaign: There is none of this name.
        ValueError: Another field, or a value that is not plain JSON.
    """
    unknown = set(values) - EDITABLE
    if unknown:
        raise ValueError(f"{sorted(unknown)} cannot be set: use {sorted(EDITABLE)}")
    _write(name, token, {key: {"$literal": plain(value, key)} for key, value in values.items()})


def swap_live_model(name: str, expected: str | None, new: str) -> bool:
    """Make another model version the live one, if the live one is the expected one.

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


def _write(name: str, token: int, fields: dict[str, Any]) -> None:
    done = current_database()["campaigns"].update_one(
        {"_id": name, "token": token}, [{"$set": {**fields, "updated_at": "$$NOW"}}]
    )
    if done.matched_count == 0:
        found = load(name)
        raise LostLead(
            f"campaign {name!r} is led with token {found.token} now, not {token}: "
            "this loop must stop"
        )
