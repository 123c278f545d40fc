"""Which labels a version of the head has learned, itself or through its ancestors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from db import model_versions
from db.documents import ModelVersion


def lineage(versions: Sequence[ModelVersion], version: str | None) -> list[ModelVersion]:
    """Return a version and all it came from, the youngest first.

    Args:
        versions: The campaign's versions; others are read from the database.
        version: Where to start; None is the shipped head, which learned nothing here.
    """
    known = {one.id: one for one in versions}
    line: list[ModelVersion] = []
    while version is not None:
        line.append(known.get(version) or model_versions.load(version))
        version = line[-1].parent
    return line


def trained_keys(versions: Iterable[ModelVersion]) -> set[str]:
    """Return the keys of all labels that versions were trained on."""
    return {key for version in versions for key in version.labels["trained"]}
