"""Generations of the proposers: what was asked, written once and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.errors import DuplicateKeyError

from db.connection import current_database
from db.documents import Generation
from db.events import server_time
from db.plain import plain


def record(
    campaign: str,
    episode: int,
    generation: int,
    *,
    proposer: str,
    base_id: str | None,
    seed: int,
    candidate_ids: Sequence[str],
    info: dict[str, Any] | None = None,
) -> Generation:
    """Record a generation; the first record of (campaign, episode, generation) stands.

    Args:
        campaign: Name of the campaign.
        episode: Number of the episode.
        generation: Number of the generation within it.
        proposer: Who proposed it.
        base_id: The crystal whose local codes are kept.
        seed: The seed it was drawn with.
        candidate_ids: The candidates in the order proposed.
        info: More plain JSON values.

    Returns:
        The record that stands: this one, or the one that was there before.
    """
    document = {
        "campaign": campaign,
        "episode": episode,
        "generation": generation,
        "proposer": proposer,
        "base_id": base_id,
        "seed": seed,
        "candidate_ids": plain(list(candidate_ids), "candidate_ids"),
        "info": plain(info or {}, "info"),
        "created_at": server_time(),
    }
    key = {name: document[name] for name in ("campaign", "episode", "generation")}
    try:
        current_database()["generations"].update_one(key, {"$setOnInsert": document}, upsert=True)
    except DuplicateKeyError:  # recorded by another process at the same moment
        return Generation.objects.get(**key)
    return Generation.objects.get(**key)


def load(
    campaign: str, episode: int | None = None, *, round_index: int | None = None
) -> list[Generation]:
    """Read the generations of a campaign, of one episode or of one round, in order."""
    chosen: dict[str, Any] = {"campaign": campaign}
    if episode is not None:
        chosen["episode"] = episode
    if round_index is not None:
        chosen["info__round"] = round_index
    return list(Generation.objects(**chosen).order_by("episode", "generation"))


def find(campaign: str, episode: int | None, generation: int | None) -> Generation | None:
    """Read one generation; None while it is not recorded."""
    found: Generation | None = Generation.objects(
        campaign=campaign, episode=episode, generation=generation
    ).first()
    return found


def last_round(campaign: str) -> int | None:
    """Return the number of the newest round with a recorded generation; None before the first."""
    newest = Generation.objects(campaign=campaign).only("info.round").order_by("-info.round")
    found = newest.first()
    return None if found is None else int(found.info["round"])
