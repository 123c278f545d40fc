"""How many bits a crystal's codes take: what stands beside every match rate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from model.codes import CrystalCodes
from model.generator import Generator

Position = tuple[str, int]
"""Kind of code ("species", "crystal", "local") and its level."""


def positions(codes: CrystalCodes) -> Iterator[tuple[Position, int]]:
    """Yield every code of a crystal with its position: global genes first, then atoms."""
    for token in codes.species:
        yield from ((("species", level), code) for level, code in enumerate(token))
    yield from ((("crystal", level), code) for level, code in enumerate(codes.crystal))
    for atom in codes.local:
        yield from ((("local", level), code) for level, code in enumerate(atom))


def fixed_bits(generator: Generator, codes: CrystalCodes) -> tuple[float, float]:
    """Return the bits (global, local) of codes when every code takes log2 of its codebook."""
    genes = float(np.log2(generator.gene_sizes(codes)).sum())
    local = float(np.log2(generator.model.local_sizes).sum()) * codes.n_atoms
    return genes, local


def code_cost(generator: Generator, codes: Sequence[CrystalCodes]) -> dict[str, Any]:
    """Return the cost of codes, fixed-length and entropy-coded.

    The entropy-coded length of a code is -log2 of its frequency at its position among the
    training crystals of the bank (one added to every count), so it is what a decoder that holds
    the bank's frequencies needs; codes are taken as independent.

    Args:
        generator: their generator.
        codes: at least one crystal.

    Returns:
        {"bits_per_crystal", "bits_per_atom", "bits_global", "bits_local_per_atom",
        "bits_per_crystal_entropy", "bits_per_atom_entropy"}: means over the crystals; per atom is
        all bits over all atoms.
    """
    if not codes:
        raise ValueError("there are no codes to count the bits of")
    pairs = np.array([fixed_bits(generator, c) for c in codes])
    atoms = sum(c.n_atoms for c in codes)
    entropy = _entropy_bits(generator, codes)
    return {
        "bits_per_crystal": float(pairs.sum(1).mean()),
        "bits_per_atom": float(pairs.sum() / atoms),
        "bits_global": float(pairs[:, 0].mean()),
        "bits_local_per_atom": float(pairs[:, 1].sum() / atoms),
        "bits_per_crystal_entropy": entropy / len(codes),
        "bits_per_atom_entropy": entropy / atoms,
    }


def _entropy_bits(generator: Generator, codes: Sequence[CrystalCodes]) -> float:
    """Return the entropy-coded bits of all codes together."""
    bank = generator.bank
    counts: dict[Position, Counter[int]] = defaultdict(Counter)
    sizes: dict[Position, int] = {}
    for row in bank.rows("train"):
        for position, code in positions(bank.codes(int(row))):
            counts[position][code] += 1
    for own in codes:
        flat = (*generator.gene_sizes(own), *generator.model.local_sizes * own.n_atoms)
        sizes.update({position: size for (position, _), size in zip(positions(own), flat)})
    totals = {position: counts[position].total() + sizes[position] for position in sizes}
    return float(
        -sum(
            np.log2((counts[position][code] + 1) / totals[position])
            for own in codes
            for position, code in positions(own)
        )
    )
