"""The base crystals of a comparison: held out, and apart from those anything was tuned on."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from model.bank import CodeBank
    from model.generator import Generator

MIN_SPECIES = 2
"""A base of one element gives crystals of one element, none of which is below its reference."""


class Share(StrEnum):
    """The two halves of the held-out crystals, told apart by a hash of their identifiers.

    Proposers are tuned on one and compared on the other.
    """

    TUNING = "tuning"
    FRESH = "fresh"


class TooFewBases(ValueError):
    """The code bank has fewer fitting held-out crystals than bases were asked for."""

    exit_code = 2


def share_of(identifier: str) -> Share:
    """Return the half a held-out crystal belongs to; the same on every machine."""
    odd = hashlib.sha256(identifier.encode()).digest()[0] % 2
    return Share.FRESH if odd else Share.TUNING


def draw_bases(
    generator: Generator, n: int, *, seed: int, share: Share, max_atoms: int | None
) -> list[int]:
    """Draw different held-out crystals of the code bank.

    Args:
        generator: the generator with its bank.
        n: how many; the first bases of a larger draw with the same seed are the same.
        seed: of the draw.
        share: which half of the held-out crystals.
        max_atoms: largest number of atoms in the cell; None for any.

    Returns:
        Row numbers of the bank.

    Raises:
        TooFewBases: fewer than `n` fit.
    """
    fitting = [row for row in _fitting(generator.bank, max_atoms) if _is_in(generator, row, share)]
    if len(fitting) < n:
        raise TooFewBases(
            f"{generator.name} has {len(fitting)} held-out crystals of the {share} half with "
            f"{'any number of' if max_atoms is None else f'at most {max_atoms}'} atoms, "
            f"{n} bases were asked for"
        )
    order = np.random.default_rng(seed).permutation(len(fitting))[:n]
    return [fitting[i] for i in order.tolist()]


def _fitting(bank: CodeBank, max_atoms: int | None) -> list[int]:
    rows = bank.rows("val")
    fits = bank.n_species[rows] >= MIN_SPECIES
    if max_atoms is not None:
        fits &= bank.n_atoms[rows] <= max_atoms
    return [int(row) for row in rows[fits]]


def _is_in(generator: Generator, row: int, share: Share) -> bool:
    return share_of(str(generator.bank.ids[row])) is share
