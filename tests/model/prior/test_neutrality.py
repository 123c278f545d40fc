"""Charge balance by dynamic programming agrees with trying all assignments."""

from __future__ import annotations

import itertools

import pytest
import torch
from pymatgen.core import Element

from model.prior.neutrality import STATES, balance, oxidation_states, verdicts


def brute_force(symbols: list[str], counts: list[int], known: str) -> bool:
    """Try every assignment of one state to each element."""
    states = [[q for q in getattr(Element(s), known) if q in STATES] for s in symbols]
    return any(
        sum(q * n for q, n in zip(assignment, counts)) == 0
        for assignment in itertools.product(*states)
    )


@pytest.mark.parametrize(
    ("symbols", "counts"),
    [
        (["Sr", "Ti"], [1, 1, 3]),
        (["Na"], [1, 1]),
        (["Fe"], [3, 4]),
        (["K", "Mn", "S"], [2, 1, 1, 6]),
        ([], [4]),
    ],
)
def test_verdicts_of_all_last_elements(symbols, counts):
    numbers = [Element(s).Z for s in symbols] + [0]
    found = balance(
        oxidation_states(),
        torch.tensor([numbers]),
        torch.tensor([counts]),
        torch.tensor([len(counts)]),
    )[0]
    for z in range(1, 101):
        candidate = [*symbols, Element.from_Z(z).symbol]
        common = brute_force(candidate, counts, "common_oxidation_states")
        every = brute_force(candidate, counts, "oxidation_states")
        assert int(found[z]) == 1 + common + 2 * every, candidate


def test_padding_changes_nothing_and_only_the_last_slot_is_judged():
    states = oxidation_states()
    elements = torch.tensor([[38, 22, 8], [11, 17, 0]])
    counts = torch.tensor([[1, 1, 3], [1, 1, 0]])
    found = verdicts(states, elements, counts, torch.tensor([3, 2]))
    alone = balance(states, elements[1:, :2], counts[1:, :2], torch.tensor([2]))
    assert torch.equal(found[1, 1], alone[0])
    assert not found[0, :2].any()
    assert not found[1, 0].any()
    assert not found[1, 2].any()
