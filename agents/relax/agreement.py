"""A second potential's opinion on relaxed crystals: what only one potential likes is not a find.

Where two potentials were trained on different data or are of different kinds, their errors far from
known crystals differ: a formation energy that exists only in the first one shows (the smallest form
of query by committee; Seung et al., doi 10.1145/130385.130417).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.relax.rules import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from agents.relax.potential import Potential
    from agents.relax.references import ElementalReferences


@dataclass(frozen=True)
class Opinion:
    """What the second potential says of one crystal.

    Attributes:
        formation_energy: eV/atom from its own references, at the geometry given; None outside its
            element domain.
        level: the second potential's level.
        reference_hash: digest of its references.
    """

    formation_energy: float | None
    level: str
    reference_hash: str

    def record(self) -> dict[str, Any]:
        """Return plain JSON values for the record of a relaxation."""
        energy = self.formation_energy
        finite = energy is not None and math.isfinite(energy)
        return {
            "level": self.level,
            "reference_hash": self.reference_hash,
            "formation_energy_per_atom": energy if finite else None,
        }


class SecondPotential:
    """A second potential with its references and the difference it tolerates."""

    def __init__(
        self, potential: Potential, references: ElementalReferences, max_difference: float
    ) -> None:
        """Prepare it.

        Args:
            potential: another potential than the one that relaxes.
            references: its elemental references.
            max_difference: largest difference of the two formation energies, eV/atom.

        Raises:
            ReferenceMismatch: the references belong to another potential or version.
        """
        references.require(potential)
        self.potential = potential
        self.references = references
        self.max_difference = max_difference

    def opinions(self, structures: Sequence[Structure]) -> list[Opinion]:
        """Compute formation energies of relaxed crystals as they are, in one batch.

        Single points suffice: a minimum that both potentials have lies within a few meV/atom of
        its energy at the other's geometry, an exploited one does not.
        """
        domain = self.potential.elements & self.references.elements
        known = [
            index
            for index, structure in enumerate(structures)
            if {site.specie.symbol for site in structure} <= domain
        ]
        values: dict[int, float] = {}
        if known:
            energies = self.potential.energies([structures[index] for index in known])
            for index, energy in zip(known, energies):
                composition = structures[index].composition
                values[index] = self.references.formation_energy_per_atom(composition, energy)
        return [
            Opinion(values.get(index), self.potential.level, self.references.digest)
            for index in range(len(structures))
        ]


def agreement(
    structures: Sequence[Structure],
    formation_energies: Sequence[float],
    second: SecondPotential,
) -> list[tuple[Opinion, Verdict | None]]:
    """Compare formation energies of relaxed crystals with a second potential's.

    Args:
        structures: relaxed crystals.
        formation_energies: by the potential that relaxed them, eV/atom.
        second: the second potential.

    Returns:
        For each crystal the opinion, and the verdict on it or None where the two agree:
        "potential_disagreement" with both numbers, or "unsupported_elements" where the second
        potential has no opinion.
    """
    return [
        (opinion, _verdict(structure, value, opinion, second))
        for structure, value, opinion in zip(
            structures, formation_energies, second.opinions(structures)
        )
    ]


def _verdict(
    structure: Structure, value: float, opinion: Opinion, second: SecondPotential
) -> Verdict | None:
    other = opinion.formation_energy
    if other is None:
        domain = second.potential.elements & second.references.elements
        unknown = sorted({site.specie.symbol for site in structure} - domain)
        return Verdict("unsupported_elements", {"elements": unknown, "potential": opinion.level})
    if abs(value - other) <= second.max_difference:  # not a number never is
        return None
    detail = {
        "formation_energy_per_atom": value,
        "second_formation_energy_per_atom": opinion.record()["formation_energy_per_atom"],
        "second_potential": opinion.level,
        "max": second.max_difference,
        "unit": "eV/atom",
    }
    return Verdict("potential_disagreement", detail)
