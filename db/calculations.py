"""First-principles calculations: each is recorded, and so paid for, once."""

from __future__ import annotations

from typing import Any

from pymongo.errors import DuplicateKeyError

from db.connection import current_database
from db.documents import Calculation
from db.plain import plain
from db.states import CALCULATION_ALLOWED, CalculationState

REQUIRED = frozenset({"hash", "kind", "code", "version", "settings", "structure", "formula"})
OPTIONAL = frozenset(
    {
        *("task", "parent", "options"),
        *("level", "estimated_core_seconds", "candidates", "control", "info"),
    }
)
ADVANCED = frozenset(
    {
        *("fw_id", "result", "error", "estimated_core_seconds", "control", "info"),
        *("attempts", "outputs"),
    }
)
FINAL = (CalculationState.COMPLETED, CalculationState.FAILED)


class UnknownCalculation(ValueError):
    """No calculation has this hash."""


def claim(spec: dict[str, Any], result: dict[str, Any] | None = None) -> tuple[Calculation, bool]:
    """Record a calculation in state ``submitting``, unless it is recorded already.

    Args:
        spec: ``hash``, ``kind`` ("compound", "reference" or "phase"), ``code``, ``version``,
            ``settings``, ``structure``, ``formula``, and optionally ``task``, ``parent``,
            ``options``, ``level``, ``estimated_core_seconds``, ``candidates``, ``control``,
            ``info``.
        result: What it found, if it was computed elsewhere; it is then ``completed`` at once.

    Returns:
        The calculation, and whether this call recorded it: exactly one of all callers is told so.

    Raises:
        ValueError: A field is missing, unknown or not plain JSON.
    """
    missing, unknown = REQUIRED - set(spec), set(spec) - REQUIRED - OPTIONAL
    if missing or unknown:
        raise ValueError(
            f"a calculation lacks {sorted(missing)} and has the unknown fields {sorted(unknown)}"
        )
    if spec["kind"] not in Calculation.kind.choices:
        raise ValueError(f"kind {spec['kind']!r} is not one of {Calculation.kind.choices}")
    values = plain(spec, "calculation")
    times: dict[str, Any] = {"created_at": "$$NOW"}
    state = CalculationState.SUBMITTING
    if result is not None:
        values["result"] = plain(result, "result")
        state, times["completed_at"] = CalculationState.COMPLETED, "$$NOW"
    name = values.pop("hash")
    blank = {"candidates": [], "control": False, "info": {}, "fw_id": None, "result": None}
    document = {
        **blank,
        "error": None,
        "completed_at": None,
        **values,
        "state": str(state),
    }
    change = [
        {
            "$replaceWith": {
                "$cond": [
                    {"$eq": [{"$type": "$state"}, "missing"]},
                    {"$mergeObjects": ["$$ROOT", {"$literal": document}, times]},
                    "$$ROOT",
                ]
            }
        }
    ]
    try:
        done = current_database()["calculations"].update_one({"_id": name}, change, upsert=True)
    except DuplicateKeyError:  # another process recorded it at the same moment
        return load(name), False
    return load(name), done.upserted_id is not None


def load(hash: str) -> Calculation:
    """Read a calculation.

    Raises:
        UnknownCalculation: There is none of this hash.
    """
    found = Calculation.objects(hash=hash).first()
    if found is None:
        raise UnknownCalculation(f"there is no calculation {hash!r}")
    return found


def find(
    *,
    state: CalculationState | str | None = None,
    kind: str | None = None,
    formula: str | None = None,
    candidate: str | None = None,
) -> list[Calculation]:
    """Find calculations, the oldest first.

    Args:
        state: Only in this state.
        kind: "compound", "reference" or "phase".
        formula: Only of this reduced formula.
        candidate: Only those that verify this candidate.
    """
    given = {"kind": kind, "formula": formula, "candidates": candidate}
    chosen = {name: value for name, value in given.items() if value is not None}
    if state is not None:
        chosen["state"] = str(CalculationState(state))
    return list(Calculation.objects(**chosen).order_by("created_at", "hash"))


def advance(
    hash: str,
    source: CalculationState | str,
    to: CalculationState | str,
    *,
    by: str = "verify",
    note: str = "",
    **updates: Any,
) -> bool:
    """Move a calculation to another state, if it is in the expected one; its history says so.

    Args:
        hash: The calculation.
        source: The state it is believed to be in; may equal ``to``, to store updates only.
        to: The state it moves to.
        by: The agent or person who moves it.
        note: Why, in words; a change within one state is written into the history only with one.
        updates: ``fw_id``, ``result``, ``error``, ``estimated_core_seconds``, ``control``,
            ``info``, ``attempts``, ``outputs``.

    Returns:
        Whether it moved; False when somebody moved it before.

    Raises:
        ValueError: There is no such transition, or a value cannot be stored.
        UnknownCalculation: There is none of this hash.
    """
    source, to = CalculationState(source), CalculationState(to)
    if to is not source and to not in CALCULATION_ALLOWED[source]:
        raise ValueError(f"a {source} calculation cannot become {to}")
    unknown = set(updates) - ADVANCED
    if unknown:
        raise ValueError(f"{sorted(unknown)} cannot be set: use {sorted(ADVANCED)}")
    fields: dict[str, Any] = {
        name: {"$literal": plain(value, name)} for name, value in updates.items()
    }
    fields["state"] = {"$literal": str(to)}
    if to is not source:
        fields["completed_at"] = "$$NOW" if to in FINAL else None
    if to is not source or note:
        entry = {"from": str(source), "to": str(to), "by": by, "note": note}
        added = {"$mergeObjects": [{"$literal": entry}, {"at": "$$NOW"}]}
        fields["history"] = {"$concatArrays": [{"$ifNull": ["$history", []]}, [added]]}
    done = current_database()["calculations"].update_one(
        {"_id": hash, "state": str(source)}, [{"$set": fields}]
    )
    if done.matched_count == 0:
        load(hash)
    return done.matched_count == 1


def link_candidate(hash: str, candidate_id: str) -> None:
    """Note that a calculation verifies a candidate too.

    Raises:
        UnknownCalculation: There is none of this hash.
    """
    done = current_database()["calculations"].update_one(
        {"_id": hash}, {"$addToSet": {"candidates": candidate_id}}
    )
    if done.matched_count == 0:
        raise UnknownCalculation(f"there is no calculation {hash!r}")
