"""Building the shipped table of the elements' reference crystals for DFT."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

from agents.verify.symmetry import symmetrise
from db.crystals import structure_to_record

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


def build(data_dir: Path, out: Path) -> Path:
    """Write the primitive cell of every element's reference phase.

    The phase is the one that the Materials Project measures formation energies against, except for
    `COMMON_PHASES`. Energies are not taken over: they are computed at the level of the campaign.

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
    table = {}
    for element, name in sorted(wanted.items()):
        primitive = symmetrise(cells[name], 0.1, 0.1)
        table[element] = {
            "source_id": name,
            "space_group": primitive.space_group,
            "structure": structure_to_record(primitive.structure),
        }
    header = {"source": SOURCE, "units": "Å", "common_phases": COMMON_PHASES}
    rows = ",\n".join(f"{json.dumps(e)}: {json.dumps(record)}" for e, record in table.items())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f'{{"header": {json.dumps(header)},\n"elements": {{\n{rows}\n}}}}\n')
    return out


def _cells(data_dir: Path, names: set[str]) -> dict[str, Any]:
    from pymatgen.core import Lattice, Structure

    csv.field_size_limit(1 << 24)
    found = {}
    for file in CELLS:
        with gzip.open(data_dir / file, "rt", newline="") as stream:
            for row in csv.DictReader(stream):
                if row["material_id"] in names:
                    cell = json.loads(row["structure"])
                    lattice = Lattice.from_parameters(*cell["cell"])
                    structure = Structure(lattice, cell["species"], cell["frac"])
                    found[row["material_id"]] = structure
    return found
