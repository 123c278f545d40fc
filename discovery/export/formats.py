"""The forms in which candidates are written."""

from __future__ import annotations

import enum


class Format(enum.StrEnum):
    """Forms in which candidates are written."""

    TABLE = "table"
    JSON = "json"
    JSON_LINES = "jsonl"
    CSV = "csv"
    CIF = "cif"
    EXTXYZ = "extxyz"
    ASE_DB = "ase-db"
    PYMATGEN = "pymatgen"

    @property
    def of_crystals(self) -> bool:
        """Whether it holds crystals, so that candidates without one are left out."""
        return self in (Format.CIF, Format.EXTXYZ, Format.ASE_DB, Format.PYMATGEN)
