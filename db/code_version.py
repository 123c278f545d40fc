"""The version of this code, as written into histories."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def code_version() -> str:
    """Name the running code.

    Returns:
        The package's version, with the git revision in a checkout: ``0.1.0+g9fe5f4b2``.
    """
    try:
        release = version("discovery")
    except PackageNotFoundError:
        release = "unknown"
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return release
    try:
        revision = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=8", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return release  # the release alone still names the code
    return f"{release}+g{revision}"
