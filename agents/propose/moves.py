"""Moves in the global codes: whole species tokens and the crystal token are the genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from model.codes import CrystalCodes


@dataclass(frozen=True)
class Variation:
    """Chances of the moves in the global codes.

    Attributes:
        crossover: Chance that a child has a second parent, of which it takes each token with
            chance one half.
        token: Chance per species token that it is taken from a source crystal.
        crystal: Chance that the crystal token is taken from a source crystal.
        whole_tokens: The levels of a token stay together, because they mean an element or a cell
            together; False exchanges every level on its own.
    """

    crossover: float
    token: float
    crystal: float
    whole_tokens: bool = True


@dataclass(frozen=True)
class Child:
    """A crystal made from others.

    Attributes:
        codes: Its codes.
        parents: Places of the parents that it may have tokens of: the first, whose local codes it
            keeps, and the second where they were crossed.
    """

    codes: CrystalCodes
    parents: tuple[int, ...]


def vary(
    parents: Sequence[CrystalCodes],
    sources: Sequence[NDArray[np.integer]],
    n: int,
    variation: Variation,
    rng: np.random.Generator,
) -> list[Child]:
    """Make children by exchanging tokens between parents and from source crystals.

    A child keeps the local codes of its first parent; tokens come from the same place of another
    crystal, so they stand at their place in the order of the species. A child that no chance
    changed gets one token from a source.

    Args:
        parents: P crystals with equally many species.
        sources: Each (D, G) global genes with equally many species; each exchanged token comes
            from a random one of these, then from a random row of it.
        n: Number of children.
        variation: Chances of the moves.
        rng: Source of all draws.

    Returns:
        n children; some may equal their parent where a token was exchanged for an equal one.
    """
    genes = np.array([codes.global_genes for codes in parents])  # (P, G)
    token = token_of_gene(parents[0], variation.whole_tokens)
    tokens = int(token[-1]) + 1
    of_crystal = np.zeros(tokens, dtype=bool)
    of_crystal[token[len(token) - len(parents[0].crystal) :]] = True
    first, second = rng.integers(len(genes), size=(2, n))
    crossed = (rng.random((n, 1)) < variation.crossover) & (rng.random((n, tokens)) < 0.5)
    crossed &= (first != second)[:, None]
    chance = np.where(of_crystal, variation.crystal, variation.token)
    drawn = rng.random((n, tokens)) < chance
    still = ~(drawn | crossed).any(1)
    drawn[still, rng.integers(tokens, size=n)[still]] = True
    children = np.where(crossed[:, token], genes[second], genes[first])
    which = rng.integers(len(sources), size=(n, tokens))
    share = rng.random((n, tokens))
    for index, material in enumerate(sources):
        rows = np.minimum((share * len(material)).astype(np.int64), len(material) - 1)
        chosen = (drawn & (which == index))[:, token]
        children = np.where(chosen, material[rows[:, token], np.arange(len(token))], children)
    mixed = np.asarray(crossed.any(axis=1))
    made: dict[int, CrystalCodes] = {}
    for parent in set(first.tolist()):
        places = np.flatnonzero(first == parent)
        rows = parents[parent].with_many_global_genes(children[places].tolist())
        made.update(zip(places.tolist(), rows, strict=True))
    pairs = zip(first.tolist(), second.tolist(), mixed.tolist(), strict=True)
    return [
        Child(made[place], (one, other) if both else (one,))
        for place, (one, other, both) in enumerate(pairs)
    ]


def token_of_gene(codes: CrystalCodes, whole_tokens: bool = True) -> NDArray[np.int64]:
    """Return the number (G,) of the token that each global gene belongs to."""
    if not whole_tokens:
        return np.arange(len(codes.global_genes))
    levels = [len(token) for token in (*codes.species, codes.crystal)]
    return np.repeat(np.arange(len(levels)), levels)
