"""Reference collections that are read straight from the tables of the data folder."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from agents.paths import data_path
from agents.screen.references import CatalogueReference

SPLITS = ("train", "val", "test")
SETS = ("mp20", "perov5", "carbon24", "c2db")
"""Data sets with the generators' splits."""

TABLES: dict[str, tuple[str, ...]] = {
    "mp": ("mp_ref2025_le20.csv.gz", "mp_ref2025_gt20.csv.gz"),
    **{name: tuple(f"{name}_{split}.csv.gz" for split in SPLITS) for name in SETS},
    **{f"{name}-train": (f"{name}_train.csv.gz",) for name in SETS},
}
"""Name of a reference to its tables; ``NAME-train`` is the training split alone."""

TRAINED_ON = {
    "mp": "mp20-train",
    **{name: f"{name}-train" for name in SETS},
    **{f"{name}-train": f"{name}-train" for name in SETS},
}
"""Reference to the training set of the generator whose crystals one compares with it."""


class UnknownReference(ValueError):
    """There is no reference of this name."""

    exit_code = 2


def reference_tables(name: str) -> list[Path]:
    """Return where the tables of a reference are.

    Args:
        name: One of `TABLES`, or the path of a ``csv.gz`` in their layout.

    Raises:
        UnknownReference: There is neither.
        agents.paths.MissingFile: A table is in no searched folder.
    """
    if name in TABLES:
        return [data_path(file) for file in TABLES[name]]
    if name.endswith(".csv.gz") and Path(name).is_file():
        return [Path(name)]
    raise UnknownReference(
        f"there is no reference {name!r}: known are {', '.join(TABLES)}, or give the path of a "
        "csv.gz with material_id, formula and structure"
    )


def load_reference(name: str, formulas: Collection[str] | None = None) -> CatalogueReference:
    """Read a reference.

    Args:
        name: As for `reference_tables`.
        formulas: Reduced formulas whose crystals are kept; None: all.

    Returns:
        The reference; role ``train`` for a training set, else ``known``.

    Raises:
        UnknownReference: There is no such reference, or it is not in the tables' layout.
        agents.paths.MissingFile: A table is in no searched folder.
    """
    role = "train" if name.endswith("-train") else "known"
    paths = reference_tables(name)
    try:
        return CatalogueReference.from_tables(name, paths, role=role, formulas=formulas)
    except (ValueError, OSError, EOFError) as error:
        raise UnknownReference(f"{name} cannot be read as a reference: {error}") from error
