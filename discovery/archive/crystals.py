"""Crystals in an archive: CIF for every program, JSON with every bit of the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from discovery.archive.writing import ArchiveWriter

DIGITS = 10
"""Significant digits in CIF files."""


def add_crystal(archive: ArchiveWriter, name: str, crystal: Mapping[str, Any]) -> None:
    """Add ``NAME.cif`` and ``NAME.json``.

    Args:
        archive: Where they go.
        name: Without ending.
        crystal: Record of a crystal (`db.crystals`): lattice in Å, species, fractional coordinates.
    """
    from pymatgen.io.cif import CifWriter

    from db.crystals import record_to_structure

    archive.add_json(f"{name}.json", dict(crystal))
    text = str(CifWriter(record_to_structure(dict(crystal)), significant_figures=DIGITS))
    archive.add_text(f"{name}.cif", text)


def crystals_of(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the crystals of a candidate by what they are."""
    base = record["lineage"]["base"].get("structure")
    found = {
        "base": base,
        "decoded": record.get("structure"),
        "relaxed": (record.get("relaxation") or {}).get("structure"),
        "follow-up": ((record.get("follow_up") or {}).get("stability") or {}).get("structure"),
    }
    return {name: crystal for name, crystal in found.items() if crystal}
