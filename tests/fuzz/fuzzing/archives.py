"""Targets: archives of candidates and backups of campaigns, from anywhere."""

from __future__ import annotations

import json
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from discovery.archive.manifest import ArchiveError
from discovery.backup.restoration import CannotRestore
from fuzzing.target import Target, saved

BETWEEN = b"\n=====\n"


def _members() -> dict[str, bytes]:
    """The files of a small backup."""
    info = {
        "campaign": "tiny",
        "state": "stopped",
        "taken_at": "2026-11-21T20:00:00+00:00",
        "code_version": "1",
        "records": 1,
        "counts": {
            **{"campaigns": 1, "candidates": 2, "calculations": 1, "generations": 0, "events": 0},
            **{"model_versions": 0, "optuna_journal": 0, "counters": 0},
        },
        "calculations_unfinished": 0,
        "references": [{"name": "mp", "version": "1", "checksum": "a", "n": 3}],
        "guarantee": "x",
        "left_out": [],
        "environment": {},
    }
    time = {"$date": {"$numberLong": "1795000000000"}}
    campaign = {"_id": "tiny", "config": {}, "state": "stopped", "created_at": time}
    candidates = [
        {"_id": f"tiny-{n:012x}", "campaign": "tiny", "seq": {"$numberInt": str(n)}, "history": []}
        for n in range(2)
    ]
    calculation = {
        **{"_id": "a" * 64, "state": "completed", "result": {"energy": -1.5}},
        **{"info": {}, "candidates": ["tiny-000000000000"]},
    }
    empty = ("generations", "events", "model_versions", "optuna_journal", "counters")

    def lines(*records: dict[str, Any]) -> bytes:
        return b"".join(json.dumps(one).encode() + b"\n" for one in records)

    return {
        "backup.json": json.dumps(info).encode(),
        "records/campaigns.jsonl": lines(campaign),
        "records/candidates.jsonl": lines(*candidates),
        "records/calculations.jsonl": lines(calculation),
        **{f"records/{name}.jsonl": b"" for name in empty},
        "README.txt": b"what this is\n",
    }


@cache
def _archives() -> tuple[bytes, ...]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        _write(path, _members())
        return (path.read_bytes(),)


def _write(path: Path, members: dict[str, bytes]) -> None:
    from discovery.archive.writing import new_archive
    from discovery.backup.snapshot import FORMAT, VERSION

    with new_archive(path, format=FORMAT, version=VERSION) as archive:
        for name, content in members.items():
            archive.add_bytes(name, content)


def _open(path: Path, folder: Path) -> object:
    """Read an archive as `restore` does before it touches the database, and unpack it."""
    from discovery.archive.reading import open_archive
    from discovery.backup import restoration
    from discovery.backup.records import check_records
    from discovery.backup.snapshot import FORMAT

    with open_archive(path, format=FORMAT) as archive:
        info = restoration.read_info(archive)
        archive.verify()
        check_records(archive, info.campaign, info.counts)
        archive.extract(folder / "unpacked")
        return info


def _read_archive(data: bytes, folder: Path) -> object:
    return _open(saved(data, folder, "a.zip"), folder)


def _contents() -> list[bytes]:
    _archives()  # the version of the code is asked of git once, before anything is watched
    return [BETWEEN.join(_members().values())]


def _read_contents(data: bytes, folder: Path) -> object:
    """Read an archive whose manifest is right and whose files are not."""
    names = list(_members())
    pieces = data.split(BETWEEN, len(names) - 1)
    path = folder / "a.zip"
    _write(path, dict(zip(names, pieces, strict=False)))
    return _open(path, folder)


def _read_names(data: bytes, folder: Path) -> object:
    """Read a zip file whose members have the names that the input says, one on a line."""
    from discovery.archive.reading import open_archive

    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entries: dict[str, Any] = {}
        for name in data.decode("utf-8", "replace").split("\n")[:50]:
            entry = zipfile.ZipInfo(name or "x")
            entry.filename = name or "x"  # as it is: ZipInfo cuts names at NUL
            archive.writestr(entry, b"")
            empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            entries[name] = {"size": 0, "sha256": empty}
        described = {
            "format": "discovery-backup",
            "format_version": 1,
            "created_by": "1",
            "created_at": "2026",
            "files": entries,
        }
        archive.writestr("manifest.json", json.dumps(described))
    with open_archive(path) as opened:
        opened.extract(folder / "unpacked")
    return None


REFUSALS = (ArchiveError, CannotRestore)
ZIP = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"../", b"manifest.json")
BSON = (
    *(b'{"$code": "x"}', b'{"$binary": {"base64": "", "subType": "00"}}', b'{"$oid": "x"}'),
    *(b'{"$date": 1}', b'{"$numberLong": "9e9"}', b'{"$dbPointer": {}}', b'{"$regex": "("}'),
    *(b'{"$uuid": "x"}', b'{"$numberDecimal": "x"}', b'{"$undefined": true}', BETWEEN),
)

TARGETS = (
    Target(
        "archive",
        _archives,
        _read_archive,
        REFUSALS,
        tokens=ZIP,
        packages=("discovery",),
        weight=2.5,
    ),
    Target("archive-records", _contents, _read_contents, REFUSALS, tokens=BSON, weight=2.5),
    Target(
        "archive-names",
        lambda: [b"a/b.txt\nc.json"],
        _read_names,
        REFUSALS,
        tokens=(
            *(b"../x", b"/x", b"C:\\x", b"a\\..\\x", b"a/./b", b"a//b", b"A/B.TXT", b"\n", b"\x00"),
            *("\u202e".encode(), b"con", b"a/", b"~", b"a.", b" a", b"a/b.txt/c", b"link"),
        ),
        largest=4000,
        weight=2.5,
    ),
)
