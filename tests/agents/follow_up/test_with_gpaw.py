"""A hit from its verification to its hull, with real launchers, GPAW and CHGNet."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from reference_phases import write_table

from agents.follow_up.agent import FollowUpAgent
from agents.follow_up.settings import FollowUpSettings
from agents.follow_up.stability import StabilityStage
from agents.relax.batch import relax
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry
from agents.relax.phases_mongo import MongoPhases
from agents.relax.potential import Potential
from agents.relax.references import ElementalReferences
from agents.relax.settings import RelaxSettings
from agents.stage import work
from agents.targets import Window
from agents.verify.agent import VerifyAgent
from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.queue.launchpad import launch
from agents.verify.settings import VerifySettings
from db import calculations, candidates
from db.connection import Session
from db.crystals import crystal_fields, structure_to_record
from db.documents import Calculation
from db.states import FUNNEL, State
from discovery.references.importing import import_reference

ROCKSALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
).get_primitive_structure()
CAESIUM_CHLORIDE = Structure(Lattice.cubic(3.49), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SODIUM = Structure.from_spacegroup("Im-3m", Lattice.cubic(4.2), ["Na"], [[0, 0, 0]])
TINY = (
    GPAWBackend()
    .settings("fast")
    .model_copy(
        update={"cutoff": 300.0, "k_density": 2.0, "gap_k_density": 2.5, "element_k_density": 2.0}
    )
)


@pytest.mark.long
def test_a_hit_is_followed_up_to_its_hull(
    database: Session, tmp_path: Path, chgnet: Potential
) -> None:
    relaxation = RelaxSettings()
    relaxed = relax(ROCKSALT, chgnet, relaxation).structure
    verification = verifier(database)
    (name,) = candidates.insert_proposals(
        "c",
        [
            {
                "generator_version": "g",
                "codes_hash": "a",
                "codes": {"crystal": [1]},
                **crystal_fields(ROCKSALT),
            }
        ],
    )
    for source, to in pairwise(FUNNEL[: FUNNEL.index(State.SCREENED) + 1]):
        updates = {"relaxation": {"structure": structure_to_record(relaxed)}}
        candidates.transition(
            name,
            source=source,
            to=to,
            token=0,
            agent="test",
            updates=updates if to is State.RELAXED else {},
        )
    verification.step(last=True)
    run(database, tmp_path)
    verification.step(last=True)
    assert candidates.load(name).verification["hit"] is True

    settings = FollowUpSettings(
        max_hits=1, hull=True, hull_margin=0.3, supercell_length=6.0, displacements=(0.03,)
    )
    agent = FollowUpAgent(verification, settings, verification.windows, seed=1)
    agent.step()
    stage = StabilityStage(chgnet, relaxation, settings, 1, phases(tmp_path, chgnet, relaxation))
    assert work(stage, "c", "me") == 1
    agent.step()
    run(database, tmp_path)
    verification.collect()
    assert agent.step().done

    found = candidates.load(name)
    assert found.state == "verified"
    follow_up = found.follow_up
    assert follow_up["stability"]["verdict"] == "stable"
    assert [one["id"] for one in follow_up["competing"]["phases"]] == ["mp-1", "mp-2"]
    assert follow_up["bands"]["direct"] is True
    assert follow_up["bands"]["density"] == "parent"
    assert follow_up["bands"]["band_gap_path"] == pytest.approx(5.0, abs=0.3)
    hull = follow_up["hull"]
    assert hull["energy_above_hull"] == pytest.approx(0.0, abs=0.003)  # it is mp-1
    assert [one["id"] for one in hull["decomposition"]] == ["mp-1"]
    assert hull["energies"] == "raw"
    above = hull["phases"]["mp-2"] - hull["phases"]["mp-1"]
    assert above == pytest.approx(0.156, abs=0.01)  # with `fast`
    assert hull["phases"]["mp-1"] == pytest.approx(-1.86, abs=0.1)  # RECIPES, converged
    for hash in hull["calculations"].values():
        assert calculations.load(hash).task == "static"
    assert Calculation.objects(kind="reference").count() == 2


def verifier(database: Session) -> VerifyAgent:
    level = GPAWBackend().level(TINY)
    resolved = {"name": "gpaw", "level": level, "settings": TINY.record()}
    settings = VerifySettings(max_submitted=1, max_completed=1, min_pool=1, timeout_seconds=600)
    windows = (Window(property="band_gap", min=4.0, max=6.0),)
    return VerifyAgent("c", database, settings, windows, 1, resolved)


def run(database: Session, folder: Path) -> int:
    return launch(database, threading.Event(), home=folder / "home", max_idle_seconds=0.0)


def phases(folder: Path, potential: Potential, relaxation: RelaxSettings) -> MongoPhases:
    rows = {"mp-1": ROCKSALT, "mp-2": CAESIUM_CHLORIDE, "mp-3": SODIUM}
    write_table(folder / "mp.csv.gz", rows)
    import_reference(str(folder / "mp.csv.gz"), name="mp")
    return MongoPhases(
        potential,
        ElementalReferences.load(potential),
        collection="mp",
        relax=relaxation,
        hull=HullSettings(),
        geometry=Geometry.SINGLE_POINT,
    )
