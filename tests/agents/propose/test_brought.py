"""Proposers that an installed package brings: read, recorded, built, refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from brought import put_on_path
from pydantic import ValidationError

from agents.propose.brought import WrongProposer
from agents.propose.build import build_proposer
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import ProposeSettings
from agents.propose.space import SearchSpace
from model.codes import CrystalCodes

MODULE = """
from typing import Literal
from pydantic import Field
from agents.propose.brought import BroughtSettings
from agents.propose.random_search import RandomProposer
from agents.propose.settings import RandomSettings

class Mine(RandomProposer):
    kind = "mine"

class MineSettings(BroughtSettings):
    kind: Literal["mine"] = "mine"
    batch: int = Field(default=4, ge=1)

    def build(self, space, seed, *, max_redraws, generator):
        settings = RandomSettings(batch=self.batch, generations=self.generations)
        return Mine(space, seed, settings, max_redraws=max_redraws)

class LyingSettings(MineSettings):
    kind: Literal["lying"] = "lying"

class NoSettings:
    pass
"""
ENTRIES = {
    "mine": "brought_proposers:MineSettings",
    "lying": "brought_proposers:LyingSettings",
    "none": "brought_proposers:NoSettings",
    "gone": "brought_proposers:Gone",
}
SPACE = SearchSpace("base", CrystalCodes(((1, 2),), (3,), ((4,),)), (8, 8, 8), np.ones((1, 3), int))


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "brought_proposers.py").write_text(MODULE)
    put_on_path(tmp_path, "my-search", "1.5", {"discovery.proposers": ENTRIES})
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def read(*proposers: dict) -> ProposeSettings:
    return ProposeSettings.model_validate({"proposers": proposers})


def test_its_own_keys_are_read_and_recorded_with_the_package_and_its_version():
    settings = read({"kind": "mine", "batch": 7, "generations": 3}, {"kind": "random"})

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydantic's way to say that a value is written in part
        record = settings.model_dump(mode="json")
    assert record["proposers"][0] == {
        "kind": "mine",
        "generations": 3,
        "package": "my-search 1.5",
        "batch": 7,
    }
    assert ProposeSettings.model_validate(record) == settings


def test_it_is_built_where_ours_are():
    (settings,) = read({"kind": "mine", "batch": 5, "generations": 2}).proposers
    proposer = build_proposer(settings, SPACE, EpisodeSeed(0, 0), 50, generator=None)

    asked = proposer.ask(0)
    assert [one.proposer for one in asked] == ["mine"] * 5
    again = build_proposer(settings, SPACE, EpisodeSeed(0, 0), 50, generator=None)
    assert again.ask(0) == asked


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"kind": "mine", "batch": 0}, "greater than or equal to 1"),
        ({"kind": "mine", "bach": 3}, "Extra inputs are not permitted"),
        ({"kind": "yours"}, "no proposer 'yours'; known are genetic, .*, gone, lying, mine, none"),
        ({"kind": "none"}, "'none' of my-search 1.5 is no BroughtSettings"),
        ({"kind": "gone"}, "'gone' of my-search 1.5 cannot be imported .* AttributeError"),
        (
            {"kind": "mine", "package": "my-search 1.4"},
            "started with my-search 1.4, but my-search 1.5",
        ),
    ],
)
def test_a_wrong_key_kind_or_version_is_refused_in_words(content, words):
    with pytest.raises(ValidationError, match=words):
        read(content)


def test_a_proposer_that_would_be_recorded_under_another_name_is_refused():
    (settings,) = read({"kind": "lying"}).proposers

    with pytest.raises(WrongProposer, match=r"my-search 1.5 built the proposer 'mine' .* 'lying'"):
        build_proposer(settings, SPACE, EpisodeSeed(0, 0), 50, generator=None)
