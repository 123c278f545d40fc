"""Where data sets and third-party weights are found; nothing here touches the network."""

from __future__ import annotations

import os
from pathlib import Path


class MissingFile(FileNotFoundError):
    """A data set or model file is on none of the searched paths."""


def cache_path(kind: str) -> Path:
    """Return the folder in the user's cache for one kind of file; it need not exist."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "discovery" / kind


def _search(variable: str, kind: str, name: str) -> Path:
    roots = []
    if os.environ.get(variable):
        roots.append(Path(os.environ[variable]).absolute())
    roots.append(cache_path(kind))
    for root in roots:
        if (root / name).exists():
            return root / name
    places = ", ".join(str(root) for root in roots)
    raise MissingFile(
        f"{name} was not found in {places}: put it there or set {variable} to its folder"
    )


def data_path(name: str) -> Path:
    """Find a file of a data set.

    Args:
        name: File name, for instance ``perov5_test.csv.gz``.

    Returns:
        Its absolute path, from ``$DISCOVERY_DATA`` or else the user's cache.

    Raises:
        MissingFile: It is in neither place.
    """
    return _search("DISCOVERY_DATA", "data", name)


def models_path(name: str) -> Path:
    """Find a folder or file of third-party weights.

    Args:
        name: Path inside the folder, for instance ``megnet-mp-2018.6.1``.

    Returns:
        Its absolute path, from ``$DISCOVERY_MODELS`` or else the user's cache.

    Raises:
        MissingFile: It is in neither place.
    """
    return _search("DISCOVERY_MODELS", "models", name)
