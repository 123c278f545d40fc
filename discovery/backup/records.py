"""The records of a backup: read line by line, and checked to be those of its campaign alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from bson import Int64, ObjectId, json_util
from bson.errors import BSONError

from db.restoration import counter
from db.states import CalculationState
from discovery.archive.manifest import ArchiveError
from discovery.archive.reading import Archive

Document = dict[str, Any]

COLLECTIONS = frozenset(
    {
        *("campaigns", "candidates", "calculations", "generations", "model_versions", "events"),
        *("optuna_journal", "counters"),
    }
)

_OPTIONS = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, tz_aware=True, tzinfo=json_util.utc
)
#: Exactly these types: code and others of BSON are subclasses of text.
_PLAIN = frozenset({str, int, Int64, float, bool, datetime, ObjectId, type(None)})
_HASH = re.compile(r"[0-9a-f]{64}")
_STATES = frozenset(map(str, CalculationState))
_UNREADABLE = (ValueError, TypeError, RecursionError, LookupError, ArithmeticError, BSONError)
"""What the reader of extended JSON raises; numbers in decimal are arithmetic errors."""


def read_records(archive: Archive, collection: str) -> Iterator[Document]:
    """Read the records of a collection; nothing but plain values, times and object ids.

    Raises:
        ArchiveError: One is not such a record.
    """
    name = f"records/{collection}.jsonl"
    for number, line in enumerate(archive.lines(name), start=1):
        try:
            document = json_util.loads(line, json_options=_OPTIONS)
            plain = isinstance(document, dict) and _is_plain(document)
        except _UNREADABLE as error:
            raise ArchiveError(f"{archive.path}: line {number} of {name}: {error!s:.200}") from None
        if not plain:
            raise ArchiveError(f"{archive.path}: line {number} of {name} is no record")
        yield document


def check_records(archive: Archive, campaign: str, counts: Mapping[str, int]) -> None:
    """Read every record once, so that a broken or a strange one is found before all writing.

    Args:
        archive: The backup.
        campaign: Whose it says it is.
        counts: How many records of each collection it says it has.

    Raises:
        ArchiveError: A collection is missing or unknown, has another number of records, or holds
            one that is not the campaign's.
    """
    if wrong := COLLECTIONS ^ set(counts):
        here = "counts" if min(wrong) in counts else "does not count"
        raise ArchiveError(f"{archive.path}: backup.json {here} {min(wrong)!r:.80}")
    belongs = _belongs(campaign)
    for collection, count in counts.items():
        found, ids = 0, set()
        for document in read_records(archive, collection):
            found += 1
            ids.add(str(document.get("_id", found)))
            if not belongs[collection](document):
                raise ArchiveError(
                    f"{archive.path}: line {found} of records/{collection}.jsonl is no record of "
                    f"the campaign {campaign}"
                )
        if found != count:
            raise ArchiveError(f"{archive.path}: {found} {collection}, not {count}")
        if len(ids) != found:
            raise ArchiveError(f"{archive.path}: records/{collection}.jsonl has an id twice")
    if counts["campaigns"] != 1:
        raise ArchiveError(f"{archive.path}: it holds {counts['campaigns']} campaigns, not one")


def _belongs(campaign: str) -> dict[str, Callable[[Document], bool]]:
    """Return what is asked of a record, by collection."""
    own = re.compile(rf"{re.escape(campaign)}-[0-9a-f]{{12}}")

    def named(document: Document) -> bool:
        return document.get("campaign") == campaign

    def identified(document: Document) -> bool:
        return named(document) and _matches(own, document.get("_id"))

    return {
        "campaigns": lambda one: one.get("_id") == campaign and isinstance(one.get("config"), dict),
        "candidates": identified,
        "model_versions": lambda one: identified(one) and _matches(_HASH, one.get("sha256")),
        "generations": named,
        "events": named,
        "optuna_journal": lambda one: one.get("journal") == campaign,
        "counters": lambda one: one.get("_id") == counter(campaign),
        "calculations": _is_calculation,
    }


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_calculation(document: Document) -> bool:
    """Say whether all is there that restoring reads; calculations may be of several campaigns."""
    outputs = document.get("outputs")
    return (
        _matches(_HASH, document.get("_id"))
        and document.get("state") in _STATES
        and isinstance(document.get("info"), dict)
        and isinstance(document.get("candidates"), list)
        and _are_documents(document.get("attempts") or [])
        and (outputs is None or (isinstance(outputs, dict) and _are_outputs(outputs)))
    )


def _are_documents(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _are_outputs(outputs: Document) -> bool:
    files, attempt = outputs.get("files", []), outputs.get("attempt")
    inside = attempt is None or _matches(re.compile(r"[\w-]+"), attempt)
    return (
        inside and _are_documents(files) and all(isinstance(one.get("path"), str) for one in files)
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return type(value) in _PLAIN
