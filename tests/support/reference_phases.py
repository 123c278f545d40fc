"""A small reference collection whose energies are written down, and a potential that gives them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Lattice, Structure

from agents.relax.potential import Potential, PotentialResult
from agents.relax.references import ElementalReferences

COLUMNS = ("material_id", "formula", "natoms", "structure")
#: Formation energies of single points, and what relaxing gains, eV/atom.
COLLECTION = {
    "mp-1": ("Na", 0.02, 0.01),
    "mp-2": ("Cl", 0.05, 0.05),
    "mp-3": ("NaCl", -2.00, 0.02),
    "mp-4": ("NaCl", -1.97, 0.06),
    "mp-5": ("NaCl", -1.50, 0.03),
    "mp-6": ("NaCl3", -1.10, 0.01),
    "mp-7": ("NaCl3", -1.03, 0.01),
    "mp-8": ("Na3Cl", -0.20, 0.01),
    "mp-9": ("KCl", -2.20, 0.00),
    "mp-10": ("NaKCl2", -2.05, 0.05),
}


def crystal(formula: str, number: int) -> Structure:
    """Return some crystal of a formula whose volume says which one it is."""
    symbols = [str(e) for e, n in Composition(formula).items() for _ in range(int(n))]
    coordinates = np.linspace(0, 0.9, len(symbols))[:, None] * np.ones(3)
    return Structure(Lattice.cubic(4 + number / 100), symbols, coordinates)


def write_table(path: Path, rows: dict[str, Structure]) -> None:
    with gzip.open(path, "wt", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        for name, one in rows.items():
            record = {
                "cell": one.lattice.parameters,
                "species": [s.specie.symbol for s in one],
                "frac": one.frac_coords.tolist(),
            }
            formula = one.composition.reduced_formula
            table.writerow(dict(zip(COLUMNS, (name, formula, len(one), json.dumps(record)))))


class Tabulated(Potential):
    """Claims to be CHGNet and gives every crystal of the collection its written energy."""

    name = "chgnet"
    version = "0.3.0"
    elements = frozenset({"Na", "Cl", "K"})

    def __init__(self, energies: dict[str, float] | None = None) -> None:
        self.references = ElementalReferences.load("chgnet-0.3.0")
        self.formation = {name: row[1] for name, row in COLLECTION.items()} | (energies or {})
        self.asked: list[str] = []

    def energies(self, structures: Sequence[Structure]) -> np.ndarray:
        self.require_elements(structures)
        return np.array([self._energy(structure) for structure in structures])

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        raise AssertionError("single points need no forces")

    def total(self, structure: Structure, formation: float) -> float:
        reference = sum(self.references[s.specie.symbol].energy_per_atom for s in structure)
        return reference + formation * len(structure)

    def _energy(self, structure: Structure) -> float:
        name = number_of(structure)
        self.asked.append(name)
        if self.formation[name] > 100:
            raise RuntimeError("the graph of this crystal has no edge")
        return self.total(structure, self.formation[name])


def number_of(structure: Structure) -> str:
    """Return the id that a crystal of the collection has."""
    return f"mp-{round((structure.lattice.a - 4) * 100)}"
