"""``discovery backup``: a whole campaign in one archive, also while it runs.

Everything of the database is read from one snapshot (`db.snapshot`): the records are as they were
at one moment, so what one names in another is in the archive. What FireWorks knows goes in as
answers: a calculation whose launch had ended at that moment is completed (or failed) in the
archive, collected or not; one that waited or was running is recorded as not finished, and a
restored campaign queues it again. Reference collections go in by name and checksum only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bson import json_util
from pydantic import BaseModel, ConfigDict, Field

from db import migrations
from db.campaigns import load
from db.code_version import code_version
from db.events import server_time
from db.snapshot import Snapshot
from db.states import CalculationState
from discovery.archive.calculations import add_outputs
from discovery.archive.secrets import plain_json
from discovery.archive.writing import ArchiveWriter, new_archive
from discovery.backup.queue import settled
from discovery.environment import environment

FORMAT = "discovery-backup"
VERSION = 1
GUARANTEE = (
    "every record as it was at one moment; calculations whose launch had ended then are completed, "
    "others are queued again by the restored campaign; nothing that is completed is paid again"
)

Document = dict[str, Any]

#: Hashes of calculations wherever a candidate names them.
_HASH = re.compile(r"[0-9a-f]{64}")
_DUMPS = partial(json_util.dumps, json_options=json_util.CANONICAL_JSON_OPTIONS)


class Reference(BaseModel):
    """A reference collection that the campaign compares with.

    Attributes:
        name: Of the collection.
        version: Of its data.
        checksum: sha256 of its records.
        n: How many crystals it has.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str | None = None
    checksum: str
    n: int | None = None


class BackupInfo(BaseModel):
    """What a backup says about itself, in ``backup.json``.

    Attributes:
        campaign: Name of the campaign.
        state: Where it stood.
        taken_at: By the clock of the database, ISO 8601.
        code_version: Of the program that wrote the backup.
        records: Version of the records (`db.migrations`).
        counts: How many of everything.
        calculations_unfinished: How many calculations a restored campaign queues again.
        references: What has to be imported where it is restored.
        guarantee: What can be relied on, in words.
        left_out: Files that could not be read, in sentences.
        environment: Of the program that wrote the backup.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaign: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    state: str
    taken_at: str
    code_version: str
    records: int
    counts: dict[str, int]
    calculations_unfinished: int
    references: tuple[Reference, ...]
    guarantee: str
    left_out: tuple[str, ...]
    environment: dict[str, Any]


def backup(
    campaign: str,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> BackupInfo:
    """Write a campaign into one archive.

    Args:
        campaign: Name of the campaign; it may be running.
        out: The zip file.
        overwrite: Whether a file of this name may be replaced.
        progress: Told what is written.

    Returns:
        What the backup says about itself.

    Raises:
        UnknownCampaign: There is none of this name (`db.campaigns`).
        SnapshotLost: Reading took longer than the server keeps its past.
        OutputError: The file cannot be written; it is there whole or not at all.
    """
    load(campaign)
    with new_archive(out, format=FORMAT, version=VERSION, overwrite=overwrite) as archive:
        with Snapshot() as snapshot:
            writer = _Writer(archive, snapshot, campaign)
            calculations = writer.records(progress)
        left_out = []
        for calculation in calculations:  # files never change, and need no snapshot
            place = f"outputs/{calculation['_id']}"
            _, missing = add_outputs(archive, calculation, place, restart=True)
            name = f"{calculation['formula']} {calculation['_id'][:12]}"
            left_out += [f"{name}: {one['path']} is left out, {one['reason']}" for one in missing]
        info = writer.info(left_out)
        archive.add_json("backup.json", info.model_dump(mode="json"))
        archive.add_text("README.txt", _README.format(campaign=campaign, guarantee=GUARANTEE))
    return info


class _Writer:
    """Writes the records of one campaign from one snapshot."""

    def __init__(self, archive: ArchiveWriter, snapshot: Snapshot, campaign: str) -> None:
        self.archive = archive
        self.snapshot = snapshot
        self.name = campaign
        self.counts: dict[str, int] = {}
        self.taken_at = server_time()
        found = snapshot.one("campaigns", {"_id": campaign})
        assert found is not None  # loaded before the snapshot, and campaigns are never deleted
        self.campaign: Document = found
        self.unfinished = 0

    def records(self, progress: Callable[[str], None]) -> list[Document]:
        """Write every record; return the calculations that have outputs."""
        own = {"campaign": self.name}
        self._write("campaigns", iter([self.campaign]))
        for collection, query, sort in (
            ("generations", own, [("episode", 1), ("generation", 1)]),
            ("events", own, [("at", 1), ("_id", 1)]),
            ("optuna_journal", {"journal": self.name}, [("number", 1)]),
            ("counters", {"_id": f"seq/{self.name}"}, []),
        ):
            progress(collection)
            self._write(collection, self.snapshot.documents(collection, query, sort=sort))
        progress("candidates")
        named: set[str] = set()
        found = self.snapshot.documents("candidates", own, sort=[("seq", 1)])
        self._write("candidates", _noting(found, named))
        progress("calculations")
        calculations = [
            settled(one, self.snapshot, self.taken_at) for one in self._calculations(named)
        ]
        self.unfinished = sum(
            one["state"] in (CalculationState.SUBMITTING, CalculationState.SUBMITTED)
            for one in calculations
        )
        self._write("calculations", iter(calculations))
        progress("model_versions")
        versions = list(self.snapshot.documents("model_versions", own, sort=[("created_at", 1)]))
        self._write("model_versions", iter(versions))
        for version in versions:
            payload = self.snapshot.payload(version["payload"])
            self.archive.add_bytes(f"weights/{version['sha256']}", payload)
        return [one for one in calculations if one.get("outputs")]

    def info(self, left_out: list[str]) -> BackupInfo:
        """Describe what was written."""
        return BackupInfo(
            campaign=self.name,
            state=self.campaign["state"],
            taken_at=self.taken_at.isoformat(),
            code_version=code_version(),
            records=migrations.VERSION,
            counts=self.counts,
            calculations_unfinished=self.unfinished,
            references=tuple(references(self.campaign["resolved"])),
            guarantee=GUARANTEE,
            left_out=tuple(left_out),
            environment=environment(),
        )

    def _write(self, collection: str, documents: Iterator[Document]) -> None:
        count = 0
        with self.archive.open(f"records/{collection}.jsonl") as stream:
            for document in documents:
                stream.write(plain_json(document, _DUMPS).encode() + b"\n")
                count += 1
        self.counts[collection] = count

    def _calculations(self, named: set[str]) -> list[Document]:
        """Return the calculations of the campaign, those that they start from included."""
        paid = {"$or": [{"info.campaign": self.name}, {"attempts.campaign": self.name}]}
        found = {one["_id"]: one for one in self.snapshot.documents("calculations", paid)}
        missing = named - set(found)
        while missing:
            for one in self.snapshot.named("calculations", missing):
                found[one["_id"]] = one
            parents = {one["parent"] for one in found.values() if one.get("parent")}
            known, missing = missing, parents - set(found)
            missing -= known
        return sorted(found.values(), key=lambda one: (one["created_at"], one["_id"]))


def references(resolved: Mapping[str, Any]) -> Iterator[Reference]:
    """Name the reference collections in what a campaign's choices became, each once."""
    seen = set()
    for part in _parts(resolved):
        if {"name", "checksum"} <= set(part) and part["name"] not in seen:
            seen.add(part["name"])
            known = {key: part.get(key) for key in ("name", "version", "checksum", "n")}
            yield Reference.model_validate(known)


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)


def _noting(candidates: Iterator[Document], named: set[str]) -> Iterator[Document]:
    """Pass candidates on and note the hashes of their calculations."""
    for candidate in candidates:
        verification = (candidate.get("verification") or {}).get("calculations")
        followed = (candidate.get("follow_up") or {}).get("dft")
        named.update(_HASH.findall(json_util.dumps([verification, followed])))
        yield candidate


_README = """\
A backup of the campaign {campaign} of discovery.

    discovery restore THIS-FILE.zip             puts it into the database, under its name
    discovery restore THIS-FILE.zip --as NAME   under another one, beside the original

Guaranteed: {guarantee}.

records/COLLECTION.jsonl    the records, MongoDB extended JSON (canonical), one to a line
weights/SHA256              weights of the property heads that the campaign learned
outputs/HASH/               files that the first-principles calculations left
backup.json                 what this is, how many of everything, which reference collections it
                            needs, and what could not be read
manifest.json               size and sha256 of every file
"""
