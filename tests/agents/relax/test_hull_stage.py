"""Screened candidates are placed relative to the hull, and live on when it is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure
from reference_phases import COLLECTION, Tabulated, crystal, write_table

from agents.relax.hull_settings import HullSettings
from agents.relax.hull_stage import HullStage
from agents.relax.phases import Geometry
from agents.relax.phases_mongo import MongoPhases
from agents.relax.settings import RelaxSettings
from agents.stage import work
from db import candidates, queries
from db.connection import Session
from db.crystals import crystal_fields, structure_to_record
from db.documents import Candidate
from db.states import FUNNEL, State
from discovery.references.importing import import_reference

ROCKSALT = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TERNARY = Structure(
    Lattice.cubic(5), ["Na", "K", "Cl", "Cl"], [[0, 0, 0], [0.5] * 3, [0.5, 0, 0], [0, 0.5, 0]]
)


class AsTheyAre(MongoPhases):
    """Takes the single points for relaxed crystals, so that no forces are needed."""

    def __init__(self, potential: Tabulated, hull: HullSettings) -> None:
        super().__init__(
            potential,
            potential.references,
            collection="mp",
            relax=RelaxSettings(),
            hull=hull,
            geometry=Geometry.SINGLE_POINT,
        )
        self.relaxed = self._level(Geometry.RELAXED)


@pytest.fixture
def stage(database: Session, tmp_path: Path) -> Callable[..., HullStage]:
    rows = {name: crystal(COLLECTION[name][0], int(name[3:])) for name in COLLECTION}
    write_table(tmp_path / "mp.csv.gz", rows)
    import_reference(str(tmp_path / "mp.csv.gz"), name="mp")

    def build(potential: Tabulated | None = None, **settings: Any) -> HullStage:
        hull = HullSettings(reference="mp", **settings)
        return HullStage(AsTheyAre(potential or Tabulated(), hull), hull)

    return build


@pytest.fixture
def screened(database: Session) -> Callable[..., str]:
    """Return a function that makes a screened candidate."""

    def make(structure: Structure, formation_energy: float, **relaxation: Any) -> str:
        (name,) = candidates.insert_proposals(
            "c",
            [
                {
                    "generator_version": "g",
                    "codes_hash": f"{structure.formula} {formation_energy} {relaxation}",
                    "codes": {"crystal": [1]},
                    **crystal_fields(structure),
                }
            ],
        )
        record = {
            "structure": structure_to_record(structure),
            "formation_energy_per_atom": formation_energy,
            "level": "chgnet-0.3.0",
            "reference_hash": Tabulated().references.digest,
            "settings": RelaxSettings().relaxation_record(),
            **relaxation,
        }
        for source, to in pairwise(FUNNEL[: FUNNEL.index(State.SCREENED) + 1]):
            updates = {"relaxation": record} if to is State.RELAXED else {}
            candidates.transition(
                name, source=source, to=to, token=0, agent="test", updates=updates
            )
        return name

    return make


@pytest.fixture
def same_criterion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the candidates' criterion be that of single points, which the stand-in compares."""
    monkeypatch.setattr("agents.relax.hull_stage.criterion", lambda *_: "single_point")


def test_a_candidate_is_placed_once_and_stays_screened(
    same_criterion: None, stage: Callable[..., HullStage], screened: Callable[..., str]
) -> None:
    name = screened(ROCKSALT, -2.05)
    other = screened(TERNARY, -1.9)
    assert set(queries.lacking("c", State.SCREENED, "hull")) == {name, other}
    assert work(stage(), "c", "me") == 2
    assert queries.lacking("c", State.SCREENED, "hull") == []
    assert work(stage(), "c", "me") == 0
    found = candidates.load(name)
    assert (found.state, found.lease) == ("screened", None)
    assert found.hull["energy_above_hull"] == pytest.approx(-0.05)
    assert found.hull["decomposition_energy"] == pytest.approx(0.05)
    assert [one["id"] for one in found.hull["decomposition"]] == ["mp-3"]
    assert (found.hull["n_phases"], found.hull["n_left_out"]) == (8, 0)
    assert found.hull["level"] == "chgnet-0.3.0"
    assert "mp sha256" in found.hull["reference"]
    assert found.history[-1]["to"] == "screened"
    assert found.history[-1]["agent"] == "hull"
    properties = queries.get(name)["properties"]
    assert properties["energy_above_hull_chgnet"] == pytest.approx(-0.05)
    assert "energy_above_hull" not in properties  # the bare name is that of DFT
    products = candidates.load(other).hull["decomposition"]
    assert {one["id"]: round(one["amount"], 6) for one in products} == {"mp-3": 0.5, "mp-9": 0.5}


def test_candidates_too_far_above_are_rejected_if_asked(
    same_criterion: None, stage: Callable[..., HullStage], screened: Callable[..., str]
) -> None:
    near, far = screened(ROCKSALT, -1.95), screened(ROCKSALT, -1.8)
    work(stage(energy_above_hull_max=0.1), "c", "me")
    assert candidates.load(near).state == "screened"
    rejected = candidates.load(far)
    assert rejected.state == "rejected"
    assert rejected.rejection["reason"] == "energy_above_hull"
    assert rejected.rejection["detail"]["energy_above_hull"] == pytest.approx(0.2)
    assert rejected.hull["energy_above_hull"] == pytest.approx(0.2)
    assert queries.get(far)["properties"]["energy_above_hull_chgnet"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("settings", "energies", "relaxation", "reason"),
    [
        ({}, {"mp-5": 1000.0}, {}, "incomplete"),
        ({"max_phases": 7}, {}, {}, "too_many_phases"),
        ({}, {}, {"reference_hash": "another"}, "mixed_levels"),
        ({}, {}, {"level": "chgnet-0.2.0"}, "mixed_levels"),
    ],
)
def test_a_refused_hull_is_recorded_and_the_candidate_lives(
    same_criterion: None,
    stage: Callable[..., HullStage],
    screened: Callable[..., str],
    settings: dict[str, Any],
    energies: dict[str, float],
    relaxation: dict[str, Any],
    reason: str,
) -> None:
    name = screened(ROCKSALT, -1.8, **relaxation)
    work(stage(Tabulated(energies), energy_above_hull_max=0.1, **settings), "c", "me")
    found = candidates.load(name)
    assert found.state == "screened"
    assert found.hull["refused"]["reason"] == reason
    assert found.hull["refused"]["detail"]
    assert "energy_above_hull" not in found.hull
    assert found.predictions == []
    assert queries.lacking("c", State.SCREENED, "hull") == []


def test_another_relaxation_criterion_is_another_level(
    stage: Callable[..., HullStage], screened: Callable[..., str]
) -> None:
    name = screened(ROCKSALT, -2.05)
    work(stage(), "c", "me")
    assert "single_point" in candidates.load(name).hull["refused"]["detail"]


def test_a_leased_candidate_is_left_to_its_owner(
    same_criterion: None, stage: Callable[..., HullStage], screened: Callable[..., str]
) -> None:
    screened(ROCKSALT, -2.05)
    (leased,) = candidates.lease("c", State.SCREENED, "other", 1, 60, lacks="hull")
    assert isinstance(leased, Candidate)
    assert work(stage(), "c", "me") == 0
