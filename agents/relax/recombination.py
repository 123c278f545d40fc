"""Recombined codes and what a potential thinks of the crystals they decode to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.geometry import is_finite, shortest_distance, too_close

if TYPE_CHECKING:
    from agents.relax.potential import Potential
    from agents.relax.references import ElementalReferences
    from model.codes import CrystalCodes
    from model.generator import Generator

_BATCH = 64
_MIN_DISTANCE = 0.5  # Å: nearer no potential was trained, and flat cells have endless neighbours


@dataclass(frozen=True)
class LabelledCodes:
    """Codes with the formation energies of what they decode to.

    Attributes:
        codes: n codes, as drawn.
        values: (n,) single-point formation energies, eV/atom.
        level: of the potential, "chgnet-0.3.0".
        refused: drawn codes that got no label: no cell, atoms closer than 0.5 Å, elements the
            potential does not know, or an energy that is not finite.
    """

    codes: list[CrystalCodes]
    values: NDArray[np.float64]
    level: str
    refused: int


def recombine(
    generator: Generator, n: int, rng: np.random.Generator, role: str = "val"
) -> list[CrystalCodes]:
    """Draw codes of which each global gene comes from a training crystal of its own.

    Args:
        generator: the generator with its code bank.
        n: number of codes.
        rng: source of the draws.
        role: of the crystals whose local codes are kept: "val", which nothing was trained on, or
            "train".
    """
    bank = generator.bank
    drawn = []
    for row in rng.choice(bank.rows(role), size=n):
        base = bank.codes(int(row))
        donors = rng.choice(bank.donors(base), size=len(base.global_genes))
        genes = [bank.codes(int(d)).global_genes[place] for place, d in enumerate(donors)]
        drawn.append(base.with_global_genes(genes))
    return drawn


def label_codes(
    generator: Generator,
    potential: Potential,
    references: ElementalReferences,
    codes: Sequence[CrystalCodes],
) -> LabelledCodes:
    """Decode codes and compute their formation energies, unrelaxed.

    Args:
        generator: of the codes.
        potential: the potential.
        references: its elemental references.
        codes: any codes of the generator.
    """
    known = potential.elements & references.elements
    kept: list[CrystalCodes] = []
    values: list[float] = []
    for start in range(0, len(codes), _BATCH):
        part = codes[start : start + _BATCH]
        pairs = [
            (own, decoded.structure)
            for own, decoded in zip(part, generator.decode(part), strict=True)
            if decoded.structure is not None
            and {site.specie.symbol for site in decoded.structure} <= known
            and is_finite(decoded.structure)
            and not too_close(shortest_distance(decoded.structure), _MIN_DISTANCE)
        ]
        energies = potential.energies([s for _, s in pairs]) if pairs else np.empty(0)
        for (own, structure), energy in zip(pairs, energies, strict=True):
            if np.isfinite(energy):
                kept.append(own)
                values.append(references.formation_energy_per_atom(structure.composition, energy))
    return LabelledCodes(kept, np.array(values), potential.level, len(codes) - len(kept))
