"""Which index answers a question.

Every index begins with the campaign, so the server takes all of them for candidates and tries each
on the documents before it decides: with 200,000 candidates that costs more than the answer. What
it would learn is counted here from the index keys alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pymongo.collection import Collection

from db.property_table import SCREEN_WINDOWS, STANDARD_PREDICTIONS, VERIFIED_PROPERTIES

Document = dict[str, Any]

ORDER_OF_PROPOSAL = "campaign_1_seq_1"
WINDOWS = tuple(f"properties.{name}" for name in SCREEN_WINDOWS)
#: Path to the index that has it after the campaign and, then, the order of proposal.
SORTED_INDEXES = {
    path: f"campaign_1_{path}_1_seq_1"
    for path in (
        *(f"properties.{name}" for name in (*VERIFIED_PROPERTIES, *STANDARD_PREDICTIONS)),
        *("relaxation.formation_energy_per_atom", "hull.energy_above_hull"),
        *("verification.hit", "verification.space_group"),
        *("state", "formula", "chemical_system", "elements", "element_pairs"),
    )
}
INDEXES = {
    **SORTED_INDEXES,
    "proposer": "campaign_1_proposer_1",
    "episode": "campaign_1_episode_1_generation_1_state_1",
}
LISTS = frozenset({"elements", "element_pairs"})
#: Index to its fields; it is of use where the first and another one are bounded.
COMPOUND_INDEXES = {
    "_".join(f"{path}_1" for path in ("campaign", *WINDOWS, "seq")): WINDOWS,
    "campaign_1_episode_1_generation_1_state_1": ("episode", "generation", "state"),
    "campaign_1_state_1_rejection.reason_1": ("state", "rejection.reason"),
}

#: An index is used where at most so many of its keys fit; else the order's, until enough is found.
MOST_KEYS = 20_000
MOST_KEYS_FOR_A_PAGE = 2_000
#: With so few, no better index is looked for.
FEW_KEYS = 100
_BOUNDS = frozenset({"$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$all"})
#: What is true of every value of a field, where it is known; index keys alone say so.
_ANY_VALUE: dict[str, Document] = {
    path: {"$in": [False, True]} if path == "verification.hit" else {"$gte": -math.inf}
    for path in SORTED_INDEXES
    if "." in path  # the others hold texts
}
_BESIDE = frozenset({"$not", "$ne", "$exists"})  # left to the filter


def choose_index(
    collection: Collection[Document],
    campaign: str,
    terms: Sequence[Document],
    sort: Sequence[tuple[str, int]],
    *,
    page: bool,
) -> str | None:
    """Choose the index for a question.

    Args:
        collection: The candidates.
        campaign: The campaign.
        terms: What must be true, one condition or a tree of them each.
        sort: The order.
        page: Whether only the first few records are wanted.

    Returns:
        Its name; None where the server is left to choose: no condition has an index.
    """
    conditions = dict(_merged(terms))
    if "_id" in conditions:
        return None
    most = MOST_KEYS_FOR_A_PAGE if page else MOST_KEYS
    least, best, any_index = most, None, False
    for index, keys in _candidates(conditions):
        any_index = True
        for key in keys:
            count = collection.count_documents(
                {"campaign": campaign, **key}, hint=index, limit=least
            )
            if count < least:
                least, best = count, index
        if least <= FEW_KEYS:
            break
    if best is not None or not any_index:
        return best
    in_order = {"seq": ORDER_OF_PROPOSAL, **SORTED_INDEXES}
    return in_order.get(sort[0][0])


def _candidates(conditions: Document) -> Iterator[tuple[str, list[Document]]]:
    """Yield each index that conditions bound, with what to count in it (the least counts)."""
    for index, paths in COMPOUND_INDEXES.items():
        bounded = {path: conditions[path] for path in paths if path in conditions}
        if paths[0] in bounded and len(bounded) > 1:
            yield index, [bounded]
    for path, bounds in conditions.items():
        if path in LISTS and "$all" in bounds:
            yield INDEXES[path], [{path: value} for value in bounds["$all"]]
        elif path in INDEXES:
            yield INDEXES[path], [{path: bounds}]


def _merged(terms: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Yield path and bounds of the conditions that must all be true, one for each path."""
    found: dict[str, Document] = {}
    for path, condition in _conditions(terms):
        if not isinstance(condition, dict):
            continue
        bounds = {name: value for name, value in condition.items() if name in _BOUNDS}
        if condition.get("$exists") and not bounds:
            bounds = _ANY_VALUE.get(path, {})
        if not bounds or set(condition) - _BOUNDS - _BESIDE:
            continue
        known = found.setdefault(path, {})
        if not set(known) & set(bounds):  # a second bound of the same kind is left to the filter
            known |= bounds
    yield from found.items()


def _conditions(terms: Sequence[Document]) -> Iterator[tuple[str, Any]]:
    for term in terms:
        for name, condition in term.items():
            if name == "$and":
                yield from _conditions(condition)
            elif not name.startswith("$"):
                yield name, condition
