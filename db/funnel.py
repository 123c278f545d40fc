"""Counting candidates through a sequence of conditions, by one aggregation of the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from db import settled
from db.connection import current_database
from db.retry import idempotent

Expression = Any
"""A MongoDB aggregation expression: true, false, or null where the record cannot tell."""


@dataclass(frozen=True)
class Step:
    """What one condition makes of a campaign's candidates.

    Attributes:
        name: Of the condition.
        left: Candidates that meet this condition and all before it.
        failed: Those that meet all before it, and not this one.
        unknown: Those that meet all before it, and whose record cannot tell.
        all_passed: Candidates that meet it, whatever the other conditions say.
        all_failed: Candidates that do not.
        all_unknown: Candidates whose record cannot tell.
    """

    name: str
    left: int
    failed: int
    unknown: int
    all_passed: int
    all_failed: int
    all_unknown: int

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def cascade(campaign: str, conditions: Sequence[tuple[str, Expression]]) -> list[Step]:
    """Count a campaign's candidates through conditions in their order; nothing is computed again.

    Args:
        campaign: Name of the campaign.
        conditions: Name and expression of each.

    Returns:
        One step for each condition; before the first one stand all candidates.
    """
    groups = verdicts_of(campaign, [expression for _, expression in conditions])
    steps = []
    for place, (name, _) in enumerate(conditions):
        everywhere: Counter[bool | None] = Counter()
        arrived: Counter[bool | None] = Counter()
        for verdicts, n in groups:
            everywhere[verdicts[place]] += n
            if all(verdict is True for verdict in verdicts[:place]):
                arrived[verdicts[place]] += n
        counts = [
            found[wanted] for found in (arrived, everywhere) for wanted in (True, False, None)
        ]
        steps.append(Step(name, *counts))
    return steps


def known(field: str, condition: Expression) -> Expression:
    """Make a condition null where a field is missing or null.

    Args:
        field: Path with its dollar sign, for instance ``$relaxation.max_force``.
        condition: What to ask of those that have it.
    """
    return {"$cond": [{"$gt": [field, None]}, condition, None]}


def all_of(conditions: Sequence[Expression]) -> Expression:
    """Join conditions: false where one is, else null where one is, else true."""
    joined: Expression = {"$cond": [{"$in": [None, "$$all"]}, None, True]}
    verdict = {"$cond": [{"$in": [False, "$$all"]}, False, joined]}
    return {"$let": {"vars": {"all": list(conditions)}, "in": verdict}}


@idempotent
def verdicts_of(
    campaign: str, expressions: Sequence[Expression]
) -> list[tuple[list[bool | None], int]]:
    """Judge every candidate of a campaign by every condition.

    Args:
        campaign: Name of the campaign.
        expressions: The conditions.

    Returns:
        Every combination of verdicts that occurs, in the order of the conditions, and how many
        candidates have it.
    """
    chosen = {"$match": {"campaign": campaign}}
    found = current_database()["candidates"].aggregate([chosen, *_judging(expressions)])
    return [(list(group["_id"]), int(group["n"])) for group in found]


def remembered_verdicts(
    campaign: str, expressions: Sequence[Expression], *, purpose: str
) -> list[tuple[list[bool | None], int]]:
    """Judge every candidate as `verdicts_of` does, those rejected before from memory.

    Args:
        campaign: Name of the campaign.
        expressions: The conditions.
        purpose: What they are for: of each purpose only the last conditions are remembered.

    Returns:
        As `verdicts_of`; a combination may occur several times.
    """
    found = settled.aggregate(campaign, purpose, _judging(expressions))
    return [(list(group["_id"]), int(group["n"])) for group in found]


def _judging(expressions: Sequence[Expression]) -> list[dict[str, Any]]:
    return [
        {"$project": {"verdicts": list(expressions)}},
        {"$group": {"_id": "$verdicts", "n": {"$sum": 1}}},
    ]
