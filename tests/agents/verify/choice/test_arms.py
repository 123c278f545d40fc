"""The two arms against counting by hand and Wilson's formula."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agents.verify.choice.arms import Share, compare_arms

GAP, ENERGY = "band_gap", "formation_energy_per_atom"


def call(control: bool, state: str, gap: bool = False, energy: bool = False) -> dict[str, Any]:
    targets = {GAP: gap, ENERGY: energy} if state == "verified" else None
    return {"control": control, "state": state, "targets": targets}


@pytest.mark.parametrize(("inside", "of"), [(0, 5), (1, 1), (3, 7), (56, 90), (89, 90)])
def test_interval_is_wilsons(inside: int, of: int) -> None:
    z = 1.959963984540054
    centre = (inside + z * z / 2) / (of + z * z)
    half = z / (of + z * z) * math.sqrt(inside * (of - inside) / of + z * z / 4)
    found = Share.count([True] * inside + [False] * (of - inside))
    assert (found.inside, found.of) == (inside, of)
    assert found.low == pytest.approx(max(0.0, centre - half), abs=1e-12)
    assert found.high == pytest.approx(min(1.0, centre + half), abs=1e-12)


def test_each_call_counts_in_its_own_arm_once() -> None:
    calls = [
        call(False, "verified", gap=True, energy=True),
        call(False, "verified", gap=False, energy=True),
        call(False, "failed"),
        call(False, "verifying"),
        call(True, "verified", gap=True, energy=False),
        call(True, "failed"),
    ]
    choice, control = compare_arms(calls, [ENERGY, GAP])
    assert (choice.arm, choice.submitted, choice.failed) == ("choice", 4, 1)
    assert {name: (one.inside, one.of) for name, one in choice.windows.items()} == {
        ENERGY: (2, 2),
        GAP: (1, 2),
        "all": (1, 2),
    }
    assert (control.arm, control.submitted, control.failed) == ("control", 2, 1)
    assert {name: (one.inside, one.of) for name, one in control.windows.items()} == {
        ENERGY: (0, 1),
        GAP: (1, 1),
        "all": (0, 1),
    }


def test_nothing_verified_claims_nothing() -> None:
    choice, control = compare_arms([call(False, "failed")], [GAP])
    for arm in (choice, control):
        assert arm.windows[GAP] == Share(0, 0, 0.0, 1.0)
