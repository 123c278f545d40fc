"""The discrete space of one episode: the global genes around one base crystal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.propose.settings import BaseSettings

if TYPE_CHECKING:
    from agents.propose.objectives import Objectives
    from agents.propose.proposer import Result
    from model.codes import CrystalCodes
    from model.generator import Generator

Genes = tuple[int, ...]

_ENUMERABLE = 1 << 16
_UNSEEN_DRAWS = 1000


class NoBaseCrystal(ValueError):
    """No training crystal of the code bank fits the campaign's restrictions."""


@dataclass(frozen=True)
class SearchSpace:
    """All crystals that share one base crystal's local codes.

    Attributes:
        base_id: Identifier of the base crystal, in the code bank or of a person's own.
        base: Its codes; the local ones stay frozen.
        sizes: (G,) number of values of each global gene.
        donors: (D, G) global genes of the training crystals with as many species as the base.
        earlier: What the campaign learned before the episode started, from any base; methods that
            start cold do not look at it.
        objectives: What is minimised besides the fitness; None for nothing.
    """

    base_id: str
    base: CrystalCodes
    sizes: Genes
    donors: NDArray[np.int64]
    earlier: tuple[Result, ...] = ()
    objectives: Objectives | None = None

    @property
    def volume(self) -> int:
        """Number of distinct points."""
        return math.prod(self.sizes)

    def uniform(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw n points (n, G), every gene uniformly over its range."""
        return rng.integers(0, self.sizes, size=(n, len(self.sizes)))

    def recombined(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draw n points (n, G), every gene from a training crystal of its own, at its place."""
        rows = rng.integers(0, len(self.donors), size=(n, len(self.sizes)))
        return self.donors[rows, np.arange(len(self.sizes))]

    def unseen(self, rng: np.random.Generator, seen: Collection[Genes]) -> Genes | None:
        """Draw uniformly among the points not seen yet.

        Args:
            rng: Source of the draw.
            seen: Points that may not be returned.

        Returns:
            A new point; None when a space small enough to enumerate is used up, or a large one
            gives nothing new in 1000 draws.
        """
        for _ in range(_UNSEEN_DRAWS):
            genes = as_points(self.uniform(rng, 1))[0]
            if genes not in seen:
                return genes
        if self.volume > _ENUMERABLE:
            return None
        points = itertools.product(*(range(size) for size in self.sizes))
        left = [point for point in points if point not in seen]
        return left[int(rng.integers(len(left)))] if left else None


def as_points(genes: NDArray[np.integer]) -> list[Genes]:
    """Return the rows of an array (n, G) as hashable tuples of plain integers."""
    return list(map(tuple, genes.tolist()))


def draw_base(generator: Generator, rng: np.random.Generator, restriction: BaseSettings) -> int:
    """Draw the base crystal of an episode from the training crystals of the code bank.

    Args:
        generator: The generator with its code bank.
        rng: Source of the draw.
        restriction: Which crystals may be drawn.

    Returns:
        Row number in the code bank.

    Raises:
        NoBaseCrystal: Nothing in the bank fits.
    """
    bank = generator.bank
    rows = bank.rows("train")
    fits = bank.n_species[rows] >= restriction.min_species
    if restriction.max_species is not None:
        fits &= bank.n_species[rows] <= restriction.max_species
    if restriction.max_atoms is not None:
        fits &= bank.n_atoms[rows] <= restriction.max_atoms
    eligible = rows[fits]
    if not len(eligible):
        raise NoBaseCrystal(
            f"none of the {len(rows)} training crystals of {generator.name} fits "
            f"({restriction!r}): widen propose.base"
        )
    return int(rng.choice(eligible))


def search_space(generator: Generator, row: int) -> SearchSpace:
    """Describe the space around one crystal of the code bank.

    Args:
        generator: The generator with its code bank.
        row: Row number of the base crystal.
    """
    return space_around(generator, str(generator.bank.ids[row]), generator.bank.codes(row))


def space_around(generator: Generator, base_id: str, base: CrystalCodes) -> SearchSpace:
    """Describe the space around any crystal.

    Args:
        generator: The generator with its code bank.
        base_id: What the base is called in records.
        base: Its codes.
    """
    return SearchSpace(
        base_id=base_id,
        base=base,
        sizes=tuple(generator.gene_sizes(base)),
        donors=generator.bank.global_genes(generator.bank.donors(base)),
    )
