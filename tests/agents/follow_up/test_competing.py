"""The potential names the phases that DFT computes: those near its hull, relaxed, all or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pymatgen.core import Composition, Structure
from reference_phases import COLLECTION, Tabulated, crystal, write_table

from agents.follow_up import competing
from agents.follow_up.competing import competing_phases
from agents.follow_up.settings import FollowUpSettings
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry
from agents.relax.phases_mongo import MongoPhases
from agents.relax.potential import Potential
from agents.relax.relaxation import Relaxation, Stop
from agents.relax.settings import RelaxSettings
from db.connection import Session
from db.crystals import record_to_structure
from discovery.references.importing import import_reference

NACL2 = Composition("NaCl2")


class Restless:
    """Relaxations that leave crystals as they are; of some formulas they never end."""

    def __init__(self, *formulas: str) -> None:
        self.formulas = formulas

    def __call__(
        self, structures: Sequence[Structure], potential: Potential, settings: RelaxSettings
    ) -> Iterator[tuple[int, Relaxation]]:
        assert settings.max_steps == 3  # the phases' own
        for index, one in enumerate(structures):
            done = one.composition.reduced_formula not in self.formulas
            stop = Stop.CONVERGED if done else Stop.MAX_STEPS
            yield index, Relaxation(one, 0.0, 0.0, 0.0, 0.0, 1, done, 1.0, 0.0, stop, 1)


@pytest.fixture
def imported(database: Session, tmp_path: Path) -> None:
    rows = {name: crystal(COLLECTION[name][0], int(name[3:])) for name in COLLECTION}
    write_table(tmp_path / "mp.csv.gz", rows)
    import_reference(str(tmp_path / "mp.csv.gz"), name="mp")


def phases(potential: Tabulated) -> MongoPhases:
    return MongoPhases(
        potential,
        potential.references,
        collection="mp",
        relax=RelaxSettings(),
        hull=HullSettings(max_steps=3),
        geometry=Geometry.SINGLE_POINT,
    )


def test_phases_near_the_potentials_hull_are_relaxed(
    imported: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(competing, "relaxations", Restless())
    settings = FollowUpSettings(hull=True, hull_margin=0.05)
    found = competing_phases(NACL2, phases(Tabulated()), RelaxSettings(), settings)
    above = {one["id"]: round(one["above_hull"], 6) for one in found["phases"]}
    # mp-5 and mp-8 are far above, mp-7 by 0.07; of the elements DFT has references of its own
    assert above == {"mp-3": 0.0, "mp-6": 0.0, "mp-4": 0.03}
    first = record_to_structure(found["phases"][0]["structure"])
    assert first.composition.reduced_formula == "NaCl"
    assert found["n_considered"] == 8
    assert found["geometry"].startswith("relaxed, force<=0.03")
    assert found["level"] == "chgnet-0.3.0"


def test_a_hull_that_would_be_wrong_is_refused(
    imported: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = FollowUpSettings(hull=True, hull_max_phases=2)
    found = competing_phases(NACL2, phases(Tabulated()), RelaxSettings(), few)
    assert found["refused"]["reason"] == "too_many_phases"
    assert "3 phases within 0.05 eV/atom" in found["refused"]["detail"]
    monkeypatch.setattr(competing, "relaxations", Restless("NaCl3"))
    found = competing_phases(NACL2, phases(Tabulated()), RelaxSettings(), FollowUpSettings())
    assert found["refused"]["reason"] == "incomplete"
    assert "mp-6 (its relaxation ended with max_steps)" in found["refused"]["detail"]
