"""Settings refuse what makes no sense and import nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from agents.screen.settings import _SYMBOLS, ScreenSettings


def test_defaults_are_those_of_the_papers() -> None:
    settings = ScreenSettings()
    assert settings.min_distance == 0.5
    assert settings.smact == "cdvae"
    assert (settings.matcher.ltol, settings.matcher.stol, settings.matcher.angle_tol) == (
        0.3,
        0.5,
        10.0,
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"smact": "both"}, "smact"),
        ({"forbidden_elements": ["Xx"]}, "not chemical symbols: Xx"),
        ({"min_elements": 4, "max_elements": 3}, "min_elements 4 is above max_elements 3"),
        ({"models": ["megnett"]}, "unknown model .megnett."),
        ({"models": ["matgl:../x"]}, "unknown model"),
        ({"models": ["megnet"], "agreement": 2}, "ask for 2 models"),
        ({"models": ["megnet"], "min_models": 3}, "ask for 3 models"),
        ({"exclude": ["smelly"]}, "exclude"),
        ({"allowed_elements": ["Pb", "Cd"], "exclude": ["toxic"]}, "only 0 elements"),
        ({"models": ["megnet", "megnet"]}, "named twice"),
        ({"min_distance": -1.0}, "min_distance"),
        ({"min_distnace": 0.5}, "min_distnace"),
        (
            {"allowed_elements": ["O"], "forbidden_elements": ["O"], "min_elements": 1},
            "only 0 elements",
        ),
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ScreenSettings.model_validate(wrong)


def test_settings_survive_json() -> None:
    settings = ScreenSettings(models=("head",), allowed_elements=("Sr", "Ti", "O"))
    assert ScreenSettings.model_validate_json(settings.model_dump_json()) == settings


def test_symbols_are_those_of_the_periodic_table() -> None:
    from ase.data import chemical_symbols

    assert set(chemical_symbols[1:]) == _SYMBOLS


def test_importing_settings_is_light() -> None:
    code = (
        "import sys, agents.screen.settings;"
        "print([m for m in ('torch', 'pymatgen', 'smact', 'mongoengine') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
