"""The convex hull of formation energies, and how far a crystal is from it.

Hulls are those of pymatgen's `PhaseDiagram` (Ong et al., Chem. Mater. 20, 1798 (2008), doi
10.1021/cm702327g).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.relax.phases import IncompleteHull, Level, MixedLevels, Phase, common_level

if TYPE_CHECKING:
    from pymatgen.core import Composition

#: Amounts below this, in atoms of a product per atom of the crystal, are rounding of the facets.
TRACE = 1e-8


@dataclass(frozen=True)
class Product:
    """One phase of a decomposition.

    Attributes:
        id: The phase.
        formula: Its reduced formula.
        amount: Its share of the atoms; the amounts of all products add up to 1.
    """

    id: str
    formula: str
    amount: float


@dataclass(frozen=True)
class HullResult:
    """A crystal's distance to the hull of the phases it competes with.

    Attributes:
        energy_above_hull: eV/atom; the hull is the one without the crystal, so a crystal that would
            be a new ground state is below it: negative.
        decomposition: The phases on the hull at its composition, the largest amount first.
        hull_energy_per_atom: Formation energy of that mixture, eV/atom.
        n_phases: Number of phases the hull was made of.
        level: What all energies have in common.
    """

    energy_above_hull: float
    decomposition: tuple[Product, ...]
    hull_energy_per_atom: float
    n_phases: int
    level: Level

    @property
    def decomposition_energy(self) -> float:
        """Energy that decomposing takes, eV/atom: positive where the crystal is stable.

        The Materials Project and Bartel et al. (doi 10.1038/s41524-020-00362-y) write it with the
        other sign.
        """
        return -self.energy_above_hull

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as stored with a candidate."""
        return {
            "energy_above_hull": self.energy_above_hull,
            "decomposition_energy": self.decomposition_energy,
            "decomposition": [
                {"id": one.id, "formula": one.formula, "amount": one.amount}
                for one in self.decomposition
            ],
            "hull_energy_per_atom": self.hull_energy_per_atom,
            "n_phases": self.n_phases,
            "level": self.level.potential,
            "references": self.level.references,
            "criterion": self.level.criterion,
        }


class Hull:
    """The hull of one chemical system; ask it for as many crystals as there are.

    Attributes:
        level: Level of its phases; a crystal's energy must have the same.
        n_phases: How many phases it was made of.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        """Build the hull.

        Args:
            phases: Competing phases; those of the elements must be among them.

        Raises:
            MixedLevels: They are not of one level.
            IncompleteHull: An element has no phase.
        """
        from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

        self.level = common_level(phases)
        self.n_phases = len(phases)
        self.elements = frozenset(str(e) for phase in phases for e in phase.composition)
        pure = {str(next(iter(p.composition))) for p in phases if len(p.composition) == 1}
        if missing := sorted(self.elements - pure):
            raise IncompleteHull(
                "-".join(sorted(self.elements)),
                {f"element:{symbol}": "no phase of this element" for symbol in missing},
            )
        entries = [
            PDEntry(p.composition, p.formation_energy_per_atom * p.composition.num_atoms, p.id)
            for p in phases
        ]
        self._diagram = PhaseDiagram(entries)

    def at(self, composition: Composition, formation_energy_per_atom: float) -> HullResult:
        """Return the distance of a crystal to the hull.

        Args:
            composition: Of the crystal; only the ratios matter.
            formation_energy_per_atom: eV/atom, at the level of the phases.

        Raises:
            IncompleteHull: It contains an element that has no phase here.
        """
        symbols = {str(element) for element in composition}
        if missing := sorted(symbols - self.elements):
            raise IncompleteHull(
                "-".join(sorted(symbols)),
                {f"element:{symbol}": "no phase of this element" for symbol in missing},
            )
        parts = {e: n for e, n in self._diagram.get_decomposition(composition).items() if n > TRACE}
        energy = sum(entry.energy_per_atom * amount for entry, amount in parts.items())
        products = [
            Product(str(e.name), e.composition.reduced_formula, float(n)) for e, n in parts.items()
        ]
        return HullResult(
            energy_above_hull=float(formation_energy_per_atom - energy),
            decomposition=tuple(sorted(products, key=lambda one: (-one.amount, one.id))),
            hull_energy_per_atom=float(energy),
            n_phases=self.n_phases,
            level=self.level,
        )


def energy_above_hull(
    composition: Composition,
    formation_energy_per_atom: float,
    phases: Iterable[Phase],
    *,
    level: Level | None = None,
) -> HullResult:
    """Return the distance of a crystal to the hull of its competing phases.

    Args:
        composition: Of the crystal; only the ratios matter.
        formation_energy_per_atom: eV/atom, from the same potential, references and relaxation
            criterion as the phases'.
        phases: Competing phases, those of the elements included; others are left out.
        level: Level of the crystal's energy, if it is to be checked.

    Returns:
        Distance, decomposition products and their energy.

    Raises:
        MixedLevels: The levels of the phases, or of the crystal and the phases, differ.
        IncompleteHull: An element has no phase.
    """
    symbols = {element.symbol for element in composition.elements}
    inside = [p for p in phases if {e.symbol for e in p.composition.elements} <= symbols]
    if not inside:
        raise IncompleteHull(
            composition.chemical_system,
            {f"element:{symbol}": "no phase of this element" for symbol in sorted(symbols)},
        )
    hull = Hull(inside)
    if level is not None and level != hull.level:
        raise MixedLevels(f"the crystal's energy is of {level}, the phases' of {hull.level}")
    return hull.at(composition, formation_energy_per_atom)
