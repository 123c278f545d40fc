"""Settings of the relaxation agent are checked when they are made."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from agents.relax.settings import RelaxSettings


def test_defaults_are_those_of_the_product():
    settings = RelaxSettings()
    assert settings.potential_name == "chgnet"
    assert (settings.max_steps, settings.fmax, settings.accept_max_force) == (100, 0.03, 0.05)
    assert RelaxSettings(potential="chgnet-0.3.0").potential_name == "chgnet-0.3.0"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fmax": 0.06}, "fmax 0.06 must not exceed accept_max_force 0.05"),
        ({"stress_max": 2.0}, "stress_max 2.0 must not exceed accept_max_stress 1.0"),
        ({"volume_per_atom_min": 200.0}, "must be below volume_per_atom_max"),
        ({"formation_energy_max": -6.0}, "formation_energy_min -5.0 must be below"),
        ({"volume_scan_scales": (1.0, -0.5)}, "must be positive"),
        ({"max_steps": -1}, "greater than or equal to 0"),
        ({"optimizer": "bfgs"}, "'trust_region' or 'fire'"),
        ({"fmaxx": 0.02}, "Extra inputs are not permitted"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        RelaxSettings(**values)
