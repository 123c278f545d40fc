"""Known crystals that a campaign found without having been trained on them.

The paper counts them as evidence that its generator is right: 437 of 20,183.
"""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Any

from db import settled
from discovery.reports.paper import PaperFunnel

HELD_OUT = "held out"
"""Crystals of the generator's own data set that it was not trained on."""


def rediscoveries(campaign: str) -> dict[str, Any]:
    """Count a campaign's candidates that match a known crystal outside the training set.

    Args:
        campaign: Its name.

    Returns:
        ``count`` of candidates, ``of`` those compared that match no training crystal,
        ``collections`` (matches in each; a crystal may be in several), ``distinct`` (how many known
        crystals are the closest match of one), and the RMS of the closest match of each, None
        without any: ``mean_rms`` and ``smallest_rms`` in units of (V/N)^(1/3), and
        ``mean_rms_angstrom``.
    """
    found = settled.aggregate(campaign, "rediscoveries", _matches())
    compared = sum(int(count["n"]) for part in found for count in part["compared"])
    closest: list[tuple[str, dict[str, Any]]] = []
    collections: Counter[str] = Counter()
    for one in (one for part in found for one in part["known"]):
        matched = [(each["name"], each["match"]) for each in one["named"] if each.get("match")]
        collections.update(name for name, _ in matched)
        closest.append(min(matched, key=lambda pair: pair[1]["rms"]))
    distances = [match["rms"] for _, match in closest]
    return {
        "count": len(closest),
        "of": compared,
        "distinct": len({(name, match["id"]) for name, match in closest}),
        "collections": dict(sorted(collections.items())),
        "mean_rms": fmean(distances) if distances else None,
        "smallest_rms": min(distances, default=None),
        "mean_rms_angstrom": (
            fmean(match["rms_angstrom"] for _, match in closest) if closest else None
        ),
    }


def _matches() -> list[dict[str, Any]]:
    """Find, among the candidates that match no training crystal, the closest matches of each.

    Gives ``compared`` (how many there are, in ``n``) and ``known``: of each that is a rediscovery,
    ``named``, a list of ``name`` of the collection and its first ``match``, the closest.
    """
    matches = "duplicates.training.matches"
    trained = {"$elemMatch": {"label": {"$ne": "val"}}}
    new = {"$match": {matches: {"$exists": True, "$not": trained}}}
    held_out = {"name": HELD_OUT, "match": {"$first": f"${matches}"}}
    others = {
        "$map": {
            "input": {"$ifNull": ["$duplicates.references", []]},
            "as": "one",
            "in": {"name": "$$one.reference", "match": {"$first": "$$one.matches"}},
        }
    }
    named = {"$concatArrays": [[held_out], others]}
    wanted = {
        f"named.{name}": 1 for name in ("name", "match.id", "match.rms", "match.rms_angstrom")
    }
    flagged = [
        {"duplicates.training.rediscovered": True},
        {"duplicates.references.rediscovered": True},
    ]
    known = [{"$match": {"$or": flagged}}, {"$project": {"_id": 0, "named": named}}]
    return [
        new,
        {"$facet": {"compared": [{"$count": "n"}], "known": [*known, {"$project": wanted}]}},
    ]


def describe(found: dict[str, Any], paper: PaperFunnel | None) -> str:
    """Say it in a sentence, with the paper's numbers where it has some.

    Args:
        found: As from `rediscoveries`.
        paper: The paper's campaign that belongs to this one.
    """
    sentence = f"Rediscovered: {found['count']} of {found['of']} not in the training set"
    if found["count"]:
        where = ", ".join(f"{name} {n}" for name, n in found["collections"].items())
        sentence += (
            f" ({where}), mean RMS {found['mean_rms']:.4f}, smallest {found['smallest_rms']:.4f}, "
            f"mean {found['mean_rms_angstrom']:.4f} Å"
        )
    if paper is None or paper.rediscovered is None or paper.rediscovered_rms is None:
        return f"{sentence}."
    mean, smallest = paper.rediscovered_rms
    return (
        f"{sentence}; the paper: {paper.rediscovered} of {paper.step('new').count}, "
        f"mean RMS {mean:.4f}, smallest {smallest:.4f}."
    )
