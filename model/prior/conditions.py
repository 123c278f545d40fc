"""What is asked of generated crystals, and which codes it leaves possible."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from model.data.canonical import MAX_ATOMIC_NUMBER
from model.prior.tables import NetworkTables


class ImpossibleConditions(ValueError):
    """Conditions that no crystal of this generator can meet."""


class Conditions(BaseModel):
    """What generated crystals must be; everything left out is free.

    Elements, numbers of atoms and formulas are met by the sampler itself: codes that would break
    them have probability zero. Property windows are met by drawing again
    (`model.prior.windows`).

    Attributes:
        must_contain: symbols of elements that must occur.
        must_not_contain: symbols that must not.
        chemical_system: exactly these elements, each of them.
        formula: composition up to a common factor, such as SrTiO3.
        formula_units: how many of that formula the cell holds; None leaves it to the prior.
        n_atoms: atoms in the cell, a number or (smallest, largest).
        windows: property target → (lowest, highest) mean of the property head.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    must_contain: frozenset[str] = frozenset()
    must_not_contain: frozenset[str] = frozenset()
    chemical_system: frozenset[str] | None = None
    formula: str | None = None
    formula_units: int | None = Field(default=None, ge=1)
    n_atoms: int | tuple[int, int] | None = None
    windows: Mapping[str, tuple[float, float]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Conditions:
        for symbols in (self.must_contain, self.must_not_contain, self.chemical_system or ()):
            for symbol in symbols:
                atomic_number(symbol)
        if self.chemical_system is not None and not self.chemical_system:
            raise ValueError("an empty chemical system has no crystals")
        if self.formula is not None:
            self.amounts()
        elif self.formula_units is not None:
            raise ValueError("formula_units says how often a formula is in the cell: give one")
        low, high = self.atom_range(1 << 30)
        if low > high or high < 1:
            raise ValueError(f"no number of atoms is from {low} to {high}")
        for target, (lowest, highest) in self.windows.items():
            if not lowest < highest:
                raise ValueError(f"the window of {target} is empty: {lowest} to {highest}")
        return self

    @classmethod
    def of_cell(cls, cell: Mapping[int, int]) -> Conditions:
        """Return the conditions that a cell holds exactly these atoms, by atomic number."""
        from pymatgen.core import Element

        formula = "".join(f"{Element.from_Z(z).symbol}{n}" for z, n in cell.items())
        return cls(formula=formula, n_atoms=sum(cell.values()))

    def amounts(self) -> dict[int, int]:
        """Return the formula's smallest whole amounts by atomic number.

        Raises:
            ValueError: if there is no formula, or it has unknown symbols or broken amounts.
        """
        from pymatgen.core import Composition

        if self.formula is None:
            raise ValueError("these conditions have no formula")
        composition = Composition(self.formula)
        if not composition or any(abs(a - round(a)) > 1e-8 for a in composition.values()):
            raise ValueError(f"{self.formula!r} is not a formula with whole amounts")
        # pymatgen's own reduction never goes below Na2O2 or Cl2, as chemists write these
        divisor = math.gcd(*(round(amount) for amount in composition.values()))
        return {
            atomic_number(element.symbol): round(amount) // divisor
            for element, amount in composition.items()
        }

    def atom_range(self, largest: int) -> tuple[int, int]:
        """Return the smallest and largest number of atoms allowed."""
        if self.n_atoms is None:
            return 1, largest
        if isinstance(self.n_atoms, int):
            return self.n_atoms, self.n_atoms
        return max(1, self.n_atoms[0]), min(largest, self.n_atoms[1])


class Constraint:
    """Conditions as masks over the next code of a composition.

    Species tokens stand in the order of electronegativity, so the sampler keeps that order as
    soon as anything is asked of the elements.
    """

    def __init__(self, conditions: Conditions, tables: NetworkTables) -> None:
        """Check the conditions against what the generator knows.

        Raises:
            ImpossibleConditions: if nothing can meet them; the message says which and why.
        """
        self.order = tables.element_order
        self.max_atoms = int(tables.max_atoms)
        known = set(tables.elements)
        wanted = {atomic_number(s) for s in conditions.must_contain}
        forbidden = {atomic_number(s) for s in conditions.must_not_contain}
        allowed = known - forbidden
        self.low, self.high = conditions.atom_range(self.max_atoms)
        self.units: list[int] = []
        self.exact: list[int] | None = None
        self.amounts: list[int] = []
        if self.low > self.max_atoms:
            raise ImpossibleConditions(
                f"cells of at least {self.low} atoms were asked for; this generator has at most "
                f"{self.max_atoms}"
            )
        if conditions.chemical_system is not None:
            self.exact = self._sorted({atomic_number(s) for s in conditions.chemical_system})
        if conditions.formula is not None:
            self._take_formula(conditions)
        if self.exact is not None:
            broken = (wanted - set(self.exact)) | (set(self.exact) - allowed)
            allowed, wanted = allowed & set(self.exact), set(self.exact)
        else:
            broken = wanted - allowed
        if broken:
            raise ImpossibleConditions(
                f"{', '.join(_symbols(broken))}: asked for and excluded at once, or never in this "
                "generator's data"
            )
        self.wanted = self._sorted(wanted)
        self.allowed = torch.zeros(MAX_ATOMIC_NUMBER + 1, dtype=torch.bool)
        self.allowed[sorted(allowed)] = True
        sizes = range(max(1, len(wanted)), min(tables.max_species, len(allowed), self.high) + 1)
        if self.exact is not None:
            sizes = range(len(self.exact), len(self.exact) + (len(self.exact) in sizes))
        if not sizes:
            raise ImpossibleConditions(
                f"{len(wanted)} elements in at most {self.high} atoms: this generator has up to "
                f"{tables.max_species} elements in a crystal"
            )
        self.sizes = torch.zeros(tables.max_species + 1, dtype=torch.bool)
        self.sizes[list(sizes)] = True

    def _take_formula(self, conditions: Conditions) -> None:
        """Fix elements and counts of a formula; only the number of units may stay free."""
        amounts = conditions.amounts()
        elements = self._sorted(set(amounts))
        if self.exact is not None and self.exact != elements:
            raise ImpossibleConditions(
                f"{conditions.formula} is not in the chemical system {_symbols(self.exact)}"
            )
        self.exact, self.amounts = elements, [amounts[z] for z in elements]
        size = sum(self.amounts)
        units = range(1, self.max_atoms // size + 1)
        if conditions.formula_units is not None:
            units = range(conditions.formula_units, conditions.formula_units + 1)
        self.units = [z for z in units if self.low <= z * size <= min(self.high, self.max_atoms)]
        if not self.units:
            raise ImpossibleConditions(
                f"{conditions.formula} has {size} atoms; no allowed number of formula units gives "
                f"{self.low} to {self.high} atoms"
            )

    @property
    def determined(self) -> bool:
        """Whether elements and counts are fully given."""
        return len(self.units) == 1

    def counts(self, slot: int, n_species: Tensor, before: Tensor) -> Tensor:
        """Return which counts a slot may have: (B, max atoms + 1) bool.

        Args:
            slot: number of the slot.
            n_species: (B,).
            before: (B, slot) counts of the earlier slots.
        """
        values = torch.arange(self.max_atoms + 1)
        if self.units:
            each = self.amounts[slot] if slot < len(self.amounts) else 0
            if slot == 0:
                return torch.isin(values, each * torch.tensor(self.units)).expand(len(before), -1)
            return values == (before[:, :1] // self.amounts[0]) * each
        total = before.sum(1, keepdim=True) + values
        left = (n_species - 1 - slot)[:, None]
        return (total + left <= self.high) & ((total >= self.low) | (left > 0))

    def elements(self, slot: int, n_species: Tensor, before: Tensor) -> Tensor:
        """Return which elements a slot may have: (B, 101) bool.

        Args:
            slot: number of the slot.
            n_species: (B,).
            before: (B, slot) elements of the earlier slots.
        """
        rank = self.order
        last = rank[before[:, -1]] if slot else torch.full((len(before),), -1)
        possible = self.allowed & (rank > last[:, None])
        if not self.wanted:
            return possible
        ranks = rank[torch.tensor(self.wanted)]
        missing = ranks > last[:, None]
        n_missing = missing.sum(1)
        first = torch.where(missing, ranks, rank.max() + 1).min(1).values[:, None]
        # A wanted element may not be jumped over; without room to spare it must come now.
        possible = possible & ((rank <= first) | (n_missing[:, None] == 0))
        forced = (n_species - slot == n_missing)[:, None]
        return possible & (~forced | (rank == first))

    def _sorted(self, elements: set[int]) -> list[int]:
        """Return atomic numbers in the order of species."""
        return sorted(elements, key=lambda z: int(self.order[z]))


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element's symbol.

    Raises:
        ValueError: if there is no such element up to Z = 100.
    """
    from pymatgen.core import Element

    if not Element.is_valid_symbol(symbol) or Element(symbol).Z > MAX_ATOMIC_NUMBER:
        raise ValueError(f"{symbol!r} is not the symbol of an element up to Z = 100")
    return int(Element(symbol).Z)


def _symbols(numbers: object) -> list[str]:
    """Return the symbols of atomic numbers, for messages."""
    from pymatgen.core import Element

    return [Element.from_Z(z).symbol for z in sorted(numbers)]  # type: ignore[call-overload]
