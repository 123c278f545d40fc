"""What a backup takes from FireWorks: the answers of launches that had ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from agents.verify.queue.launches import answer, attempts_of
from db.states import CalculationState

if TYPE_CHECKING:
    from db.snapshot import Snapshot

Document = dict[str, Any]


def settled(calculation: Document, snapshot: Snapshot, at: datetime) -> Document:
    """Return a calculation as it stands without FireWorks.

    Args:
        calculation: Its record.
        snapshot: The moment that everything is read from.
        at: Its time.

    Returns:
        The same record; of a submitted one ``completed`` or ``failed`` with what its launch left,
        if that had ended, as `agents.verify.collection` would store it; else ``submitting``, to be
        queued again, with the cost of launches that were lost.
    """
    if calculation["state"] == CalculationState.SUBMITTING:
        return {**calculation, "fw_id": None}
    if calculation["state"] != CalculationState.SUBMITTED:
        return calculation
    pad: Any = _Queue(snapshot)
    found = answer(pad, calculation["fw_id"])
    payer = {"campaign": calculation["info"].get("campaign")}
    launched = [{**one, **payer} for one in attempts_of(pad, calculation["fw_id"])]
    attempts = [*(calculation.get("attempts") or []), *launched]
    whole = {**calculation, "attempts": attempts}
    if found is None or _vanished(found):
        lost = _moved(whole, CalculationState.FAILED, "a backup leaves its queue behind", at)
        note = "to be queued again where it is restored"
        return _moved({**lost, "fw_id": None}, CalculationState.SUBMITTING, note, at)
    if "outputs" in found:
        whole["outputs"] = found["outputs"]
    whole["completed_at"] = at
    if "result" in found:
        done = {**whole, "result": found["result"]}
        return _moved(done, CalculationState.COMPLETED, "collected by a backup", at)
    failure = found.get("error") or {"kind": "task", "message": "the task stored no answer"}
    failed = {
        **whole,
        "error": f"{failure['kind']}: {failure['message']}",
        "info": {**calculation["info"], "failure": failure},
    }
    return _moved(failed, CalculationState.FAILED, "collected by a backup", at)


def _vanished(found: Mapping[str, Any]) -> bool:
    """Say whether only the queue is at fault: the calculation can be queued again."""
    return (found.get("error") or {}).get("kind") == "lost"


def _moved(calculation: Document, to: CalculationState, note: str, at: datetime) -> Document:
    history = calculation.get("history") or []
    entry = {"from": calculation["state"], "to": str(to), "by": "backup", "note": note, "at": at}
    return {**calculation, "state": str(to), "history": [*history, entry]}


class _Queue:
    """What `agents.verify.queue.launches` reads of a LaunchPad, as it was at one moment."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.fireworks = _Documents(snapshot, "fireworks")
        self.launches = _Documents(snapshot, "launches")


class _Documents:
    """A collection of a snapshot, asked as pymongo's are."""

    def __init__(self, snapshot: Snapshot, collection: str) -> None:
        self._snapshot = snapshot
        self._collection = collection

    def find_one(self, query: Document, fields: Document | None = None) -> Document | None:
        """Return one document; all of its fields."""
        return self._snapshot.one(self._collection, query)

    def find(self, query: Document) -> _Found:
        """Return what can be sorted."""
        return _Found(list(self._snapshot.documents(self._collection, query)))


class _Found(list[Document]):
    def sort(self, field: str, direction: int) -> Self:  # type: ignore[override]
        """Sort by one field, as a cursor does."""
        super().sort(key=lambda one: one[field], reverse=direction < 0)
        return self
