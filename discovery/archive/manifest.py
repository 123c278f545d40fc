"""What an archive says about itself, and which names its files may have."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MANIFEST = "manifest.json"
"""Name of the file that describes all others."""

LONGEST_NAME = 400
LONGEST_PART = 200


class ArchiveError(RuntimeError):
    """A file that is no archive of this product, or one that cannot be trusted."""


class FileEntry(BaseModel):
    """One file of an archive.

    Attributes:
        size: Bytes, unpacked.
        sha256: Of these bytes, 64 hexadecimal digits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """The description of an archive.

    Attributes:
        format: What it holds, for instance ``discovery-export``.
        format_version: Of that format.
        created_by: Version of the code that wrote it.
        created_at: When, ISO 8601 (UTC).
        files: Every file but this one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = Field(max_length=100)
    format_version: int
    created_by: str = Field(max_length=200)
    created_at: str = Field(max_length=100)
    files: dict[str, FileEntry]


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        ArchiveError: It is none, or names a file that cannot be in an archive.
    """
    try:
        manifest = Manifest.model_validate(parse_json(content, MANIFEST), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part)[:80] for part in fault["loc"])
        raise ArchiveError(f"its {MANIFEST} is not usable: {where}: {fault['msg']}") from None
    check_names(manifest.files)
    return manifest


def parse_json(content: bytes, name: str) -> Any:
    """Read JSON from outside.

    Args:
        content: UTF-8.
        name: Of the file, for the message.

    Raises:
        ArchiveError: It is no JSON, holds NaN or infinity, names a key twice, or is nested too
            deep.
    """
    try:
        return json.loads(
            content, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique
        )
    except RecursionError:
        raise ArchiveError(f"{name} is nested too deep") from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise ArchiveError(f"{name} is not JSON: {error!s:.200}") from None


def check_names(names: Iterable[str]) -> None:
    """Refuse names that would be unpacked elsewhere, or over one another.

    Raises:
        ArchiveError: See `require_safe`; or two names are one where a file system ignores case, or
            one is a folder of another.
    """
    seen: set[str] = set()
    for name in names:
        require_safe(name)
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise ArchiveError(f"it names the file {name!r:.200} twice")
        seen.add(key)
    for key in seen:
        parts = key.split("/")
        for i in range(1, len(parts)):
            if "/".join(parts[:i]) in seen:
                raise ArchiveError(f"{key!r:.200} lies in what is a file as well")


def require_safe(name: str) -> None:
    """Refuse the name of a file that is not plainly one inside a folder.

    Raises:
        ArchiveError: It is absolute, leads out of the folder, or has characters that a file system
            takes for something else.
    """
    parts = name.split("/")
    bad = (
        not name
        or len(name) > LONGEST_NAME
        or any(part in ("", ".", "..") or len(part.encode()) > LONGEST_PART for part in parts)
        or any(part != part.strip() or part.endswith(".") for part in parts)
        or any(character in '\\:*?"<>|' or not character.isprintable() for character in name)
    )
    if bad:
        raise ArchiveError(f"{name!r:.200} is no name of a file in an archive")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large a number")
    return value
