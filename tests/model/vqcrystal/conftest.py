"""Small random crystals and a small network for the tests of VQCrystal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.data.canonical import Crystal, canonical
from model.data.tensors import CrystalTensors
from model.vqcrystal.network import VQCrystalNetwork
from model.vqcrystal.settings import VQCrystalConfig

ELEMENTS = (3, 8, 11, 14, 17, 22, 26, 38)
SMALL = VQCrystalConfig(
    max_atoms=8,
    width=16,
    heads=2,
    local_blocks=1,
    decoder_blocks=1,
    cutoff=3.5,
    code_dim=8,
    local_codes=16,
    local_levels=3,
    global_codes=16,
    global_levels=4,
)


def random_crystal(rng: np.random.Generator, atoms: int) -> Crystal:
    """Return a random triclinic crystal without any symmetry."""
    edge = 2.5 * atoms ** (1 / 3)
    return Crystal(
        numbers=rng.choice(ELEMENTS, atoms),
        frac=rng.random((atoms, 3)),
        cell=np.concatenate([edge * rng.uniform(0.8, 1.2, 3), rng.uniform(75, 105, 3)]),
    )


@pytest.fixture(scope="session")
def crystals() -> list[Crystal]:
    """Forty random crystals of 2 to 8 atoms."""
    rng = np.random.default_rng(4)
    return [random_crystal(rng, int(rng.integers(2, 9))) for _ in range(40)]


@pytest.fixture(scope="session")
def tensors(crystals: list[Crystal]) -> CrystalTensors:
    """The same, padded."""
    return CrystalTensors.from_canonical([canonical(c) for c in crystals])


@pytest.fixture
def network(tensors: CrystalTensors) -> VQCrystalNetwork:
    """A network with random weights and placed codebooks, in evaluation mode."""
    torch.manual_seed(1)
    model = VQCrystalNetwork(SMALL, n_targets=2)
    model.fit_scales(tensors)
    model.place_codebooks(tensors, batch_size=8, random=torch.Generator().manual_seed(0))
    return model.eval()
