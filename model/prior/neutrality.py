"""Whether charges can balance: what the last element of a composition decides."""

from __future__ import annotations

import torch
from torch import Tensor

STATES = tuple(range(-5, 10))
"""Oxidation states that are looked at."""
KINDS = 2  # common oxidation states, all known ones
VERDICTS = 1 + 2**KINDS  # undecided, or balanced by which of the kinds


def oxidation_states() -> Tensor:
    """Return which states elements have: (2, 101, 15) bool, common ones and all known ones."""
    from pymatgen.core import Element

    table = torch.zeros(KINDS, 101, len(STATES), dtype=torch.bool)
    for z in range(1, 101):
        element = Element.from_Z(z)
        for kind, known in enumerate((element.common_oxidation_states, element.oxidation_states)):
            for state in known:
                if state in STATES:
                    table[kind, z, STATES.index(int(state))] = True
    return table


def verdicts(states: Tensor, elements: Tensor, counts: Tensor, n_species: Tensor) -> Tensor:
    """Return `balance` for all slots (B, S, 101): 0, undecided, but for the last one of each."""
    batch, slots = elements.shape
    result = torch.zeros(batch, slots, states.shape[1], dtype=torch.int64)
    result[torch.arange(batch), n_species - 1] = balance(states, elements, counts, n_species)
    return result


def balance(states: Tensor, elements: Tensor, counts: Tensor, n_species: Tensor) -> Tensor:
    """Say for every candidate of the last element whether the charges of the cell can cancel.

    Every element takes one oxidation state in the whole crystal. For the slots before the last
    one nothing is said yet.

    Args:
        states: (2, 101, 15) of `oxidation_states`.
        elements: (B, S) atomic numbers; those of the last slot are not looked at.
        counts: (B, S) atoms of each slot.
        n_species: (B,).

    Returns:
        (B, 101) int64 verdicts of the last slot: 1 + (1 if common states balance) + (2 if all
        known states do).
    """
    batch, slots = elements.shape
    reach = int(counts.sum(1).max()) * max(abs(q) for q in STATES)
    total = torch.arange(-reach, reach + 1)
    verdict = torch.ones(batch, states.shape[1], dtype=torch.int64)
    for kind, table in enumerate(states):
        # possible[b, x]: the earlier elements can have the charge x - reach in all
        possible = (total == 0).expand(batch, -1)
        for slot in range(slots - 1):
            before = torch.zeros_like(possible)
            for i, state in enumerate(STATES):
                source = total - counts[:, slot, None] * state + reach
                inside = (source >= 0) & (source <= 2 * reach)
                moved = possible.gather(1, source.clamp(0, 2 * reach)) & inside
                before = before | (moved & table[elements[:, slot], i][:, None])
            earlier = (slot < n_species - 1)[:, None]
            possible = torch.where(earlier, before, possible)
        last = counts.gather(1, (n_species - 1)[:, None])
        needed = (reach - last * torch.tensor(STATES)).clamp(0, 2 * reach)
        cancels = possible.gather(1, needed)  # (B, 15)
        balanced = (cancels[:, None] & table).any(-1)
        verdict += balanced * (1 << kind)
    return verdict
