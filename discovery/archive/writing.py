"""Writing archives: whole or not at all, with the sha256 of every file, and without credentials."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

from db.code_version import code_version
from discovery.archive.manifest import MANIFEST, FileEntry, Manifest, check_names, require_safe
from discovery.archive.secrets import plain_json, without_credentials
from discovery.export.output_files import new_file

CHUNK = 1 << 20
PACKED = (".gz", ".npz", ".png", ".zip")
"""Files of these endings are small already and are stored as they are."""

_NO_DATE = (1980, 1, 1, 0, 0, 0)  # equal contents give equal archives, but for their manifests


class ArchiveWriter:
    """An archive that is being written; `new_archive` makes it."""

    def __init__(self, file: zipfile.ZipFile, format: str, version: int) -> None:
        self._zip = file
        self._format, self._version = format, version
        self._files: dict[str, FileEntry] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add a file as it is."""
        with self.open(name) as stream:
            stream.write(content)

    def add_text(self, name: str, text: str) -> None:
        """Add a text (UTF-8), credentials taken out."""
        self.add_bytes(name, without_credentials(text).encode())

    def add_json(self, name: str, value: Any) -> None:
        """Add plain values as JSON, credentials taken out; numbers keep every bit."""
        dumps = partial(json.dumps, indent=1, allow_nan=False, ensure_ascii=False)
        self.add_bytes(name, f"{plain_json(value, dumps)}\n".encode())

    def add_file(self, name: str, path: Path) -> None:
        """Add a file of this machine as it is.

        Raises:
            OSError: It cannot be read.
        """
        with path.open("rb") as source, self.open(name) as stream:
            while chunk := source.read(CHUNK):
                stream.write(chunk)

    @contextmanager
    def open(self, name: str) -> Iterator[Stream]:
        """Open a new file in the archive for writing."""
        require_safe(name)
        if name in self._files or name == MANIFEST:
            raise ValueError(f"{name} is in the archive already")
        entry = zipfile.ZipInfo(name, _NO_DATE)
        entry.external_attr = 0o644 << 16
        packed = name.endswith(PACKED)
        entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        with self._zip.open(entry, "w", force_zip64=True) as file:
            stream = Stream(file)
            yield stream
        self._files[name] = FileEntry(size=stream.size, sha256=stream.digest.hexdigest())

    def finish(self) -> None:
        """Write the manifest; nothing may be added afterwards."""
        check_names(self._files)
        manifest = Manifest(
            format=self._format,
            format_version=self._version,
            created_by=f"discovery {code_version()}",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            files=dict(sorted(self._files.items())),
        )
        entry = zipfile.ZipInfo(MANIFEST, _NO_DATE)
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        self._zip.writestr(entry, manifest.model_dump_json(indent=1) + "\n")


class Stream:
    """A file inside an archive while it is written.

    Attributes:
        size: Bytes so far.
        digest: Their sha256.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> None:
        """Append bytes."""
        self._file.write(content)
        self.size += len(content)
        self.digest.update(content)


@contextmanager
def new_archive(
    path: Path, *, format: str, version: int, overwrite: bool = False
) -> Iterator[ArchiveWriter]:
    """Write an archive that takes its name when it is complete and on the disk.

    Args:
        path: Where to; its folder is made where it is missing.
        format: What it holds, as in `discovery.archive.manifest.Manifest`.
        version: Of that format.
        overwrite: Whether a file of this name may be replaced.

    Yields:
        What files are added to.

    Raises:
        OutputExists: There is something of this name.
        OutputError: It cannot be written.
    """
    with new_file(path, overwrite=overwrite) as part:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
                writer = ArchiveWriter(archive, format, version)
                yield writer
                writer.finish()
            file.flush()
            os.fsync(file.fileno())
