"""Which index answers a question.

Every index begins with the campaign, so the server takes all of them for candidates and tries each
on the documents before it decides: with 200,000 candidates that costs more than the answer. What
it would learn is counted here from the index keys alone.
"""

from __future__ import annotations

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
INDEXES = {**SORTED_INDEXES, "proposer": "campaign_1_proposer_1"}
LISTS = frozenset({"elements", "element_pairs"})
WINDOWS_INDEX = "_".join(f"{path}_1" for path in ("campaign", *WINDOWS, "seq"))

#: An index is used where at most so many of its keys fit; else the order's, until enough is found.
MOST_KEYS = 20_000
MOST_KEYS_FOR_A_PAGE = 2_000
_BOUNDS = frozenset({"$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$all", "$exists"})


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
    best: tuple[int, str] | None = None
    for index, keys in _candidates(conditions):
        count = min(
            collection.count_documents({"campaign": campaign, **key}, hint=index, limit=most)
            for key in keys
        )
        if best is None or count < best[0]:
            best = (count, index)
    if best is None or best[0] < most:
        return best[1] if best else None
    path = sort[0][0]
    in_order = {"seq": ORDER_OF_PROPOSAL, **SORTED_INDEXES}
    return in_order.get(path)


def _candidates(conditions: Document) -> Iterator[tuple[str, list[Document]]]:
    """Yield each index that a condition bounds, with what to count in it (the least counts)."""
    for path, bounds in conditions.items():
        if path in LISTS and "$all" in bounds:
            yield INDEXES[path], [{path: value} for value in bounds["$all"]]
        elif path in INDEXES:
            yield INDEXES[path], [{path: bounds}]
    windows = {path: bounds for path, bounds in conditions.items() if path in WINDOWS}
    if WINDOWS[0] in windows and len(windows) > 1:
        yield WINDOWS_INDEX, [windows]


def _merged(terms: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Yield path and bounds of the conditions that must all be true, one for each path."""
    found: dict[str, Document] = {}
    for path, condition in _conditions(terms):
        if not isinstance(condition, dict):
            continue
        bounds = {name: value for name, value in condition.items() if name in _BOUNDS}
        impossible = condition.get("$exists") is False or None in bounds.get("$in", [])
        if not bounds or impossible or set(condition) - _BOUNDS - {"$not", "$ne"}:
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
