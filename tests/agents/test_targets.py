"""Windows of target properties."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from agents.targets import Window, hits


def test_bounds_are_included_and_open_where_missing() -> None:
    gap = Window(property="band_gap", min=0.5, max=2.5)
    assert [gap.contains(value) for value in (0.49, 0.5, 1.0, 2.5, 2.51)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert Window(property="formation_energy_per_atom", max=-0.5).contains(-50)


def test_empty_windows_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"empty: min 2\.0 is above max 1\.0"):
        Window(property="band_gap", min=2, max=1)
    with pytest.raises(ValidationError, match="neither min nor max"):
        Window(property="band_gap")
    with pytest.raises(ValidationError):
        Window(property="band_gap", min=float("nan"))


def test_a_missing_value_is_a_miss() -> None:
    windows = [
        Window(property="band_gap", min=0.5, max=2.5),
        Window(property="formation_energy_per_atom", max=-0.5),
    ]
    assert hits(windows, {"band_gap": 1.0}) == {
        "band_gap": True,
        "formation_energy_per_atom": False,
    }
