"""Building the shipped table of the elements' reference crystals for DFT."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.setup.symmetry import symmetrise
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure

GROUND_STATES = "mp_elemental_refs_2023-02-07.json"
CELLS = ("mp_ref2025_le20.csv.gz", "mp_ref2025_gt20.csv.gz")
SOURCE = "Materials Project v2025.02.12, CC BY 4.0 (doi 10.1063/1.4812323)"

COMMON_PHASES: dict[str, str] = {
    "Ag": "mp-124",  # fcc
    "Bi": "mp-23152",  # A7
    "Br": "mp-23154",  # molecular crystal
    "Cd": "mp-94",  # hcp
    "Cs": "mp-1",  # bcc
    "I": "mp-23153",  # molecular crystal
    "In": "mp-85",  # body-centred tetragonal
    "K": "mp-58",  # bcc
    "Li": "mp-135",  # bcc
    "Mg": "mp-153",  # hcp
    "Na": "mp-127",  # bcc
    "P": "mp-157",  # black phosphorus
    "Rb": "mp-70",  # bcc, slightly tetragonal
    "Se": "mp-14",  # grey selenium
    "Sr": "mp-76",  # fcc
    "Tl": "mp-82",  # hcp
    "Y": "mp-112",  # hcp
}
"""Elements whose lowest entry is a stacking or distortion of many atoms, within a few meV/atom of
the phase that is observed: that phase is used instead."""

STAND_INS: dict[str, tuple[str, str]] = {
    "Mn": ("mp2018_megnet.csv.gz", "mp-8634"),  # fcc, 1 atom, for alpha manganese, 29 atoms
    "S": ("mp20_test.csv.gz", "mp-7"),  # S6 rings, 6 atoms, for S8 rings, 32 atoms
}
"""Elements whose ground state is too large a cell to compute for every campaign: a smaller phase
whose energy above the ground state is published. Structure and energy are of one calculation
(VASP, PBE), read from these files; its energy above the ground state is subtracted."""


def build(data_dir: Path, out: Path) -> Path:
    """Write the primitive cell of every element's reference phase.

    The phase is the one that the Materials Project measures formation energies against, except for
    `COMMON_PHASES` and `STAND_INS`. Energies are not taken over, but for the one of a stand-in
    above the ground state: they are computed at the level of the campaign.

    Args:
        data_dir: Folder with the Materials Project cells and elemental references.
        out: The JSON file to write.

    Returns:
        ``out``.

    Raises:
        ValueError: A cell is missing in the data.
    """
    wanted = {
        element: COMMON_PHASES.get(element, "-".join(record["entry_id"].split("-")[:2]))
        for element, record in json.loads((data_dir / GROUND_STATES).read_text()).items()
    }
    cells = _cells(data_dir, set(wanted.values()))
    missing = {element: name for element, name in wanted.items() if name not in cells}
    if missing:
        raise ValueError(f"no cell in {', '.join(CELLS)} for {missing}")
    table: dict[str, dict[str, Any]] = {}
    for element, name in sorted(wanted.items()):
        primitive = symmetrise(cells[name], 0.1, 0.1)
        table[element] = {
            "source_id": name,
            "space_group": primitive.space_group,
            "structure": structure_to_record(primitive.structure),
        }
    for element, (file, name) in STAND_INS.items():
        table[element] = _stand_in(data_dir / file, name, str(table[element]["source_id"]))
    header = {"source": SOURCE, "units": "Å", "common_phases": COMMON_PHASES}
    rows = ",\n".join(f"{json.dumps(e)}: {json.dumps(record)}" for e, record in table.items())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f'{{"header": {json.dumps(header)},\n"elements": {{\n{rows}\n}}}}\n')
    return out


def _stand_in(path: Path, name: str, ground_state: str) -> dict[str, Any]:
    for row in _rows(path):
        if row["material_id"] == name:
            primitive = symmetrise(_structure(row), 0.01, 0.1)
            return {
                "source_id": name,
                "space_group": primitive.space_group,
                "structure": structure_to_record(primitive.structure),
                "stands_for": ground_state,
                "above_ground_state": round(float(row["formation_energy_per_atom"]), 6),
                "energy_source": f"{path.name}, formation_energy_per_atom (VASP, PBE), eV/atom",
            }
    raise ValueError(f"{path.name} has no {name}")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(1 << 24)
    with gzip.open(path, "rt", newline="") as stream:
        yield from csv.DictReader(stream)


def _structure(row: dict[str, str]) -> Structure:
    from pymatgen.core import Lattice, Structure

    cell = json.loads(row["structure"])
    return Structure(Lattice.from_parameters(*cell["cell"]), cell["species"], cell["frac"])


def _cells(data_dir: Path, names: set[str]) -> dict[str, Structure]:
    return {
        row["material_id"]: _structure(row)
        for file in CELLS
        for row in _rows(data_dir / file)
        if row["material_id"] in names
    }
