"""``discovery restore``: a campaign from a backup, whole or not at all.

The archive is read to its end and checked before the database is touched. Then everything is
written under a marker that keeps the campaign's name from everybody (`db.restoration`). Last of all
come the campaign's own record and, at the same moment, the calculations that are to be queued.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from db import events, migrations, reference_collections
from db.campaigns import NAME
from db.connection import home_directory
from db.events import server_time
from db.owners import owner_name
from db.paths import private_folder
from db.restoration import REPLACED, Restoration, RestorationLost, numbered, require_free
from db.states import CalculationState, CampaignState
from discovery.archive.manifest import ArchiveError
from discovery.archive.reading import Archive, open_archive
from discovery.backup.records import check_records, read_records
from discovery.backup.renaming import Renaming
from discovery.backup.snapshot import FORMAT, BackupInfo

Document = dict[str, Any]


class CannotRestore(ValueError):
    """A backup that this program or this database cannot take."""

    exit_code = 2


@dataclass(frozen=True)
class Restored:
    """What came out of a restoration.

    Attributes:
        campaign: Its name here.
        info: What the backup says about itself.
        counts: How many records were written, by collection.
        paid_here: Calculations that the database had already.
        missing: What the campaign needs and is not here, in sentences.
    """

    campaign: str
    info: BackupInfo
    counts: dict[str, int]
    paid_here: int
    missing: tuple[str, ...]


def restore(
    path: Path,
    *,
    name: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Restored:
    """Put a campaign into the connected database.

    Args:
        path: The backup, or the folder it was unpacked into.
        name: What the campaign is to be called here; None: as it was.
        progress: Told what is written.

    Returns:
        What was written.

    Raises:
        ArchiveError: It is no backup, or was changed; the database was not touched.
        CannotRestore: It is of a newer program, or the name is none.
        CampaignExists: There is a campaign of this name (`db.restoration`).
    """
    with open_archive(path, format=FORMAT) as archive:
        info = read_info(archive)
        new = info.campaign if name is None else name
        if not NAME.fullmatch(new):
            raise CannotRestore(f"{new!r} cannot name a campaign: docs/provenance.md")
        require_free(new)
        progress("checking the archive")
        archive.verify()
        check_records(archive, info.campaign, info.counts)
        restoration = Restoration(new, owner_name())
        try:
            return _Restorer(archive, info, restoration).run(progress)
        except BaseException:
            with suppress(RestorationLost):  # nothing of it is there any more
                restoration.abandon()
            raise


def read_info(archive: Archive) -> BackupInfo:
    """Read what a backup says about itself.

    Raises:
        ArchiveError: It does not say it.
        CannotRestore: It was written by a newer program.
    """
    try:
        info = BackupInfo.model_validate(archive.json("backup.json"))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ArchiveError(f"{archive.path}: backup.json: {where}: {fault['msg']}") from None
    if info.records > migrations.VERSION:
        raise CannotRestore(
            f"{archive.path} holds records of version {info.records}, and this program knows "
            f"{migrations.VERSION}: use {info.code_version} or later"
        )
    return info


class _Restorer:
    """Writes the records of one backup."""

    def __init__(self, archive: Archive, info: BackupInfo, restoration: Restoration) -> None:
        self.archive = archive
        self.info = info
        self.restoration = restoration
        self.renaming = Renaming(info.campaign, restoration.name)
        self.counts: dict[str, int] = {}
        self._outputs: Path | None = None  # made for the first file

    def run(self, progress: Callable[[str], None]) -> Restored:
        progress("model_versions")
        for document in self._records("model_versions"):
            payload = self.archive.read(f"weights/{document['sha256']}")
            self.restoration.insert_model(document, payload)
        progress("candidates")
        self._insert("candidates", map(_unleased, self._records("candidates")))
        for collection in ("generations", "events", "optuna_journal"):
            progress(collection)
            records = numbered(self.restoration.name, collection, self._records(collection))
            self._insert(collection, records)
        self._insert("counters", self._records("counters"))
        progress("calculations")
        paid_here, waiting = self._calculations()
        (campaign,) = self._records("campaigns")
        self.counts["calculations"] += self.restoration.finish(
            self._stopped(campaign), records=self.info.records, waiting=waiting
        )
        events.record(
            self.restoration.name,
            "restored",
            agent="restore",
            data={
                "from": self.info.campaign,
                "taken_at": self.info.taken_at,
                "code_version": self.info.code_version,
            },
        )
        missing = tuple(missing_references(self.info))
        return Restored(self.restoration.name, self.info, self.counts, paid_here, missing)

    def _records(self, collection: str) -> Iterator[Document]:
        return map(self.renaming.document, read_records(self.archive, collection))

    def _insert(self, collection: str, documents: Iterator[Document]) -> None:
        self.counts[collection] = self.restoration.insert(collection, documents)

    def _calculations(self) -> tuple[int, list[Document]]:
        """Write the calculations but those to be queued.

        Returns:
            How many were here already, and those to be queued.
        """
        documents = list(self._records("calculations"))
        known = self.restoration.known_calculations([one["_id"] for one in documents])
        again = []
        try:
            for document in documents:
                here = known.get(document["_id"])
                if here is None or _replaces(document, here):
                    self._unpack(document)
                elif _lost_its_files(here, document):
                    self._unpack(document)
                    again.append((document, here["outputs"]["folder"]))
        except BaseException:
            if self._outputs is not None:  # no record names it yet
                shutil.rmtree(self._outputs, ignore_errors=True)
            raise
        for document, folder in again:
            self.restoration.move_outputs(document, folder)
        ready = [one for one in documents if one["state"] != CalculationState.SUBMITTING]
        waiting = [one for one in documents if one["state"] == CalculationState.SUBMITTING]
        self.counts["calculations"] = self.restoration.add_calculations(ready)
        return len(known), waiting

    def _unpack(self, document: Document) -> None:
        """Put the files of a calculation on this machine, and say in its record where."""
        outputs = document.get("outputs")
        if not outputs:
            return
        prefix = f"outputs/{document['_id']}/"
        here = self._folder() / document["_id"]
        for name in self.archive.names(prefix):
            self.restoration.renew()
            self.archive.extract_file(name, here / name.removeprefix(prefix))
        files = [one for one in outputs.get("files", []) if self.archive.has(prefix + one["path"])]
        document["outputs"] = {**outputs, "folder": str(here), "files": files}

    def _folder(self) -> Path:
        """Return a folder of this restoration alone; what others restored stays where it is."""
        if self._outputs is None:
            root = home_directory().absolute() / "fireworks"
            private_folder(root)
            prefix = f"restored-{self.restoration.name}-"
            self._outputs = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        return self._outputs

    def _stopped(self, campaign: Document) -> Document:
        """Return the campaign's record, led by nobody."""
        kept = {name: value for name, value in campaign.items() if name != "learner"}
        kept |= {"leader": None, "updated_at": server_time()}
        if kept["state"] == CampaignState.RUNNING:
            kept |= {"state": str(CampaignState.STOPPED), "stop_reason": "backed up while it ran"}
        return kept


def _unleased(candidate: Document) -> Document:
    """Return a candidate that nobody works on; its token stays, and grows with the next lease."""
    return {**candidate, "lease": None}


def _replaces(document: Document, here: Document) -> bool:
    """Say whether a calculation of the backup may take the place of the one that is here."""
    return bool(document["state"] == CalculationState.COMPLETED and here["state"] in REPLACED)


def _lost_its_files(here: Document, document: Document) -> bool:
    """Say whether a calculation that is completed here has no files, and the backup has them."""
    folder = (here.get("outputs") or {}).get("folder")
    same = document["state"] == here["state"] and document.get("result") == here.get("result")
    kept = bool((document.get("outputs") or {}).get("files"))
    return bool(same and kept and folder) and not Path(str(folder)).is_dir()


def missing_references(info: BackupInfo) -> Iterator[str]:
    """Say which reference collections have to be imported before the campaign continues."""
    for reference in info.references:
        try:
            found = reference_collections.load(reference.name)
        except reference_collections.UnknownCollection:
            found = None
        if found is None or found["checksum"] != reference.checksum:
            state = "is not here" if found is None else "is another one here"
            yield (
                f"the reference collection {reference.name} ({reference.version}, checksum "
                f"{reference.checksum[:12]}) {state}: run `discovery data import "
                f"{reference.name}` before the campaign continues"
            )
