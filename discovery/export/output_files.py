"""Files and folders that appear whole or not at all, and never over what was there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OutputError(RuntimeError):
    """A file or folder cannot be written."""


class OutputExists(OutputError):
    """There is something already where a file or folder shall be written."""

    exit_code = 2


def require_free(path: Path, *, folder_of: tuple[str, ...] = (), overwrite: bool = False) -> None:
    """Refuse to write over what is there.

    Args:
        path: File or folder to write.
        folder_of: For a folder: the endings of the files that may be replaced in it.
        overwrite: Whether it may be replaced.

    Raises:
        OutputExists: It is there and may not be replaced, or is not of the kind to be written.
    """
    if not path.exists() and not path.is_symlink():
        return
    if bool(folder_of) != path.is_dir():
        kind = "no folder" if folder_of else "a folder"
        raise OutputExists(f"{path} is {kind}: choose another name")
    if folder_of:
        inside = sorted(path.iterdir())
        if not inside:
            return
        strange = [one for one in inside if not one.is_file() or one.suffix not in folder_of]
        if overwrite and strange:
            raise OutputExists(
                f"{path} holds {strange[0].name}, which this command did not write: "
                "choose another folder"
            )
    if not overwrite:
        raise OutputExists(f"{path} exists: choose another name, or replace it with --overwrite")


@contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give the path of a temporary file that takes the name of ``path`` at the end.

    Raises:
        OutputExists: See `require_free`.
        OutputError: It cannot be written.
    """
    require_free(path, overwrite=overwrite)
    part = _beside(path)
    try:
        yield part
        require_free(path, overwrite=overwrite)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, endings: tuple[str, ...], *, overwrite: bool = False) -> Iterator[Path]:
    """Give the path of a temporary folder that takes the name of ``path`` at the end.

    Args:
        path: The folder; one that is empty is used.
        endings: Of the files in it; a folder of other files is never replaced.
        overwrite: Whether files of these endings may be replaced.

    Raises:
        OutputExists: See `require_free`.
        OutputError: It cannot be written.
    """
    require_free(path, folder_of=endings, overwrite=overwrite)
    part = _beside(path)
    try:
        part.mkdir(parents=True)
        yield part
        require_free(path, folder_of=endings, overwrite=overwrite)
        if path.exists():
            old = path.with_name(f"{part.name}.old")
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            part.rename(path)
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
