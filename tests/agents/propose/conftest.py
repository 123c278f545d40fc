"""A small generator without weights, for tests about the logic of proposing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from agents.propose.space import SearchSpace
from model.codes import CrystalCodes
from model.generator import Generator

SIZES = (6,) * 7
ELEMENTS = ("Li", "Na", "K", "Rb", "Cs", "Mg")


def make_codes(genes: Sequence[int], atoms: int = 3) -> CrystalCodes:
    """Return codes with two species tokens of two levels and a crystal token of three."""
    return CrystalCodes(
        species=(tuple(genes[:2]), tuple(genes[2:4])),
        crystal=tuple(genes[4:]),
        local=tuple((0, i, i, i) for i in range(atoms)),
    )


class FakeBank:
    """Thirty training and five validation crystals."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self._codes = [make_codes(rng.integers(0, 6, 7), atoms=2 + i % 3) for i in range(35)]
        self.ids = np.array([f"crystal-{i}" for i in range(35)])
        self.role = np.array(["train"] * 30 + ["val"] * 5)
        self.n_species = np.array([2] * 35)
        self.n_atoms = np.array([codes.n_atoms for codes in self._codes])

    def codes(self, index: int) -> CrystalCodes:
        return self._codes[index]

    def global_genes(self, rows: Sequence[int]) -> np.ndarray:
        return np.array([self._codes[int(row)].global_genes for row in rows])

    def rows(self, role: str) -> np.ndarray:
        return np.flatnonzero(self.role == role)

    def donors(self, codes: CrystalCodes) -> np.ndarray:
        return self.rows("train")


@dataclass
class FakeHead:
    """Predicts the sum of the features."""

    version: str = "shipped"
    proven: tuple[str, ...] = ()
    uncalibrated: tuple[str, ...] = ()

    def predict(self, features: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        mean = features.sum(1)
        return {"formation_energy_per_atom@toy-1": (mean, torch.ones_like(mean))}


class FakeGenerator:
    """Decodes the first gene into an element; crystals whose last gene is 0 cannot be built."""

    name = "toy"
    version = "toy-generator"

    def __init__(self) -> None:
        self.bank = FakeBank()
        self.head = FakeHead()
        self.decode_calls: list[int] = []

    def gene_sizes(self, codes: CrystalCodes) -> tuple[int, ...]:
        return SIZES

    def features(self, codes: Sequence[CrystalCodes]) -> torch.Tensor:
        return torch.tensor([c.global_genes for c in codes], dtype=torch.float32)

    def decode(self, codes: Sequence[CrystalCodes]) -> list[SimpleNamespace]:
        self.decode_calls.append(len(codes))
        return [self._decode(c.global_genes) for c in codes]

    def _decode(self, genes: tuple[int, ...]) -> SimpleNamespace:
        if genes[-1] == 0:
            return SimpleNamespace(structure=None, error="its cell cannot be built")
        species = [ELEMENTS[genes[0]], "Cl"]
        structure = Structure(Lattice.cubic(5), species, [[0, 0, 0], [0.5, 0.5, 0.5]])
        return SimpleNamespace(structure=structure, error=None)


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def space(generator: FakeGenerator) -> SearchSpace:
    bank = generator.bank
    donors = np.array([bank.codes(int(i)).global_genes for i in bank.rows("train")])
    return SearchSpace("crystal-0", bank.codes(0), SIZES, donors)


@pytest.fixture(scope="session")
def shipped() -> Generator:
    """The shipped Perov-5 generator, with its prior."""
    return Generator.load("perov5")
