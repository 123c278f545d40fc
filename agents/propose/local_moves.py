"""Moves in the local codes: which site is whose, and where the sites are.

Global codes choose chemistry and cell, hardly geometry; these moves make new structure types. They
keep what symmetry the codes show: atoms that share a code go on sharing one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from model.bank import CodeBank
    from model.codes import CrystalCodes
    from model.prior.code_prior import CodePrior

_SAME_PLACE = 0.02
"""Codes nearer than this (fraction of the cell) stand for the same coordinate."""
_REDRAW_EVERY = 3
"""Polymorphs are drawn in one call of so many, more of them: few at once cost as much as many."""


class LocalMoves:
    """Moves that need to know how local codes read."""

    def __init__(
        self, prior: CodePrior, bank: CodeBank, base: CrystalCodes, *, max_atoms: int
    ) -> None:
        """Prepare the moves.

        Args:
            prior: The generator's prior, whose tables say how codes read.
            bank: Training crystals, whose geometries may be taken over.
            base: The base crystal of the episode.
            max_atoms: Largest cell taken over, unless the base crystal is larger.
        """
        self.prior = prior
        self.bank = bank
        donors = bank.donors(base)
        self.donors = donors[bank.n_atoms[donors] <= max(max_atoms, base.n_atoms)]
        tables = prior.tables
        self.role_slot = tables.role_slot.numpy()
        self.coordinate = tables.axis_coordinate.numpy().astype(np.float64) % 1.0

    def vary(
        self, codes: Sequence[CrystalCodes], share: float, rng: np.random.Generator
    ) -> list[CrystalCodes]:
        """Move a share of crystals in their local codes, each by one move drawn at random.

        All moves are equally frequent over many calls.

        Args:
            codes: Crystals.
            share: Chance that one is moved.
            rng: Source of all draws.
        """
        moves = (self.exchange_species, self.swap_sites, self.move_coordinate, self.transplant)
        result = list(codes)
        redrawn = []
        together = rng.random() * _REDRAW_EVERY < 1
        chance = _REDRAW_EVERY / (len(moves) + 1) if together else 0.0
        for i in np.flatnonzero(rng.random(len(codes)) < share).tolist():
            if rng.random() < chance:
                redrawn.append(i)
            else:
                result[i] = moves[int(rng.integers(len(moves)))](codes[i], rng)
        polymorphs = self.redraw([codes[i] for i in redrawn], seed=int(rng.integers(2**31)))
        for place, polymorph in zip(redrawn, polymorphs, strict=True):
            result[place] = polymorph
        return result

    def transplant(self, codes: CrystalCodes, rng: np.random.Generator) -> CrystalCodes:
        """Put the species on the sites and in the cell of a training crystal with as many."""
        if not len(self.donors):
            return codes
        donor = self.bank.codes(int(rng.choice(self.donors)))
        return replace(codes, local=donor.local, crystal=donor.crystal)

    def redraw(self, codes: Sequence[CrystalCodes], seed: int) -> list[CrystalCodes]:
        """Let the prior draw other geometries for the contents of cells: polymorphs.

        Args:
            codes: Crystals.
            seed: Of all draws.

        Returns:
            New codes throughout for each. A crystal two of whose tokens stand for one element, or
            a token of which has no atom, comes back as it is: its number of species would change.
        """
        cells = [self._cell(c) for c in codes]
        where = [i for i, cell in enumerate(cells) if len(cell) == codes[i].n_species]
        result = list(codes)
        if where:
            drawn = self.prior.sample_cells([cells[i] for i in where], seed=seed)
            for i, new in zip(where, drawn, strict=True):
                result[i] = new
        return result

    def _cell(self, codes: CrystalCodes) -> dict[int, int]:
        """Return the atoms of each element in the cell."""
        cell: Counter[int] = Counter()
        for slot in self.slots(codes):
            cell[self.prior.element_of(codes.species[slot])] += 1
        return dict(cell)

    def slots(self, codes: CrystalCodes) -> NDArray[np.int64]:
        """Return which species token (N,) each atom takes; -1 where a role says "no atom"."""
        table: NDArray[np.int64] = self.role_slot[codes.n_species - 1]
        return table[[atom[0] for atom in codes.local]]

    def exchange_species(self, codes: CrystalCodes, rng: np.random.Generator) -> CrystalCodes:
        """Give two species each other's sites: the role codes of one go to the atoms of the other.

        Where they have equally many atoms this permutes the sites (rocksalt stays, a perovskite's
        A and B change places); where not, it also inverts the composition (A2B becomes AB2).
        """
        slots = self.slots(codes)
        present = sorted(set(slots.tolist()) - {-1})
        if len(present) < 2:
            return codes
        one, other = rng.choice(present, size=2, replace=False)
        roles = [atom[0] for atom in codes.local]
        result = list(roles)
        for source, target in ((one, other), (other, one)):
            values = [roles[i] for i in np.flatnonzero(slots == target)]
            for place, atom in enumerate(np.flatnonzero(slots == source)):
                result[atom] = values[place % len(values)]
        return _with_roles(codes, result)

    def swap_sites(self, codes: CrystalCodes, rng: np.random.Generator) -> CrystalCodes:
        """Exchange the roles of two atoms of different species: another order on the same sites."""
        slots = self.slots(codes)
        pairs = [
            (i, j)
            for i in range(len(slots))
            for j in range(i + 1, len(slots))
            if slots[i] != slots[j]
        ]
        if not pairs:
            return codes
        i, j = pairs[int(rng.integers(len(pairs)))]
        roles = [atom[0] for atom in codes.local]
        roles[i], roles[j] = roles[j], roles[i]
        return _with_roles(codes, roles)

    def move_coordinate(self, codes: CrystalCodes, rng: np.random.Generator) -> CrystalCodes:
        """Move one coordinate of the crystal: every place of one axis code gets another code.

        Equal codes stay equal, and codes at x and 1 - x move in opposite directions, so mirror
        planes and inversion centres through the origin survive. The coordinate of the origin
        atom, 0, stays: moving it would only shift the crystal.
        """
        local = np.array(codes.local)
        places = self.coordinate[local[:, 1:]]  # (N, 3)
        values = sorted({int(c) for c in local[:, 1:].ravel() if _apart(self.coordinate[c], 0.0)})
        if not values:
            return codes
        old = values[int(rng.integers(len(values)))]
        used = np.flatnonzero(_apart(self.coordinate, self.coordinate[old]))
        new = int(rng.choice(used))
        moved = local.copy()
        same = ~_apart(places, self.coordinate[old])
        mirrored = ~_apart(places, 1.0 - self.coordinate[old]) & ~same
        opposite = int(np.argmin(_distance(self.coordinate, 1.0 - self.coordinate[new])))
        axes = moved[:, 1:]
        axes[same], axes[mirrored] = new, opposite
        return replace(codes, local=tuple(map(tuple, moved.tolist())))


def _with_roles(codes: CrystalCodes, roles: list[int]) -> CrystalCodes:
    local = tuple((role, *atom[1:]) for role, atom in zip(roles, codes.local, strict=True))
    return replace(codes, local=local)


def _distance(x: NDArray[np.float64], y: float) -> NDArray[np.float64]:
    """Return periodic distances of fractional coordinates."""
    gap = np.abs(x - y) % 1.0
    return np.minimum(gap, 1.0 - gap)


def _apart(x: NDArray[np.float64], y: float) -> NDArray[np.bool_]:
    return _distance(x, y) > _SAME_PLACE
