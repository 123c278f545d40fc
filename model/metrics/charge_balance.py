"""SMACT's rule of charge neutrality and electronegativity, fast enough to ask of every child.

The rule, its tables and its answers are those of `smact.screening.smact_validity` (Davies et al.
2019, doi 10.21105/joss.01361); only the enumeration is our own: the oxidation state of the last
element follows from the others, so it is looked up and not tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import Literal

ChargeRule = Literal["cdvae", "strict"]
Counts = tuple[tuple[int, int], ...]
"""Pairs of atomic number and number of atoms."""

_CONSENSUS = 3  # smact's default: ions seen so often in the ICSD of 2024


@lru_cache(maxsize=200_000)
def charge_balanced(formula: str, rule: ChargeRule) -> bool:
    """Judge a composition by one rule alone.

    Args:
        formula: Reduced formula.
        rule: Which oxidation states: ``cdvae`` (SMACT14, as CDVAE) or ``strict`` (smact's default).
            Pure elements and alloys of metals pass by both.

    Raises:
        ValueError: The formula cannot be read, or smact does not know an element.
    """
    from pymatgen.core import Composition

    composition = Composition(formula)
    if any(abs(amount - round(amount)) > 1e-8 for amount in composition.values()):
        raise ValueError(f"{formula} has a fractional amount: SMACT judges ordered crystals only")
    return counts_balanced(tuple((e.Z, round(n)) for e, n in composition.items()), rule)


@lru_cache(maxsize=200_000)
def counts_balanced(counts: Counts, rule: ChargeRule) -> bool:
    """Judge a composition given by its atoms.

    Raises:
        ValueError: smact does not know an element.
    """
    if len(counts) == 1 or all(_element(z).metal for z, _ in counts):
        return True
    elements = [_element(z) for z, _ in counts]
    states = [element.states(rule) for element in elements]
    if not all(states):
        return False
    divisor = gcd(*(n for _, n in counts))
    amounts = [n // divisor for _, n in counts]
    possible = frozenset(states[-1])
    for chosen in itertools.product(*states[:-1]):
        charge = -sum(q * n for q, n in zip(chosen, amounts, strict=False))
        last, rest = divmod(charge, amounts[-1])
        if rest == 0 and last in possible and _ordered((*chosen, last), elements):
            return True
    return False


def _ordered(charges: Sequence[int], elements: Sequence[_Element]) -> bool:
    """Say whether every anion is more electronegative than every cation (Pauling's rule)."""
    lowest_anion, highest_cation = float("inf"), float("-inf")
    for charge, element in zip(charges, elements, strict=True):
        if element.electronegativity is None:
            return False
        if charge < 0:
            lowest_anion = min(lowest_anion, element.electronegativity)
        elif charge > 0:
            highest_cation = max(highest_cation, element.electronegativity)
    return highest_cation < lowest_anion


class _Element:
    """What SMACT's tables say of an element."""

    def __init__(self, symbol: str) -> None:
        from smact import element_dictionary, metals

        try:
            known = element_dictionary([symbol])[symbol]
        except KeyError as error:
            raise ValueError(f"SMACT does not know the element {error}") from error
        self.symbol = symbol
        self.metal = symbol in metals
        self.electronegativity: float | None = known.pauling_eneg
        self._smact14 = tuple(dict.fromkeys(known.oxidation_states_smact14 or ()))

    def states(self, rule: ChargeRule) -> tuple[int, ...]:
        """Return its oxidation states; none where the table has none."""
        return self._smact14 if rule == "cdvae" else _strict_states().get(self.symbol, ())


@lru_cache(maxsize=256)
def _element(z: int) -> _Element:
    from pymatgen.core import Element

    return _Element(Element.from_Z(z).symbol)


@lru_cache(maxsize=1)
def _strict_states() -> dict[str, tuple[int, ...]]:
    """Return the oxidation states that smact's default takes from the ICSD of 2024."""
    from smact.utils.oxidation import ICSD24OxStatesFilter

    table = ICSD24OxStatesFilter().filter(consensus=_CONSENSUS, include_zero=False)
    rows = zip(table["element"], table["oxidation_state"], strict=True)
    return {str(element): tuple(map(int, str(states).split())) for element, states in rows}
