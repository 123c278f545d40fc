"""A generator, a potential and references small enough to be recounted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Element, Lattice, Structure

from agents.compare.evaluation import Evaluator
from agents.relax.potential import Potential, PotentialResult
from agents.relax.references import ElementalReference, ElementalReferences
from agents.relax.settings import RelaxSettings
from model.codes import CrystalCodes

CATIONS = ("Li", "Na", "K", "Mg", "Ca", "Al", "Ga", "Si")
ANIONS = ("O", "S", "F", "Cl", "N", "P", "Se", "Br")
SIZES = (8, 8, 6)


class ToyBank:
    """Forty training and twenty held-out crystals of two species."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self._codes = [self._draw(rng, 2 + i % 3) for i in range(60)]
        self.ids = np.array([f"toy-{i}" for i in range(60)])
        self.role = np.array(["train"] * 40 + ["val"] * 20)
        self.n_species = np.array([2] * 60)
        self.n_atoms = np.array([codes.n_atoms for codes in self._codes])
        self.formulas = np.array(["NaCl"] * 60)

    @staticmethod
    def _draw(rng: np.random.Generator, atoms: int) -> CrystalCodes:
        first, second, cell = rng.integers(0, SIZES).tolist()
        local = tuple((i % 2, i, 0, 0) for i in range(atoms))
        return CrystalCodes(species=((first,), (second,)), crystal=(cell,), local=local)

    def codes(self, index: int) -> CrystalCodes:
        return self._codes[index]

    def rows(self, role: str) -> np.ndarray:
        return np.flatnonzero(self.role == role)

    def donors(self, codes: CrystalCodes) -> np.ndarray:
        return self.rows("train")

    def global_genes(self, rows: Sequence[int]) -> np.ndarray:
        return np.array([self._codes[int(row)].global_genes for row in rows])


class ToyGenerator:
    """Two genes name the elements, the third the cell: 0 cannot be built, 1 is far too small."""

    name = "toy"
    version = "toy-1"
    prior = None

    def __init__(self) -> None:
        self.bank = ToyBank()

    def gene_sizes(self, codes: CrystalCodes) -> tuple[int, ...]:
        return SIZES

    def decode(self, codes: Sequence[CrystalCodes]) -> list[SimpleNamespace]:
        return [self._decode(c) for c in codes]

    def _decode(self, codes: CrystalCodes) -> SimpleNamespace:
        first, second, cell = codes.global_genes
        if cell == 0:
            return SimpleNamespace(structure=None, error="its cell cannot be built")
        edge = 0.8 if cell == 1 else 3.5 + 0.3 * cell
        species = [CATIONS[first], ANIONS[second], ANIONS[second], CATIONS[first]]
        sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0]]
        n = codes.n_atoms
        structure = Structure(Lattice.cubic(edge), species[:n], sites[:n])
        return SimpleNamespace(structure=structure, error=None)


class ToyPotential(Potential):
    """Energy from the elements and the volume; remembers every crystal it was asked for."""

    name = "toy"
    version = "1"

    def __init__(self) -> None:
        self.elements = frozenset(CATIONS + ANIONS) - {"Br"}
        self.asked: list[Structure] = []

    def energies(self, structures: Sequence[Structure]) -> np.ndarray:
        self.require_elements(structures)
        self.asked += list(structures)
        return np.array([energy_of(structure) for structure in structures])

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        zeros = np.zeros((3, 3))
        return [
            PotentialResult(float(energy), np.zeros((len(s), 3)), zeros)
            for s, energy in zip(structures, self.energies(structures))
        ]


def energy_of(structure: Structure) -> float:
    """Return an energy (eV) that is below zero for about half of all crystals."""
    numbers = np.array(structure.atomic_numbers)
    return float(len(numbers) * np.sin(numbers.sum() + structure.volume))


@pytest.fixture
def toy_generator() -> ToyGenerator:
    return ToyGenerator()


@pytest.fixture
def toy_potential() -> ToyPotential:
    return ToyPotential()


@pytest.fixture
def toy_references() -> ElementalReferences:
    """All elements at 0.1 eV/atom."""
    elements = {
        symbol: ElementalReference(symbol, 0.1, "toy", {}, 1, "made up")
        for symbol in sorted(Element.from_Z(z).symbol for z in range(1, 90))
    }
    return ElementalReferences({"potential": "toy", "version": "1"}, elements, "f" * 64)


@pytest.fixture
def evaluator(
    toy_generator: ToyGenerator, toy_potential: ToyPotential, toy_references: ElementalReferences
) -> Evaluator:
    return Evaluator(toy_generator, toy_potential, toy_references, RelaxSettings())
