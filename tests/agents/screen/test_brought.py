"""Property models that an installed package brings: held to the interface and to known values."""

from __future__ import annotations

from pathlib import Path

import pytest
from brought import put_on_path
from pydantic import ValidationError

from agents.screen.models import known_screens, load_models, load_screen, resolve_models
from agents.screen.screen import UnsoundModel
from agents.screen.settings import ScreenSettings

MODULE = """
import os
from agents.prediction import Prediction
from agents.screen.known_values import KNOWN
from agents.screen.screen import Refusal, Screen

class Table(Screen):
    name = "mine"
    version = "7"

    def __init__(self, batch, device):
        self.fault = os.environ.get("TEST_FAULT", "")
        if self.fault == "name":
            self.name = "other"
        if self.fault == "own values":
            self.known_values = {"NaCl": {"band_gap": 7.0}, "Si": {"band_gap": 2.0}}

    def predict(self, structures, on="relaxed"):
        given = [self._one(one, on, len(structures)) for one in structures]
        return given[1:] if self.fault == "count" else given

    def _one(self, structure, on, together):
        formula = structure.composition.reduced_formula
        if self.fault == "picky" and formula != "Si":
            return Refusal(self.name, "it takes silicon only")
        value = KNOWN[formula]["band_gap"]
        value += {"wrong": 1.0, "nan": float("nan")}.get(self.fault, 0.0)
        value += 0.1 * together if self.fault == "batch" else 0.0
        if self.fault == "own values":
            value = {"NaCl": 7.0, "Si": 2.0}.get(formula, value)
        prop, unit = ("hardness", "GPa") if self.fault == "property" else ("band_gap", "eV")
        prop, unit = ("p_gap", "1") if self.fault == "unknown" else (prop, unit)
        version = "8" if self.fault == "version" else self.version
        return [Prediction(prop, value, unit, self.name, version, "test", True, on=on)]

class Nothing:
    def __init__(self, batch, device):
        pass
"""
ENTRIES = {"mine": "brought_screens:Table", "nothing": "brought_screens:Nothing"}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "brought_screens.py").write_text(MODULE)
    put_on_path(tmp_path, "my-models", "2.1", {"discovery.screens": ENTRIES})
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_it_is_resolved_and_loaded_like_ours_with_package_and_version():
    choices = resolve_models(ScreenSettings(models=("mine",)))

    (mine,) = [one for one in choices if one["used"]]
    assert (mine["name"], mine["version"], mine["package"]) == ("mine", "7", "my-models 2.1")
    (screen,) = load_models(choices).screens
    assert screen.version == "7"


def test_a_worker_with_another_version_is_refused():
    choices = resolve_models(ScreenSettings(models=("mine",)))
    changed = [one | {"version": "6"} if one["name"] == "mine" else one for one in choices]

    with pytest.raises(UnsoundModel, match="mine 7 on this machine is not the 6"):
        load_models(changed)


def test_automatic_choice_never_takes_it():
    assert load_screen("mine").name == "mine"
    assert "mine" not in known_screens()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("name", "brings a model as mine that calls itself 'other'"),
        ("wrong", r"mine 7 is refused: NaCl: band_gap 6.003, expected 5.003 within 0.8"),
        ("nan", "says nan for band_gap of NaCl"),
        ("batch", "for band_gap of NaCl in a batch and 5.10"),
        ("picky", "takes 1 of 5 known crystals"),
        ("count", "gives 4 answers to 5 crystals"),
        ("property", "predicts 'hardness': known are formation_energy_per_atom"),
        ("unknown", "predicts nothing that can be checked"),
        ("version", "mine 7 signs what it says of NaCl as mine 8"),
    ],
)
def test_the_gate_refuses(fault: str, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEST_FAULT", fault)
    with pytest.raises(UnsoundModel, match=words):
        load_screen("mine")


def test_labels_of_another_meaning_come_with_their_own_known_values(monkeypatch):
    monkeypatch.setenv("TEST_FAULT", "own values")
    assert load_screen("mine").name == "mine"


def test_what_is_no_screen_or_not_installed_is_refused():
    with pytest.raises(UnsoundModel, match=r"my-models 2.1 brings a Nothing as nothing"):
        load_screen("nothing")
    with pytest.raises(ValidationError, match=r"unknown model 'yours': .* mine, nothing"):
        ScreenSettings(models=("yours",))
    with pytest.raises(ValueError, match=r"unknown screen 'yours': .* mine, nothing"):
        load_screen("yours")
