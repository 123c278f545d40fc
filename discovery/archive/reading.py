"""Reading archives from anywhere: nothing is believed before it is checked.

The checks, in this order: the file is a zip and not too large; its directory holds no name that
leads out of a folder, no link, no encrypted or unknown entry, nothing twice, and no more bytes than
the limits allow; the manifest names exactly the files that are there, in a known format; and of
every file that is read the size and sha256 are those of the manifest. Bytes are counted while they
are unpacked, so a directory that lies about sizes gains nothing.

    with open_archive(path, format="discovery-export") as archive:
        record = archive.json("redo.json")
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from discovery.archive.manifest import (
    MANIFEST,
    ArchiveError,
    FileEntry,
    Manifest,
    parse_json,
    parse_manifest,
)
from discovery.archive.sources import DAMAGE, Limits, Source, blamed, open_source

__all__ = ["Archive", "ArchiveError", "Limits", "open_archive"]

CHUNK = 1 << 20


class Archive:
    """An open archive; `open_archive` makes it.

    Attributes:
        path: Where it lies.
        manifest: Its description.
    """

    def __init__(self, path: Path, source: Source, manifest: Manifest, limits: Limits) -> None:
        self.path = path
        self.manifest = manifest
        self._source = source
        self._limits = limits

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the files that begin with a prefix, sorted."""
        return sorted(name for name in self.manifest.files if name.startswith(prefix))

    def has(self, name: str) -> bool:
        """Say whether there is a file of this name."""
        return name in self.manifest.files

    def read(self, name: str) -> bytes:
        """Read a file as a whole.

        Raises:
            ArchiveError: It is missing, too large, or not the one of the manifest.
        """
        entry = self._entry(name)
        if entry.size > self._limits.memory_bytes:
            raise ArchiveError(f"{self.path}: {name} is too large to be read as a whole")
        return b"".join(self._chunks(name))

    def json(self, name: str) -> Any:
        """Read a file of JSON.

        Raises:
            ArchiveError: See `read`; or it is no plain JSON.
        """
        with self._named():
            return parse_json(self.read(name), name)

    def lines(self, name: str) -> Iterator[bytes]:
        """Read a file line by line; only the end shows whether all of it is as it was written.

        Raises:
            ArchiveError: See `read`; or a line is too long.
        """
        rest = b""
        for chunk in self._chunks(name):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > self._limits.line_bytes:
                raise ArchiveError(f"{self.path}: a line of {name} is too long")
        if rest:
            yield rest

    def verify(self) -> None:
        """Read everything once.

        Raises:
            ArchiveError: A file is not the one of the manifest.
        """
        for name in self.manifest.files:
            for _ in self._chunks(name):
                pass

    def extract(self, folder: Path, names: Iterable[str] | None = None) -> None:
        """Write files below a folder, under their own names: all of them, or none.

        Args:
            folder: Where to; must not exist, or be empty.
            names: Which; None: all, the manifest too.

        Raises:
            ArchiveError: A file is not the one of the manifest, there is no room for all of them,
                or the folder is not empty.
            OSError: The folder cannot be written.
        """
        chosen = sorted(self.manifest.files) if names is None else list(names)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ArchiveError(f"{folder} is not empty: choose another folder")
        needed = sum(self._entry(name).size for name in chosen)
        if needed > shutil.disk_usage(folder).free:
            raise ArchiveError(f"{folder} has no room for {needed / 2**20:.0f} MiB")
        try:
            for name in chosen:
                self.extract_file(name, folder / name)
            if names is None:
                with self._named(), self._source.open(MANIFEST) as stream:
                    (folder / MANIFEST).write_bytes(stream.read(self._limits.memory_bytes))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def extract_file(self, name: str, target: Path) -> None:
        """Write one file, which must not exist.

        Raises:
            ArchiveError: It is not the one of the manifest.
            OSError: It cannot be written.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in self._chunks(name):
                file.write(chunk)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def _entry(self, name: str) -> FileEntry:
        if name not in self.manifest.files:
            raise ArchiveError(f"{self.path} has no file {name!r:.200}")
        return self.manifest.files[name]

    def _chunks(self, name: str) -> Iterator[bytes]:
        """Unpack a file; never more than the manifest says it has."""
        entry = self._entry(name)
        digest, left = hashlib.sha256(), entry.size
        with self._named(), self._source.open(name) as stream:
            while chunk := stream.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                yield chunk
        if left or digest.hexdigest() != entry.sha256:
            raise ArchiveError(f"{self.path}: {name} is not the file its manifest describes")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say of every damage which archive it is in."""
        try:
            yield
        except ArchiveError as error:
            raise blamed(self.path, error) from None
        except DAMAGE as error:
            raise ArchiveError(f"{self.path} is damaged: {error!s:.200}") from error


@contextmanager
def open_archive(
    path: Path,
    *,
    format: str | None = None,
    versions: Iterable[int] = (1,),
    limits: Limits | None = None,
) -> Iterator[Archive]:
    """Open an archive for reading.

    Args:
        path: A zip file, or the folder it was unpacked into.
        format: What it has to hold; None: anything.
        versions: Versions of the format that can be read.
        limits: How much it may hold.

    Yields:
        The archive, its directory and manifest checked; each file is checked when it is read.

    Raises:
        ArchiveError: It is no such archive; the sentence says why.
    """
    limits = limits or Limits()
    source = open_source(path, limits)
    try:
        try:
            manifest = _read_manifest(source, limits)
            _check_contents(source, manifest, limits)
            _check_format(manifest, format, tuple(versions))
        except ArchiveError as error:
            raise blamed(path, error) from None
        except DAMAGE as error:
            raise ArchiveError(f"{path} is damaged: {error!s:.200}") from error
        yield Archive(path, source, manifest, limits)
    finally:
        source.close()


def _read_manifest(source: Source, limits: Limits) -> Manifest:
    if MANIFEST not in source.sizes:
        raise ArchiveError(f"there is no {MANIFEST} in it")
    with source.open(MANIFEST) as stream:
        content = stream.read(limits.memory_bytes + 1)
    if len(content) > limits.memory_bytes:
        raise ArchiveError(f"its {MANIFEST} is too large")
    return parse_manifest(content)


def _check_contents(source: Source, manifest: Manifest, limits: Limits) -> None:
    described, there = set(manifest.files), set(source.sizes) - {MANIFEST}
    if MANIFEST in described:
        raise ArchiveError("its manifest describes itself")
    if missing := described - there:
        raise ArchiveError(f"{min(missing)!r:.200} is missing")
    if source.exact and (strange := there - described):
        raise ArchiveError(f"it holds {min(strange)!r:.200}, which its manifest does not name")
    for name, entry in manifest.files.items():
        if source.sizes[name] != entry.size:
            raise ArchiveError(f"{name} has another size than its manifest says")
    if len(manifest.files) > limits.entries:
        raise ArchiveError(f"it holds more than {limits.entries} files")
    if sum(entry.size for entry in manifest.files.values()) > limits.total_bytes:
        raise ArchiveError("unpacked it would be larger than any archive of this product")


def _check_format(manifest: Manifest, format: str | None, versions: tuple[int, ...]) -> None:
    if format is not None and manifest.format != format:
        raise ArchiveError(f"it is a {manifest.format!r:.80}, not a {format}")
    if manifest.format_version not in versions:
        raise ArchiveError(
            f"it has version {manifest.format_version} of its format, and this program reads "
            f"{', '.join(map(str, versions))}: use the program that wrote it "
            f"({manifest.created_by!r:.80})"
        )
