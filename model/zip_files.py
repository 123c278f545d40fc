"""Members of zip files from outside, of bounded size."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FAULTS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, zlib.error),
    *(OSError, EOFError, ValueError, LookupError, OverflowError),
)
"""What `zipfile` raises on damaged, encrypted and unknown archives."""


class DamagedZip(ValueError):
    """A file that is no zip file, or a member of it that cannot be read."""


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file.

    Raises:
        DamagedZip: It is none.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FAULTS as error:
        raise DamagedZip(f"{path} is corrupt or no zip file: {error!s:.200}") from error
    with archive:
        yield archive


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read a member that may not be larger than a limit, whatever its directory says.

    Raises:
        DamagedZip: It is larger, damaged or encrypted.
    """
    try:
        with archive.open(name) as stream:
            content = stream.read(limit + 1)
    except FAULTS as error:
        raise DamagedZip(f"{name:.100} in {archive.filename} is damaged: {error!s:.200}") from error
    if len(content) > limit:
        raise DamagedZip(f"{name:.100} in {archive.filename} is larger than {limit >> 20} MiB")
    return content
