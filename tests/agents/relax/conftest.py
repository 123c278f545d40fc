"""Crystals and stand-in potentials of the relaxation tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from agents.relax.potential import Potential, PotentialResult, load_potential
from agents.relax.references import ElementalReferences

KNOWN: dict[str, Callable[[], Structure]] = {
    "NaCl": lambda: _primitive("Fm-3m", 5.692, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "Si": lambda: _primitive("Fd-3m", 5.469, ["Si"], [[0, 0, 0]]),
    "GaAs": lambda: _primitive("F-43m", 5.75, ["Ga", "As"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "SrTiO3": lambda: _perovskite("Sr", "Ti", 3.945),
    "LaAlO3": lambda: _perovskite("La", "Al", 3.811),
}


def _primitive(group: str, a: float, species: list[str], sites: list[list[float]]) -> Structure:
    cubic = Structure.from_spacegroup(group, Lattice.cubic(a), species, sites)
    return cubic.get_primitive_structure()


def _perovskite(a_site: str, b_site: str, a: float) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), [a_site, b_site, "O", "O", "O"], sites)


def rattled(structure: Structure, amount: float = 0.08, volume: float = 1.0) -> Structure:
    """Return the crystal with every atom displaced (Å) and the volume scaled; always the same."""
    moved = structure.copy()
    moved.scale_lattice(structure.volume * volume)
    shift = np.random.default_rng(7).normal(0, amount, (len(structure), 3))
    return Structure(
        moved.lattice, moved.species, moved.cart_coords + shift, coords_are_cartesian=True
    )


class StandIn(Potential):
    """A potential whose results a test writes down; it claims to be CHGNet 0.3.0."""

    name = "chgnet"
    version = "0.3.0"

    def __init__(self, answer: Callable[[Structure], PotentialResult], real: Potential) -> None:
        self.answer = answer
        self.elements = real.elements
        self.asked: list[Structure] = []

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        self.asked += list(structures)
        return [self.answer(structure) for structure in structures]


@pytest.fixture
def crystal() -> Callable[[str], Structure]:
    """Build a known crystal at its PBE lattice constant by formula."""
    return lambda name: KNOWN[name]()


@pytest.fixture(scope="session")
def chgnet() -> Potential:
    """CHGNet, through its gate."""
    return load_potential("chgnet")


@pytest.fixture(scope="session")
def references(chgnet: Potential) -> ElementalReferences:
    """The shipped elemental references of CHGNet."""
    return ElementalReferences.load(chgnet)


@pytest.fixture
def rattle() -> Callable[..., Structure]:
    """See `rattled`."""
    return rattled


@pytest.fixture
def stand_in(chgnet: Potential) -> Callable[[Callable[[Structure], Any]], StandIn]:
    """Build a potential from a function of the crystal."""
    return lambda answer: StandIn(answer, chgnet)
