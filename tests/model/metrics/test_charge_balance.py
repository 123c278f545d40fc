"""The charge rule: SMACT's own answers."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Composition, Element
from smact.screening import smact_validity

from model.metrics.charge_balance import ChargeRule, charge_balanced, counts_balanced

SETS: dict[ChargeRule, str | None] = {"cdvae": "smact14", "strict": None}


def _drawn(n: int) -> list[tuple[tuple[int, int], ...]]:
    """Draw compositions of one to four elements, two in three of them with an anion."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(n):
        numbers = set(rng.integers(1, 95, rng.integers(1, 5)).tolist())
        if rng.random() < 2 / 3:
            numbers.add(int(rng.choice([7, 8, 9, 16, 17, 34, 35])))
        found.append(tuple((z, int(rng.integers(1, 7))) for z in sorted(numbers)))
    return found


def _formula(counts: tuple[tuple[int, int], ...]) -> str:
    amounts = {Element.from_Z(z): n for z, n in counts}
    return str(Composition(amounts).reduced_formula)


@pytest.mark.filterwarnings("ignore:No Pauling electronegativity")  # pymatgen sorts by it
@pytest.mark.parametrize("rule", ["cdvae", "strict"])
def test_it_answers_as_smact_does(rule: ChargeRule) -> None:
    drawn = _drawn(400)
    own = [counts_balanced(counts, rule) for counts in drawn]
    formulas = [_formula(counts) for counts in drawn]
    assert own == [smact_validity(f, oxidation_states_set=SETS[rule]) for f in formulas]
    assert own == [charge_balanced(formula, rule) for formula in formulas]
    assert 0.2 < np.mean(own) < 0.8


def test_elements_without_electronegativity_or_states_fail_in_compounds() -> None:
    assert charge_balanced("Pm", "cdvae")
    assert not charge_balanced("PmO2", "cdvae")
    assert not charge_balanced("HeF2", "cdvae")


def test_amounts_must_be_whole() -> None:
    with pytest.raises(ValueError, match="fractional"):
        charge_balanced("Na0.5Cl", "cdvae")
