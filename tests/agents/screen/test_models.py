"""What ``auto`` becomes, and that a worker gets the models the campaign was started with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.screen.models import load_models, resolve_models
from agents.screen.screen import MissingModel, UnsoundModel
from agents.screen.settings import ScreenSettings


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.usefixtures("nowhere")
def test_auto_says_what_is_absent_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.screen.alignn.SHIPPED", tmp_path / "none")
    megnet, alignn, head = resolve_models(ScreenSettings())
    assert (megnet["name"], megnet["used"]) == ("megnet", False)
    assert "DISCOVERY_MODELS" in megnet["reason"]
    assert (alignn["name"], alignn["used"]) == ("alignn", False)
    assert str(tmp_path) in alignn["reason"]
    assert (head["name"], head["used"], head["reason"]) == ("head", True, None)
    models = load_models([megnet, alignn, head])
    assert (models.screens, models.head) == ((), True)
    assert models.absent == {"megnet": megnet["reason"], "alignn": alignn["reason"]}


@pytest.mark.usefixtures("nowhere")
def test_a_named_model_must_be_there() -> None:
    with pytest.raises(MissingModel, match="DISCOVERY_MODELS"):
        resolve_models(ScreenSettings(models=("megnet",)))


def test_a_model_left_out_is_not_loaded() -> None:
    choices = {
        choice["name"]: choice for choice in resolve_models(ScreenSettings(models=("head",)))
    }
    assert {name: choice["used"] for name, choice in choices.items()} == {
        "megnet": False,
        "alignn": False,
        "head": True,
    }
    assert choices["megnet"]["reason"] == "not among the models of this campaign"


@pytest.mark.models
def test_workers_load_what_the_campaign_resolved(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(models_dir))
    settings = ScreenSettings(megnet_batch=7, models=("megnet",))
    choices = json.loads(json.dumps(resolve_models(settings)))
    models = load_models(choices)
    assert [(s.name, s.version) for s in models.screens] == [("megnet", "mp-2018.6.1")]
    assert not models.head
    assert models.screens[0].batch == 7  # type: ignore[attr-defined]
    choices[0]["files"]["band_gap"] = "0" * 64
    with pytest.raises(UnsoundModel, match="that the campaign was started with, file by file"):
        load_models(choices)


@pytest.mark.models
@pytest.mark.usefixtures("models_dir")
def test_a_worker_without_the_weights_stops(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(models_dir))
    choices = resolve_models(ScreenSettings())
    monkeypatch.setenv("DISCOVERY_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingModel):
        load_models(choices)
