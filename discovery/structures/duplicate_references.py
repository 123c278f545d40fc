"""The references that crystals are compared with in bulk, by the names a person gives them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.reference_collections import UnknownCollection
from discovery.references.sources import SOURCES

if TYPE_CHECKING:
    from agents.screen.references import Reference
    from discovery.references.importing import ImportProgress

SELF = "self"
"""The reference that is the crystals asked about."""
TRAIN = "-train"
"""``mp20-train`` is the crystals of ``mp20`` with the role ``train``."""

TRAINED_ON = {
    "mp": "mp20-train",
    **{name: f"{name}{TRAIN}" for name in ("mp20", "perov5", "carbon24", "c2db")},
}
"""Reference, or generator, to the training set that tells its rediscoveries."""


class UnknownReference(ValueError):
    """There is no reference of this name."""

    exit_code = 2


@dataclass(frozen=True)
class OpenReference:
    """A reference, ready to be searched.

    Attributes:
        reference: The crystals.
        description: ``name``, ``version``, ``checksum``, ``tables`` and ``crystals`` (how many).
    """

    reference: Reference
    description: dict[str, Any]


def is_table(name: str) -> bool:
    """Say whether a reference is the path of a table, which needs no database."""
    return name.endswith(".csv.gz") and Path(name).is_file()


def collection_of(name: str) -> tuple[str, tuple[str, ...] | None]:
    """Return the collection that a name means, and the roles that count (None: all)."""
    whole = name.removesuffix(TRAIN)
    if whole != name and whole in SOURCES:
        return whole, ("train",)
    return name, None


def training_set_of(name: str) -> str | None:
    """Return the training set that tells the rediscoveries of a reference, if it has one."""
    return TRAINED_ON.get(name.removesuffix(TRAIN))


def open_reference(
    name: str,
    formulas: Collection[str],
    *,
    vacuum: float | None = None,
    progress: Callable[[ImportProgress], None] = lambda progress: None,
) -> OpenReference:
    """Open a reference; a collection that is known by name is imported on its first use.

    Args:
        name: A known collection (`discovery.references.sources.SOURCES`), one with ``-train``, one
            in the database, or the path of a ``csv.gz`` with material_id, formula and structure.
        formulas: Reduced formulas that will be asked for; of a table nothing else is kept.
        vacuum: Å that slabs get before they are compared.
        progress: Told how far an import is.

    Raises:
        UnknownReference: There is no such reference, or the table cannot be read.
        agents.paths.MissingFile: A table of a known collection is in no searched folder.
    """
    if is_table(name):
        return _open_table(Path(name), formulas, vacuum)
    from agents.screen.references_mongo import MongoReference
    from discovery.references.importing import ensure_imported

    collection, roles = collection_of(name)
    try:
        found = ensure_imported(collection, progress=progress)
    except UnknownCollection as error:
        trained = ", ".join(f"{one}{TRAIN}" for one in TRAINED_ON if one != "mp")
        raise UnknownReference(
            f"there is no reference {name!r} ({error}): known are {', '.join(SOURCES)}, {trained}, "
            "train and self, or give the path of a csv.gz with material_id, formula and structure"
        ) from error
    reference = MongoReference(collection, name=name, roles=roles, vacuum=vacuum)
    counted = [one for one in found["files"] if roles is None or one["role"] in roles]
    description = {
        "name": name,
        "version": found["version"],
        "checksum": found["checksum"],
        "tables": [one["file"] for one in counted],
        "crystals": sum(one["read"] - one["n_bad"] for one in counted),
    }
    return OpenReference(reference, description)


def _open_table(path: Path, formulas: Collection[str], vacuum: float | None) -> OpenReference:
    import csv
    import hashlib
    import zlib

    from agents.screen.references import CatalogueReference

    try:
        reference = CatalogueReference.from_table(path, formulas=formulas, vacuum=vacuum)
    except (ValueError, OSError, EOFError, csv.Error, zlib.error) as error:
        raise UnknownReference(f"{path} cannot be read as a reference: {error}") from error
    description = {
        "name": str(path),
        "version": None,
        "checksum": hashlib.sha256(path.read_bytes()).hexdigest()[:12],
        "tables": [str(path)],
        "crystals": reference.size,
    }
    return OpenReference(reference, description)
