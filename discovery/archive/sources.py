"""Where the files of an archive come from: a zip file, or the folder it was unpacked into."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from discovery.archive.manifest import ArchiveError, check_names

#: What Python's zipfile raises for files that are damaged or made to do damage.
DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, ValueError, OverflowError, OSError),
)


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold.

    Attributes:
        entries: Files.
        archive_bytes: The archive itself.
        file_bytes: One file, unpacked.
        total_bytes: All files, unpacked.
        ratio: Unpacked to packed bytes of one file; JSON of this product reaches about 10, deflate
            at most 1032.
        ratio_from: Files below this size (bytes) may have any ratio.
        memory_bytes: A file that is read as a whole.
        line_bytes: A line; MongoDB's documents have at most 16 MiB.
    """

    entries: int = 200_000
    archive_bytes: int = 64 << 30
    file_bytes: int = 16 << 30
    total_bytes: int = 128 << 30
    ratio: float = 200.0
    ratio_from: int = 1 << 20
    memory_bytes: int = 256 << 20
    line_bytes: int = 96 << 20


class Source(ABC):
    """Where the files of an archive come from.

    Attributes:
        sizes: Name to unpacked size as the directory says, bytes.
        exact: Whether a file that the manifest does not name is an error.
    """

    sizes: Mapping[str, int]
    exact: bool

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading."""

    @abstractmethod
    def close(self) -> None:
        """Give up what is held open."""


class _Zip(Source):
    exact = True

    def __init__(self, path: Path, limits: Limits) -> None:
        if path.stat().st_size > limits.archive_bytes:
            raise ArchiveError("it is larger than any archive of this product")
        self._file = zipfile.ZipFile(path)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        try:
            self._check(path.stat().st_size, limits)
        except BaseException:
            self._file.close()
            raise
        self.sizes = {name: entry.file_size for name, entry in self._entries.items()}

    def _check(self, size: int, limits: Limits) -> None:
        found = self._file.infolist()
        if len(found) > limits.entries:
            raise ArchiveError(f"it holds {len(found)} files, more than {limits.entries}")
        files = [entry for entry in found if not _is_folder(entry)]
        check_names(entry.orig_filename for entry in files)
        for entry in files:
            _check_entry(entry, limits)
            self._entries[entry.orig_filename] = entry
        if sum(entry.compress_size for entry in files) > size:
            raise ArchiveError("its files overlap")

    def open(self, name: str) -> IO[bytes]:
        return self._file.open(self._entries[name])

    def close(self) -> None:
        self._file.close()


class _Folder(Source):
    exact = False  # file managers leave files of their own

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes = {}
        for found in path.rglob("*"):
            name = found.relative_to(path).as_posix()
            status = found.lstat()
            if stat.S_ISREG(status.st_mode):
                self.sizes[name] = status.st_size

    def open(self, name: str) -> IO[bytes]:
        path = self.path
        for part in name.split("/"):
            path /= part
            if path.is_symlink():
                raise ArchiveError(f"{name} is reached by a link")
        return path.open("rb")

    def close(self) -> None:
        """Nothing is held open."""


def open_source(path: Path, limits: Limits) -> Source:
    """Open a zip file or a folder; a zip's directory is checked.

    Raises:
        ArchiveError: It cannot be read, or its directory cannot be trusted.
    """
    try:
        if path.is_dir():
            return _Folder(path)
        return _Zip(path, limits)
    except ArchiveError as error:
        raise blamed(path, error) from None
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror or error}") from error
    except DAMAGE as error:
        raise ArchiveError(f"{path} is no archive: {error!s:.200}") from error


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.orig_filename.endswith("/") and entry.file_size == 0


def _check_entry(entry: zipfile.ZipInfo, limits: Limits) -> None:
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ArchiveError(f"{name} is a link or no plain file")
    if entry.flag_bits & 0x1:
        raise ArchiveError(f"{name} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(f"{name} is packed by a method that this product does not use")
    if entry.file_size > limits.file_bytes:
        raise ArchiveError(f"{name} would be {entry.file_size / 2**30:.0f} GiB large")
    packed = max(entry.compress_size, 1)
    if entry.file_size >= limits.ratio_from and entry.file_size / packed > limits.ratio:
        raise ArchiveError(f"{name} would unpack to {entry.file_size / packed:.0f} times its size")


def blamed(path: Path, error: ArchiveError) -> ArchiveError:
    """Say in an error which archive it is about."""
    text = str(error)
    return error if text.startswith(str(path)) else ArchiveError(f"{path}: {text}")
