"""Where one candidate comes from: everything that led to it, in one plain document.

`trace` adds to the record of a candidate (`discovery.export.candidates.full_record`) the key
``lineage``:

- ``campaign``: name, seed, state, creation, description, the versions of the packages it was
  started with, and what its automatic choices became;
- ``base``: the base crystal: id, data set with licence and citation, formula, role, codes, the
  crystal that these decode to, and ``changed``: where the candidate's codes differ from them;
- ``proposer``: kind, settings, and every ``generation`` that asked for the candidate, with seed and
  spawn key of its random numbers;
- ``parents``: candidates whose codes it inherits, where the proposer knows them;
- ``models``: every model that gave a number, see `discovery.lineage.models`;
- ``known``: beside every closest match its crystal, see `discovery.lineage.known_crystals`;
- ``calculations``: what each first-principles calculation is for, by its hash; the calculations
  themselves are in ``verification.records`` and ``follow_up.records``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from db import campaigns
from db.connection import current_database
from db.documents import Campaign
from db.plain import without_times
from db.retry import idempotent
from discovery.export.candidates import full_record
from discovery.lineage.known_crystals import link_known
from discovery.lineage.models import models

Record = dict[str, Any]


def trace(candidate_id: str) -> Record:
    """Return one candidate with its whole lineage.

    Raises:
        UnknownCandidate: There is none of this id (`db.queries`).
        UnknownCampaign: Its campaign has no record (`db.campaigns`).
    """
    record = full_record(candidate_id)
    campaign = campaigns.load(record["campaign"])
    record["lineage"] = {
        "campaign": campaign_record(campaign),
        "base": base(record, campaign),
        "proposer": _proposer(record, campaign),
        "parents": _parents(record),
        "models": models(record, campaign),
        "known": link_known(record, campaign.resolved["generator"]),
        "calculations": purposes(record),
    }
    return record


def campaign_record(campaign: Campaign) -> Record:
    """Return what is recorded of a campaign, as plain JSON values."""
    return {
        "name": campaign.name,
        "description": campaign.config.get("description", ""),
        "seed": campaign.seed,
        "state": campaign.state,
        "stop_reason": campaign.stop_reason,
        "created_at": campaign.created_at.isoformat(),
        "config": without_times(campaign.to_mongo().to_dict()["config"]),
        "resolved": without_times(campaign.to_mongo().to_dict()["resolved"]),
    }


def base(record: Mapping[str, Any], campaign: Campaign) -> Record:
    """Describe the crystal whose local codes a proposer started from.

    Args:
        record: The candidate.
        campaign: Its campaign.

    Returns:
        ``id`` and ``kind`` ("training" or "own"); then ``formula``, ``codes``, ``structure`` (what
        the codes decode to, None where no cell can be built), ``changed``; for a training crystal
        also ``role``, ``properties``, ``data_set``, ``licence``, ``citation``. Where the generator
        of the campaign is not on this machine, ``unknown`` says so instead.
    """
    from discovery.lineage.base import own_base, training_base

    own = {one["id"]: one for one in campaign.resolved.get("bases", [])}
    if record["base_id"] in own:
        found = own_base(own[record["base_id"]], campaign.resolved["generator"])
    else:
        found = training_base(record["base_id"], campaign.resolved["generator"])
    if "codes" in found:
        found["changed"] = changed_codes(found["codes"], record["codes"])
    return found


def changed_codes(base: Mapping[str, Any], codes: Mapping[str, Any]) -> Record:
    """Say where codes differ from those of the base crystal.

    Args:
        base: Codes as plain values: ``species`` (S, levels), ``crystal`` (levels), ``local``
            (N, levels).
        codes: The candidate's.

    Returns:
        ``species`` and ``local``: places of the tokens that differ, from 0; ``crystal``: whether
        that token differs.

    >>> changed_codes(
    ...     {"species": [[1], [2]], "crystal": [3], "local": [[0], [1]]},
    ...     {"species": [[1], [5]], "crystal": [3], "local": [[0], [1]]},
    ... )
    {'species': [1], 'crystal': False, 'local': []}
    """
    return {
        "species": _different(base["species"], codes["species"]),
        "crystal": list(base["crystal"]) != list(codes["crystal"]),
        "local": _different(base["local"], codes["local"]),
    }


def purposes(record: Mapping[str, Any]) -> list[Record]:
    """Say what each first-principles calculation of a candidate is for.

    Returns:
        ``{"for", "hash"}`` each: ``relax``, ``compound``, ``gap``, ``reference Zr``, and of the
        follow-up ``bands``, ``spin_orbit``, ``hybrid``, ``phase mp-1 compound``, ...
    """
    found: list[Record] = []

    def walk(value: Any, names: tuple[str, ...]) -> None:
        if isinstance(value, str):
            words = [name.removesuffix("s") if name in _LISTS else name for name in names]
            found.append({"for": " ".join(words), "hash": value})
        elif isinstance(value, dict):
            for name, item in value.items():
                walk(item, (*names, name))

    walk((record.get("verification") or {}).get("calculations") or {}, ())
    dft = (record.get("follow_up") or {}).get("dft") or {}
    walk(dft.get("calculations") or {}, ())
    walk(dft.get("phases") or {}, ("phase",))
    return found


_LISTS = ("references",)


def _different(left: list[Any], right: list[Any]) -> list[int]:
    return [i for i, (one, other) in enumerate(zip_longest(left, right)) if one != other]


def _proposer(record: Mapping[str, Any], campaign: Campaign) -> Record:
    proposers = campaign.config["propose"]["proposers"]
    settings = None if record["episode"] is None else proposers[record["episode"] % len(proposers)]
    return {
        "kind": record["proposer"],
        "settings": settings,
        "episode": record["episode"],
        "generation": record["generation"],
        "generations": _generations(record),
    }


@idempotent
def _generations(record: Mapping[str, Any]) -> list[Record]:
    """Return every generation that asked for a candidate; the first is the one it comes from."""
    chosen = {"campaign": record["campaign"], "candidate_ids": record["id"]}
    found = current_database()["generations"].find(chosen, {"_id": 0, "candidate_ids": 0})
    ordered = sorted(found, key=lambda one: (one["created_at"], one["episode"]))
    return [without_times(one) for one in ordered]


@idempotent
def _parents(record: Mapping[str, Any]) -> list[Record]:
    ids = list(record.get("parents") or [])
    fields = {"formula": 1, "state": 1, "evaluation.formation_energy_per_atom": 1}
    found = current_database()["candidates"].find({"_id": {"$in": ids}}, fields)
    known = {one["_id"]: one for one in found}
    return [
        {
            "id": name,
            "formula": known[name].get("formula"),
            "state": known[name]["state"],
            "evaluation": known[name].get("evaluation") or {},
        }
        for name in ids
        if name in known
    ]
