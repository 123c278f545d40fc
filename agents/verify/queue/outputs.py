"""The raw outputs of a calculation: kept compressed where it ran, and linked from its record."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path
from typing import Any

RESTART_FILES = ("density.gpw", "CHGCAR")
"""What a following task starts from; kept as it is, for as long as one may follow."""

MAX_FILE_BYTES = 20 * 2**20
"""A compressed file above this is left out, and the record says so."""

CHUNK = 2**20


def keep(folder: Path, *, restart: bool, max_bytes: int = MAX_FILE_BYTES) -> dict[str, Any]:
    """Compress what a calculation left behind.

    Args:
        folder: The launch directory; what lies in its ``attempt-*`` is kept, but for links and
            empty files.
        restart: Keep `RESTART_FILES`, at any size.
        max_bytes: Largest compressed file that is kept.

    Returns:
        ``{"files": [{"path", "size", "sha256"}], "left_out": [{"path", "size"}]}``; paths are
        relative to the folder, sizes in bytes as they lie there.
    """
    files: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    found = folder.glob("attempt-*/**/*")
    for path in sorted(one for one in found if one.is_symlink() or one.is_file()):
        if path.is_symlink() or path.stat().st_size == 0:
            path.unlink()
            continue
        needed = path.name in RESTART_FILES
        if needed and not restart:
            path.unlink()  # nothing will start from it
            continue
        kept = path if needed or path.suffix == ".gz" else _compressed(path)
        size = kept.stat().st_size
        entry = {"path": str(kept.relative_to(folder)), "size": size}
        if size > max_bytes and not needed:
            kept.unlink()
            left_out.append(entry)
            continue
        files.append({**entry, "sha256": _sha256(kept)})
    return {"files": files, "left_out": left_out}


def release(outputs: dict[str, Any]) -> dict[str, Any] | None:
    """Remove the files that only a following task needs.

    Args:
        outputs: Record of the outputs, with their ``folder``.

    Returns:
        The record without them; None where there are none, or where the folder is not on this
        machine.
    """
    folder = Path(outputs.get("folder") or "")
    held = [one for one in outputs.get("files", []) if Path(one["path"]).name in RESTART_FILES]
    if not held or not outputs.get("folder") or not folder.is_dir():
        return None
    for one in held:
        (folder / one["path"]).unlink(missing_ok=True)
    return {**outputs, "files": [one for one in outputs["files"] if one not in held]}


def missing(outputs: dict[str, Any]) -> list[str]:
    """Return the paths whose files are gone or are not what was recorded."""
    folder = Path(outputs["folder"])
    return [one["path"] for one in outputs["files"] if not _is_as_recorded(folder, one)]


def _is_as_recorded(folder: Path, entry: dict[str, Any]) -> bool:
    path = folder / entry["path"]
    return path.is_file() and _sha256(path) == entry["sha256"]


def _compressed(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    with path.open("rb") as source, gzip.open(target, "wb") as stream:
        shutil.copyfileobj(source, stream, CHUNK)
    path.unlink()
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
