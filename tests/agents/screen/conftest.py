"""Small stand-ins for the generator and its head, and crystals used by several tests."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from model.codes import CrystalCodes
from model.generator import Decoded, EncodingError


def perovskite(a: float, species: Sequence[str]) -> Structure:
    """A cubic perovskite, species in the order A, B, X."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), [species[0], species[1], *[species[2]] * 3], sites)


def rock_salt(a: float, species: Sequence[str]) -> Structure:
    """Primitive cell of rock salt."""
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, species, [[0, 0, 0], [0.5, 0.5, 0.5]])


class FakeHead:
    """Predicts the first feature for one target and its double for another."""

    version = "fakehead0001"
    targets = ["formation_energy_per_atom@chgnet-0.3.0", "formation_energy_per_atom@castelli2012"]
    proven: Sequence[str] = ()
    uncalibrated: Sequence[str] = ()

    def predict(self, features: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        mean = features[:, 0]
        std = torch.full_like(mean, 0.25)
        return {self.targets[0]: (mean, std), self.targets[1]: (2 * mean, std)}


class FakeGenerator:
    """Knows a fixed list of crystals; the code of each is its place in the list."""

    name = "fake"
    version = "fakegen00001"

    def __init__(self, known: dict[str, Structure], roles: Sequence[str]) -> None:
        self.known = list(known.values())
        self.decoded: list[int] = []
        self.head = FakeHead()
        self.bank = SimpleNamespace(
            ids=np.array(list(known)),
            formulas=np.array([s.composition.reduced_formula for s in self.known]),
            role=np.array(roles),
            codes=self.codes,
        )

    def codes(self, row: int) -> CrystalCodes:
        return CrystalCodes(species=((row,),), crystal=(0,), local=((0, 0, 0, 0),))

    def encode(self, structures: Sequence[Structure]) -> list[CrystalCodes | EncodingError]:
        formulas = list(self.bank.formulas)
        return [
            self.codes(formulas.index(formula))
            if (formula := structure.composition.reduced_formula) in formulas
            else EncodingError(f"{formula} is unknown to this generator")
            for structure in structures
        ]

    def decode(self, codes: Sequence[CrystalCodes]) -> list[Decoded]:
        rows = [c.species[0][0] for c in codes]
        self.decoded.extend(rows)
        return [Decoded(self.known[row].copy()) for row in rows]

    def features(self, codes: Sequence[CrystalCodes]) -> torch.Tensor:
        return torch.tensor([[-float(c.species[0][0])] for c in codes])


@pytest.fixture
def generator() -> FakeGenerator:
    """A generator trained on SrTiO3 and BaTiO3, with NaCl held out."""
    known = {
        "train-1": perovskite(3.95, ["Sr", "Ti", "O"]),
        "train-2": perovskite(4.05, ["Ba", "Ti", "O"]),
        "val-1": rock_salt(5.69, ["Na", "Cl"]),
    }
    return FakeGenerator(known, ["train", "train", "val"])
