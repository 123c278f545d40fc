"""Hits are asked once, keep their verification, and the record says what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from agents.follow_up.minimum import seed_of
from agents.follow_up.settings import FollowUpSettings
from agents.follow_up.stability import StabilityStage, stability, verdict
from agents.relax.calculator import structure_from_atoms
from agents.relax.potential import PotentialResult
from agents.relax.settings import RelaxSettings
from agents.stage import work
from db import candidates
from db.connection import Session
from db.crystals import crystal_fields, structure_to_record
from db.states import FUNNEL, State
from tests.agents.relax.emt import EMTPotential

SITES = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
ALLOY = Structure(Lattice.cubic(3.7), ["Au", "Cu", "Cu", "Cu"], SITES)
BODY = structure_from_atoms(bulk("Cu", "bcc", a=2.87))
COARSE = FollowUpSettings(
    max_hits=1, supercell_length=3.0, supercell_atoms=32, mesh=2, displacements=(0.02,)
)


class Failing(EMTPotential):
    """Knows the crystal, but no supercell of it."""

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        if any(len(structure) > 4 for structure in structures):
            raise RuntimeError("the graph is too large")
        return super().evaluate(structures)


@pytest.fixture
def verified(database: Session) -> Callable[[Structure | None], str]:
    """Return a function that makes a verified candidate, followed up if it has a crystal."""

    def make(followed: Structure | None) -> str:
        proposal = {
            "generator_version": "g",
            "codes_hash": str(followed),
            "codes": {"crystal": [1]},
            **crystal_fields(followed or ALLOY),
        }
        (name,) = candidates.insert_proposals("c", [proposal])
        for source, to in pairwise(FUNNEL):
            candidates.transition(name, source=source, to=to, token=0, agent="test")
        if followed is not None:
            candidates.transition(
                name,
                source=State.VERIFIED,
                to=State.VERIFIED,
                token=0,
                agent="test",
                updates={"follow_up": {"position": 0, "structure": structure_to_record(followed)}},
            )
        return name

    return make


def stage(potential: EMTPotential, **settings: Any) -> StabilityStage:
    asked = COARSE.model_copy(update=settings)
    return StabilityStage(potential, RelaxSettings(), asked, seed=3)


def test_hits_are_asked_once_and_stay_verified(
    verified: Callable[[Structure | None], str], emt: EMTPotential
) -> None:
    other, good, bad = verified(None), verified(ALLOY), verified(BODY)
    assert work(stage(emt), "c", "me") == 2
    assert work(stage(emt), "c", "me") == 0
    assert candidates.load(other).follow_up is None
    found = candidates.load(good)
    assert (found.state, found.lease) == ("verified", None)
    assert (found.history[-1]["from"], found.history[-1]["to"]) == ("verified", "verified")
    assert found.history[-1]["inputs"] == {"potential": "emt-1", "seed": seed_of(3, good)}
    answer = found.follow_up["stability"]
    assert answer["verdict"] == "stable"
    assert answer["level"] == "emt-1"
    assert answer["settings"]["rattle"] == 0.03
    assert answer["minimum"]["is_minimum"] is True
    assert answer["phonons"]["supercell"] == [2, 2, 2]
    assert answer["phonons"]["n_atoms"] == 32
    assert answer["phonons"]["lowest"]["frequency"] > 0.5
    assert answer["phonons"]["space_group"] == 221
    fallen = candidates.load(bad)
    assert fallen.state == "verified"
    assert fallen.follow_up["stability"]["verdict"] == "unstable"
    assert fallen.follow_up["stability"]["minimum"]["reason"] == "energy"


def test_what_cannot_be_answered_says_why() -> None:
    answer = stability(ALLOY, Failing(), RelaxSettings(), COARSE, seed=1)
    assert answer["minimum"]["is_minimum"] is True
    assert answer["phonons"]["failed"] == "RuntimeError: the graph is too large"
    assert answer["verdict"] == "undecided"
    large = COARSE.model_copy(update={"supercell_atoms": 3})
    answer = stability(ALLOY, EMTPotential(), RelaxSettings(), large, seed=1)
    assert "SupercellTooLarge: the cell has 4 atoms" in answer["phonons"]["failed"]
    unknown = Structure(Lattice.cubic(3.0), ["Na"], [[0, 0, 0]])
    answer = stability(unknown, EMTPotential(), RelaxSettings(), COARSE, seed=1)
    assert "UnsupportedElements" in answer["minimum"]["failed"]
    assert answer["phonons"]["failed"] == "the crystal was not relaxed"
    without = COARSE.model_copy(update={"phonons": False})
    assert "phonons" not in stability(ALLOY, EMTPotential(), RelaxSettings(), without, seed=1)


@pytest.mark.parametrize(
    ("minimum", "phonons", "expected"),
    [
        (True, "stable", "stable"),
        (True, None, "stable"),
        (True, "unstable", "unstable"),
        (False, "stable", "unstable"),
        (True, "undecided", "undecided"),
        (None, "stable", "undecided"),
        (None, "unstable", "unstable"),
    ],
)
def test_stable_needs_every_answer_unstable_one(
    minimum: bool | None, phonons: str | None, expected: str
) -> None:
    found: dict[str, Any] = {"minimum": {"is_minimum": minimum}}
    if phonons is not None:
        found["phonons"] = {"verdict": phonons}
    assert verdict(found) == expected


def test_off_is_no_follow_up() -> None:
    for value in (False, "off", {}):
        assert FollowUpSettings.model_validate(value).max_hits == 0
    with pytest.raises(ValueError, match="must be positive"):
        FollowUpSettings(displacements=(0.02, 0.0))
