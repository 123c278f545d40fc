"""Candidates as crystals, each with its numbers: CIF, extended XYZ, ASE database, pymatgen JSON.

The crystal is the relaxed one, or the decoded one where none was relaxed. A candidate without any
is left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from db.crystals import record_to_structure
from db.property_table import plain_name
from db.selection import best_structure
from discovery.export.candidates import row

if TYPE_CHECKING:
    from ase import Atoms

Record = dict[str, Any]
Counts = tuple[int, int]

INDEX = "candidates.csv"


def write_cifs(records: Iterator[Record], folder: Path) -> Counts:
    """Write one CIF file a candidate, numbered in order, and a table of all of them.

    Args:
        records: As from `discovery.export.candidates.records`.
        folder: An empty folder.

    Returns:
        How many were written, and how many had no crystal.
    """
    from pymatgen.io.cif import CifWriter

    from discovery.export.text import write_csv

    left_out = 0

    def written() -> Iterator[Record]:
        nonlocal left_out
        number = 0
        for record in records:
            crystal = best_structure(record)
            if crystal is None:
                left_out += 1
                continue
            number += 1
            file = f"{number:06d}-{record['id']}.cif"
            CifWriter(record_to_structure(crystal)).write_file(folder / file)
            yield {"file": file, "id": record["id"], **_numbers(record)}

    with (folder / INDEX).open("w", encoding="utf-8", newline="") as table:
        count = write_csv(written(), table)
    return count, left_out


def write_extxyz(records: Iterator[Record], file: TextIO) -> Counts:
    """Write extended XYZ: one frame a candidate, its numbers in the comment line.

    Returns:
        How many were written, and how many had no crystal.
    """
    from ase.io.extxyz import write_extxyz as write_frames

    written = left_out = 0
    for record in records:
        atoms = _atoms(record)
        if atoms is None:
            left_out += 1
            continue
        atoms.info = {plain_name(name): value for name, value in _numbers(record).items()}
        atoms.info["id"] = record["id"]
        write_frames(file, [atoms])
        written += 1
    return written, left_out


def write_ase_db(records: Iterator[Record], path: Path) -> Counts:
    """Write an ASE database (SQLite); all values are in ``data``, those that ASE can search also
    in the key-value pairs, names that ASE reserves as ``candidate_<name>``.

    Returns:
        How many were written, and how many had no crystal.
    """
    from ase.db import connect
    from ase.db.core import convert_str_to_int_float_bool_or_str as understood
    from ase.db.core import reserved_keys

    written = left_out = 0
    with connect(path, type="db", append=False) as database:
        for record in records:
            atoms = _atoms(record)
            if atoms is None:
                left_out += 1
                continue
            values = {"id": record["id"], **_numbers(record)}
            pairs = {}
            for name, value in values.items():
                key = plain_name(name)
                if isinstance(value, str) and not isinstance(understood(value), str):
                    continue  # ASE refuses texts that look like numbers
                pairs[f"candidate_{key}" if key in reserved_keys else key] = value
            database.write(atoms, key_value_pairs=pairs, data={"candidate": values})
            written += 1
    return written, left_out


def write_pymatgen(records: Iterator[Record], file: TextIO) -> Counts:
    """Write a JSON list of pymatgen's Structures (`monty.serialization.loadfn` reads it), with the
    numbers as their ``properties``.

    Returns:
        How many were written, and how many had no crystal.
    """
    written = left_out = 0
    for record in records:
        crystal = best_structure(record)
        if crystal is None:
            left_out += 1
            continue
        structure = record_to_structure(crystal)
        structure.properties = {"id": record["id"], **_numbers(record)}
        file.write("[\n" if written == 0 else ",\n")
        file.write(json.dumps(structure.as_dict(), allow_nan=False))
        written += 1
    file.write("\n]\n" if written else "[]\n")
    return written, left_out


def _numbers(record: Record) -> Record:
    """Everything of a table's row that is known; lists as texts."""
    flat = {name: value for name, value in row(record).items() if value is not None}
    return {
        name: " ".join(value) if isinstance(value, list) else value
        for name, value in flat.items()
        if name != "id"
    }


def _atoms(record: Record) -> Atoms | None:
    from ase import Atoms

    crystal = best_structure(record)
    if crystal is None:
        return None
    return Atoms(
        crystal["species"],
        scaled_positions=crystal["frac_coords"],
        cell=crystal["lattice"],
        magmoms=crystal.get("magmom"),
        pbc=True,
    )
