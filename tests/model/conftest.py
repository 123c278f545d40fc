"""Fixtures of the generator's tests."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from model.generator import Generator

_PEROVSKITES = {"SrTiO3": 3.95, "BaTiO3": 4.04, "KNbO3": 4.03, "NaTaO3": 3.96, "CaZrO3": 4.13}


def cubic_perovskite(formula: str, a: float) -> Structure:
    """Build an ideal ABX3 cell from a formula such as SrTiO3 and its edge in Å."""
    symbols = re.findall("[A-Z][a-z]?", formula)
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), symbols, sites)


@pytest.fixture(scope="session")
def perovskites() -> list[Structure]:
    """Five known cubic perovskites."""
    return [cubic_perovskite(formula, a) for formula, a in _PEROVSKITES.items()]


@pytest.fixture(scope="session")
def generator() -> Generator:
    """The shipped Perov-5 generator."""
    return Generator.load("perov5")


def write_split(path: Path, rng: np.random.Generator, rows: int) -> None:
    """Write a small data set of distorted perovskites in the layout of the real files."""
    with gzip.open(path, "wt", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["material_id", "structure", "e_form_castelli_eV_per_cell", "e_form_how"])
        for i in range(rows):
            species = [*rng.choice(["Ca", "Sr", "Ba"], 1), *rng.choice(["Ti", "Zr"], 1), *"OOO"]
            frac = np.array([[0, 0, 0], [0.5] * 3, [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
            frac = (frac + rng.normal(0, 0.01, frac.shape)) % 1
            edge = float({"Ca": 3.9, "Sr": 4.0, "Ba": 4.1}[species[0]] + 0.01 * rng.normal())
            structure = {"cell": [edge] * 3 + [90.0] * 3, "species": species, "frac": frac.tolist()}
            how = "direct" if i % 3 else "heatmatch"
            writer.writerow([f"m{i}", json.dumps(structure), round(edge - 4, 4), how])


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny "perov5" data set."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    for split, rows in (("train", 96), ("val", 24), ("test", 24)):
        write_split(folder / f"perov5_{split}.csv.gz", rng, rows)
    return folder
