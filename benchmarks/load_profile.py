"""What the server did while something ran, from MongoDB's own profiler."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database

PROFILE_BYTES = 256 * 1024 * 1024
SMALL = frozenset({"campaigns", "counters", "schema", "fw_id_assigner", "reference_collections"})
"""Collections of a handful of documents, where a scan is what the server does best."""
MOST_DOCUMENTS = 10
"""Documents that may be read for each one returned or changed."""
SCAN = "reads the whole collection"
FEW_DOCUMENTS = 100
"""So many may be read for nothing: what fifty workers hold, for instance."""


@dataclass
class Query:
    """All operations of one shape.

    Attributes:
        collection: Where.
        shape: The operation and the fields that it asks for.
        plans: How the server answered.
        count: How many operations.
        keys: Index entries read, all together.
        documents: Documents read, all together.
        given: Documents returned or changed, all together.
        worst: Documents read beyond what is allowed for what was given, in the worst operation.
        milliseconds: Time of all together.
    """

    collection: str
    shape: str
    plans: set[str] = field(default_factory=set)
    count: int = 0
    keys: int = 0
    documents: int = 0
    given: int = 0
    worst: int = 0
    milliseconds: int = 0

    @property
    def faults(self) -> list[str]:
        """What is wrong with it, in words; empty when nothing is."""
        found = []
        if self.collection not in SMALL and any("COLLSCAN" in plan for plan in self.plans):
            found.append(SCAN)
        if self.worst > 0:
            found.append(f"reads {self.worst} documents too many")
        return found

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**vars(self), "plans": sorted(self.plans), "faults": self.faults}


@contextmanager
def profiled(database: Database[dict[str, Any]]) -> Iterator[list[Query]]:
    """Record every operation on a database; the list is filled when the block ends."""
    queries: list[Query] = []
    database.command("profile", 0)
    database.drop_collection("system.profile")
    database.create_collection("system.profile", capped=True, size=PROFILE_BYTES)
    database.command("profile", 2, slowms=0)
    try:
        yield queries
    finally:
        database.command("profile", 0)
        queries += _grouped(database)


def _grouped(database: Database[dict[str, Any]]) -> list[Query]:
    found: dict[tuple[str, str], Query] = defaultdict(lambda: Query("", ""))
    for one in database["system.profile"].find():
        collection = one["ns"].partition(".")[2]
        if collection.startswith("system.") or one["op"] not in (
            *("query", "update", "remove", "command", "getmore"),
        ):
            continue
        command = one.get("originatingCommand") or one.get("command", {})
        if "planSummary" not in one or "explain" in command:
            continue
        shape = f"{one['op']} {_shape(command)}"
        query = found[collection, shape]
        query.collection, query.shape = collection, shape
        query.plans.add(one["planSummary"])
        given = max(
            one.get("nreturned", 0), one.get("nMatched", 0), one.get("ndeleted", 0), _counted(one)
        )
        documents = one.get("docsExamined", 0)
        query.count += 1
        query.keys += one.get("keysExamined", 0)
        query.documents += documents
        query.given += given
        query.worst = max(query.worst, documents - FEW_DOCUMENTS - MOST_DOCUMENTS * given)
        query.milliseconds += one.get("millis", 0)
    return sorted(found.values(), key=lambda query: -query.documents)


def _counted(one: dict[str, Any]) -> int:
    """Return 1 for an answer that is one number made of whatever was read."""
    return int("count" in one.get("command", {}))


def _shape(command: dict[str, Any]) -> str:
    asked = command.get("filter", command.get("query", command.get("q")))
    if asked is None and "pipeline" in command:
        asked = next((step["$match"] for step in command["pipeline"] if "$match" in step), {})
    names = sorted(_fields(asked or {}))
    sort = list(command.get("sort", {}))
    verb = next(iter(command), "")
    return f"{verb} ({', '.join(names)})" + (f" by {', '.join(sort)}" if sort else "")


def _fields(asked: Any) -> set[str]:
    if isinstance(asked, list):
        return {name for one in asked for name in _fields(one)}
    if not isinstance(asked, dict):
        return set()
    names: set[str] = set()
    for name, condition in asked.items():
        if name in ("$and", "$or", "$nor"):
            names |= _fields(condition)
        elif name != "$expr":
            value = condition if isinstance(condition, str) and name == "state" else None
            names.add(f"{name}={value}" if value else name)
    return names
