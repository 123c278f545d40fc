"""A person's own base crystals: encoded once, taken in turn, known from the record alone."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from agents.propose.brought import OUR_KINDS
from agents.propose.own_bases import OwnBase, UnencodableBase, encode_bases, take_turns
from agents.propose.replay import start_episode, turns
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import BaseSettings, ProposerSettings, ProposeSettings
from model.generator import Generator

CUBIC = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def perovskite(a: str, b: str, x: str, edge: float) -> Structure:
    return Structure(Lattice.cubic(edge), [a, b, x, x, x], CUBIC)


@pytest.fixture(scope="module")
def records(shipped: Generator) -> list[dict[str, Any]]:
    crystals = {
        "sto.cif": perovskite("Sr", "Ti", "O", 3.95),
        "lao.cif": perovskite("La", "Al", "O", 3.85),
    }
    return json.loads(json.dumps(encode_bases(shipped, crystals)))


def kinds() -> list[str]:
    classes = [get_args(one)[0] for one in get_args(get_args(ProposerSettings)[0])]
    found = [k for one in classes for k in get_args(one.model_fields["kind"].annotation)]
    assert sorted(found) == sorted(OUR_KINDS)
    return sorted(found)


def test_what_is_encoded_decodes_to_the_crystal_again(shipped, records):
    assert [record["formula"] for record in records] == ["SrTiO3", "LaAlO3"]
    assert [record["id"] for record in records] == ["own:sto.cif", "own:lao.cif"]
    for record in records:
        assert record["rms"] < 0.1
        codes = OwnBase.from_record(record).codes
        assert shipped.decode([codes])[0].structure.composition.reduced_formula == record["formula"]


def test_every_crystal_that_cannot_be_a_base_is_named(shipped):
    crystals = {
        "good.cif": perovskite("Sr", "Ti", "O", 3.95),
        "salt.cif": Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "noble.cif": perovskite("Xe", "Ti", "O", 4.0),
    }
    with pytest.raises(UnencodableBase) as error:
        encode_bases(shipped, crystals)
    assert "2 of 3" in str(error.value)
    assert "salt.cif: 2 atoms" in str(error.value)
    assert "noble.cif: atomic numbers [54]" in str(error.value)
    assert "good.cif" not in str(error.value)


@pytest.mark.parametrize("kind", kinds())
def test_every_proposer_starts_from_them_in_turn(shipped, records, kind):
    own = [OwnBase.from_record(record) for record in records]
    size = {"population": 16} if kind.startswith(("genetic", "optuna_nsga")) else {"batch": 8}
    proposers = [{"kind": kind, "generations": 1, **size}, {"kind": "donor", "generations": 1}]
    settings = ProposeSettings.model_validate({"proposers": proposers})
    for round_index, base in enumerate([own[0], own[1], own[0]]):
        turn = turns(settings, round_index)[0]
        if round_index and kind == "code_evolution":
            continue  # asks the campaign's earlier rounds: `test_episodes`
        episode = EpisodeSeed(1, turn.episode)
        proposer = start_episode("none", episode, shipped, turn, settings, (), own)
        assert proposer.space.base == base.codes
        assert {p.base_id for p in proposer.ask(0)} == {base.id}


def test_a_bandit_returns_to_one_and_else_goes_on_in_turn(records):
    own = [OwnBase.from_record(record) for record in records]
    assert [take_turns(own, turn, None).id for turn in range(3)] == [
        "own:sto.cif",
        "own:lao.cif",
        "own:sto.cif",
    ]
    assert take_turns(own, 0, "own:lao.cif") is own[1]


def test_files_and_restrictions_of_training_crystals_exclude_each_other():
    BaseSettings(files=("a.cif",))
    with pytest.raises(ValidationError, match="one or the other"):
        BaseSettings(files=("a.cif",), max_atoms=5)
