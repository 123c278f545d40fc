"""A world of codes so small that every crystal in it can be listed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from model.bank import CodeBank
from model.codes import CrystalCodes
from model.prior.code_prior import CodePrior
from model.prior.network import PriorNetwork
from model.prior.neutrality import oxidation_states
from model.prior.settings import PriorConfig, Temperatures
from model.prior.tables import NetworkTables, element_features, element_order

STRONTIUM, TITANIUM, OXYGEN = 38, 22, 8
SMALL = PriorConfig(width=16, heads=2, blocks=1, expansion=2, dropout=0.0, sampling=Temperatures())


def make_tables(*, max_species: int, max_atoms: int, axes: int, levels: int) -> NetworkTables:
    """Two-by-two tokens (strontium, titanium, oxygen, oxygen); two role codes for each slot."""
    slot = torch.arange(2 * max_species) // 2
    role_slot = torch.stack(
        [torch.where(slot <= s, slot, torch.zeros_like(slot)) for s in range(max_species)]
    )
    return NetworkTables(
        role_slot=role_slot,
        token_element=torch.tensor([[STRONTIUM, TITANIUM], [OXYGEN, OXYGEN]]),
        token_seen=torch.ones(2, 2, dtype=torch.bool),
        axis_coordinate=torch.arange(axes) / axes,
        element_order=element_order(),
        element_features=element_features(),
        oxidation_states=oxidation_states(),
        crystal_codes=torch.tensor([2]),
        crystal_levels=torch.tensor([levels]),
        max_atoms=torch.tensor([max_atoms]),
    )


def make_prior(tables: NetworkTables, seed: int = 0) -> CodePrior:
    """A prior with random weights, large enough to be far from uniform."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PriorNetwork(SMALL, tables)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(3).add_(0.3 * torch.randn_like(parameter))
            parameter.data = parameter.data.half().float()
    return CodePrior(network, tables, SMALL, card={"rows": {"train": 0}})


@pytest.fixture(scope="session")
def tiny() -> CodePrior:
    """At most two species and two atoms: 4,352 crystals in all."""
    return make_prior(make_tables(max_species=2, max_atoms=2, axes=2, levels=1))


@pytest.fixture(scope="session")
def every_crystal(tiny: CodePrior) -> list[CrystalCodes]:
    """All crystals of the tiny world, atoms in the order of their slots."""
    tokens = list(itertools.product(range(2), repeat=2))
    axes = list(itertools.product(range(2), repeat=3))
    result = []
    for slots in ((0,), (0, 0), (0, 1)):
        table = tiny.tables.role_slot[max(slots)].tolist()
        roles = [[r for r, s in enumerate(table) if s == slot] for slot in slots]
        species = itertools.product(tokens, repeat=len(set(slots)))
        atoms = itertools.product(*(itertools.product(r, axes) for r in roles))
        for chemistry, cell, geometry in itertools.product(species, range(2), list(atoms)):
            local = tuple((role, *places) for role, places in geometry)
            result.append(CrystalCodes(species=chemistry, crystal=(cell,), local=local))
    return result


@pytest.fixture(scope="session")
def roomy() -> CodePrior:
    """Up to three species and eight atoms."""
    return make_prior(make_tables(max_species=3, max_atoms=8, axes=4, levels=2), seed=1)


def ruled_bank(n: int, seed: int = 0) -> CodeBank:
    """Crystals with rules to learn: all axes of an atom agree, oxygen comes with two atoms."""
    random = np.random.default_rng(seed)
    codes = []
    for _ in range(n):
        axis = [int(a) for a in np.sort(random.integers(4, size=2))]
        metal = int(random.integers(2))
        codes.append(
            CrystalCodes(
                species=((0, metal), (1, metal)),
                crystal=(metal, int(random.integers(2))),
                local=((metal, 0, 0, 0), *((2 + metal, a, a, a) for a in axis)),
            )
        )
    return CodeBank.from_codes(
        codes,
        ids=[str(i) for i in range(n)],
        formulas=["SrO2"] * n,
        role=["val" if i % 4 == 0 else "train" for i in range(n)],
        properties={},
    )


@pytest.fixture(scope="session")
def bank() -> CodeBank:
    """400 crystals of `ruled_bank`, a quarter of them held out."""
    return ruled_bank(400)
