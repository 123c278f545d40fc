"""Crystals of the textbooks, and what sources of data would send of them."""

from __future__ import annotations

import csv
import io
import json
import warnings
import zipfile
from functools import lru_cache
from typing import Any

from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

#: Left-handed alpha quartz, space group P3_121 (152); its mirror image has 154.
QUARTZ = Structure.from_spacegroup(
    "P3_121",
    Lattice.hexagonal(4.913, 5.405),
    ["Si", "O"],
    [[0.4697, 0.0, 1 / 3], [0.4135, 0.2669, 0.4524]],
)


@lru_cache(maxsize=4)
def crystals(n: int) -> dict[str, Structure]:
    """Return crystals that differ: rock salts of growing cells, and quartz as the third."""
    found = {}
    for number in range(n):
        species = ["Na", "Cl"] if number % 2 else ["K", "Br"]
        half = (5.0 + number / 100) / 2
        cell = [[0, half, half], [half, 0, half], [half, half, 0]]
        found[f"mp-{number + 1}"] = Structure(cell, species, [[0, 0, 0], [0.5] * 3])
    if n > 2:
        found["mp-3"] = QUARTZ
    return found


_CIFS: dict[int, tuple[Structure, str]] = {}


def _cif(structure: Structure) -> str:
    known = id(structure)
    if known not in _CIFS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _CIFS[known] = structure, str(CifWriter(structure))
    return _CIFS[known][1]


def cdvae_csv(known: dict[str, Structure], **columns: Any) -> bytes:
    """Write crystals as CDVAE's repository has them."""
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["", "material_id", *columns, "pretty_formula", "elements", "cif"])
    for number, (name, structure) in enumerate(known.items()):
        cif = _cif(structure)
        formula = structure.composition.formula.replace(" ", "")
        values = [column[number] for column in columns.values()]
        table.writerow([number, name, *values, formula, sorted(structure.symbol_set), cif])
    return stream.getvalue().encode()


def summary(name: str, structure: Structure, **changed: Any) -> dict[str, Any]:
    """Write a crystal as the Materials Project's API sends it."""
    return {
        "builder_meta": {"license": "BY-C", "database_version": None},
        "symmetry": {"number": 225, "symbol": "Fm-3m"},
        "material_id": name,
        "structure": structure.as_dict(),
        "formation_energy_per_atom": -2.0,
        "band_gap": 5.0,
        "energy_above_hull": 0.0,
        "theoretical": False,
        **changed,
    }


def c2db_zip(entries: list[dict[str, Any]], member: str = "c2db_atoms.json") -> bytes:
    """Write entries as JARVIS distributes them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, json.dumps(entries))
    return stream.getvalue()


def c2db_entry(name: str, structure: Structure, **changed: Any) -> dict[str, Any]:
    """Write a crystal as JARVIS has it: Cartesian or fractional, and "na" for what is unknown."""
    atoms = {
        "lattice_mat": structure.lattice.matrix.tolist(),
        "coords": structure.frac_coords.tolist(),
        "elements": [site.specie.symbol for site in structure],
        "abc": list(structure.lattice.abc),
        "angles": list(structure.lattice.angles),
        "cartesian": False,
        "props": [""] * len(structure),
    }
    values = {"gap": 1.5, "etot": -20.5, "wf": "na", "efermi": -1.0, "raman_info": {}}
    return {"id": name, "atoms": atoms, **values, **changed}


def optimade_entry(name: str, structure: Structure, **changed: Any) -> dict[str, Any]:
    """Write a crystal as an OPTIMADE provider sends it."""
    symbols = sorted(structure.symbol_set)
    attributes = {
        "lattice_vectors": structure.lattice.matrix.tolist(),
        "cartesian_site_positions": structure.cart_coords.tolist(),
        "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in symbols],
        "species_at_sites": [site.specie.symbol for site in structure],
        "_exmpl_band_gap": 5.0,
        **changed,
    }
    return {"id": name, "type": "structures", "attributes": attributes}
