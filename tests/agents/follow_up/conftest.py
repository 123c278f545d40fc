"""Crystals and potentials whose answers are known otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from agents.follow_up.settings import FollowUpSettings
from agents.relax.potential import Potential, PotentialResult, load_potential
from tests.agents.relax.emt import EMTPotential

SPRING = 5.0  # eV/Å^2
EDGE = 3.0  # Å


class Springs(Potential):
    """A simple cubic crystal whose nearest neighbours pull at each other's displacements.

    E = K/2 sum |u_i - u_j|^2 over the bonds, so that each of the three polarisations has the
    frequencies m w^2 = 2K sum_a (1 - cos q_a).
    """

    name = "springs"
    version = "1"
    elements = frozenset({"Al"})

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        return [self._evaluate(structure) for structure in structures]

    def _evaluate(self, structure: Structure) -> PotentialResult:
        sites = np.rint(structure.cart_coords / EDGE).astype(int)
        size = np.rint(np.diag(structure.lattice.matrix) / EDGE).astype(int)
        index = {tuple(site % size): number for number, site in enumerate(sites)}
        moved = structure.cart_coords - EDGE * sites
        energy, forces = 0.0, np.zeros_like(moved)
        for number, site in enumerate(sites):
            for axis in np.eye(3, dtype=int):
                other = index[tuple((site + axis) % size)]
                stretch = moved[other] - moved[number]
                energy += SPRING / 2 * float(stretch @ stretch)
                forces[number] += SPRING * stretch
                forces[other] -= SPRING * stretch
        return PotentialResult(energy, forces, np.zeros((3, 3)))


@pytest.fixture
def springs() -> Potential:
    return Springs()


@pytest.fixture
def emt() -> EMTPotential:
    return EMTPotential()


@pytest.fixture(scope="session")
def chgnet() -> Potential:
    """CHGNet, through its gate."""
    return load_potential("chgnet")


@pytest.fixture
def small() -> FollowUpSettings:
    """Settings whose supercells hold the zone boundary and little else."""
    return FollowUpSettings(
        max_hits=1, supercell_length=6.0, supercell_atoms=70, mesh=4, displacements=(0.02,)
    )


def primitive(group: str, a: float, species: list[str], sites: list[list[float]]) -> Structure:
    cubic = Structure.from_spacegroup(group, Lattice.cubic(a), species, sites)
    return cubic.get_primitive_structure()


def perovskite(a_site: str, b_site: str, a: float) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), [a_site, b_site, "O", "O", "O"], sites)
