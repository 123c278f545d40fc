"""The follow-up on the real database and queue: who is asked, what is paid, what is concluded."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure
from rich.console import Console

from agents.follow_up.agent import FollowUpAgent
from agents.follow_up.settings import FollowUpSettings
from agents.targets import Window
from agents.verify import agent as verify_agent
from agents.verify.agent import VerifyAgent
from agents.verify.queue.outputs import keep
from agents.verify.settings import VerifySettings
from db import calculations, candidates, queries
from db.connection import Session
from db.crystals import crystal_fields, record_to_structure, structure_to_record
from db.documents import Calculation
from db.states import FUNNEL, CalculationState, State
from discovery.export.candidates import full_record
from discovery.lineage.view import describe
from discovery.reports.status import follow_up_counts
from tests.agents.verify.conftest import StubBackend

WINDOWS = (Window(property="band_gap", min=0.5, max=2.5),)
ENERGIES = {"Na": -1.0, "Cl": -2.0, "I": -1.5, "NaCl": -3.5, "NaI": -3.0, "NaCl3": -2.2}
GAPS = {"NaCl": 2.0, "NaI": 1.4}


def cubic(elements: str, edge: float) -> Structure:
    """Two atoms in a CsCl cell."""
    return Structure(Lattice.cubic(edge), elements.split(), [[0, 0, 0], [0.5, 0.5, 0.5]])


def answer(one: Calculation) -> dict[str, Any]:
    """What a code would say of a calculation."""
    structure = record_to_structure(one.structure)
    name = structure.composition.reduced_formula
    name = {"Cl2": "Cl", "I2": "I"}.get(name, name)
    common: dict[str, Any] = {
        **{"structure": one.structure, "cpu_seconds": 1.0, "changes": {}, "is_metal": False},
        **{"direct": True, "spin_polarised": False, "magnetic_moment": 0.0, "symmetry": {}},
    }
    own: dict[str, dict[str, Any]] = {
        "static": {
            "energy_per_atom": ENERGIES.get(name),
            "band_gap": GAPS.get(name, 0.0),
            "gap_confirmed": True,
        },
        "bands": {
            **{"band_gap_path": 1.9, "direct_gap_path": 2.1, "direct": False},
            **{"path": "GXM", "top": {"label": "G"}, "bottom": {"label": "X"}},
        },
        "spin_orbit": {"band_gap_spin_orbit": 0.9, "band_gap": 1.4, "shift": -0.5},
        "hybrid": {"band_gap_hybrid": 2.8, "band_gap": 2.0, "shift": 0.8},
    }
    return common | own[one.task]


def finish(**failed: str) -> int:
    """Answer everything that is queued; calculations of the named tasks fail."""
    done = 0
    for one in Calculation.objects(state="submitted").order_by("created_at"):
        source = CalculationState.SUBMITTED
        if one.task in failed:
            to, fields = CalculationState.FAILED, {"error": failed[one.task]}
        else:
            to, fields = CalculationState.COMPLETED, {"result": answer(one)}
        done += calculations.advance(one.hash, source, to, **fields)
    return done


@pytest.fixture
def verification(database: Session, monkeypatch: pytest.MonkeyPatch) -> VerifyAgent:
    """A campaign whose hits are verified at once."""
    backend = StubBackend()
    monkeypatch.setattr(verify_agent, "load_backend", lambda name: backend)
    dft = backend.settings("fast")
    resolved = {"name": "gpaw", "level": backend.level(dft), "settings": dft.record()}
    settings = VerifySettings(max_submitted=8, max_completed=8, max_concurrent=8, min_pool=1)
    return VerifyAgent("c", database, settings, WINDOWS, 1, resolved)


@pytest.fixture
def verify(verification: VerifyAgent) -> Callable[..., list[str]]:
    """Return a function that has crystals verified."""
    number = count()

    def make(*structures: Structure) -> list[str]:
        names = []
        for structure in structures:
            proposal = {
                "generator_version": "g",
                "codes_hash": f"codes{next(number)}",
                "codes": {"species": [1], "crystal": [1], "local": [[1]]},
                **{"base_id": "b", "proposer": "p", "episode": 0, "generation": 0},
                **crystal_fields(structure),
            }
            (name,) = candidates.insert_proposals("c", [proposal])
            for source, to in pairwise(FUNNEL[: FUNNEL.index(State.SCREENED) + 1]):
                relaxed = {"relaxation": {"structure": structure_to_record(structure)}}
                updates = relaxed if to is State.RELAXED else {}
                candidates.transition(
                    name, source=source, to=to, token=0, agent="test", updates=updates
                )
            names.append(name)
        verification.step(last=True)
        finish()
        verification.step(last=True)
        assert {candidates.load(name).state for name in names} == {"verified"}
        return names

    return make


@pytest.fixture
def follow(verification: VerifyAgent) -> Callable[..., FollowUpAgent]:
    def make(**settings: Any) -> FollowUpAgent:
        asked = FollowUpSettings(**{"max_hits": 2, **settings})
        return FollowUpAgent(verification, asked, WINDOWS, seed=1)

    return make


def stable(name: str, **more: Any) -> None:
    """Write what the worker writes."""
    found = candidates.load(name)
    updates = {"follow_up.stability": {"verdict": "stable"}, **more}
    candidates.transition(
        name,
        source=State.VERIFIED,
        to=State.VERIFIED,
        token=found.token,
        agent="test",
        updates=updates,
    )


def test_a_short_run_leaves_long_questions_to_a_longer_one(
    verification: VerifyAgent,
    verify: Callable[..., list[str]],
    follow: Callable[..., FollowUpAgent],
) -> None:
    (salt,) = verify(cubic("Na Cl", 3.0))
    verification.choosing = verification.settings.no_longer_than(0.01)
    short = follow()
    short.step()
    stable(salt)
    progress = short.step()
    assert (progress.dft, progress.postponed, progress.done) == (1, 1, True)
    assert "dft" not in candidates.load(salt).follow_up
    verification.choosing = verification.settings
    assert follow().step().postponed == 0
    asked = candidates.load(salt).follow_up["dft"]
    assert (set(asked["calculations"]), asked["refused"]) == ({"bands"}, {})


def test_hits_are_asked_up_to_the_limit_and_paid_for_once(
    verify: Callable[..., list[str]], follow: Callable[..., FollowUpAgent]
) -> None:
    salt, iodide, third, miss = verify(
        cubic("Na Cl", 3.0), cubic("Na I", 3.5), cubic("Na Cl", 4.0), cubic("Na Na", 3.0)
    )
    assert candidates.load(miss).verification["hit"] is False
    agent = follow()
    progress = agent.step()
    assert (progress.chosen, progress.potential, progress.dft) == (2, 2, 2)
    assert progress.waiting_for == "follow-up: 2 potential, 2 dft"
    assert candidates.load(third).follow_up is None
    first, second = candidates.load(salt).follow_up, candidates.load(iodide).follow_up
    assert (first["position"], second["position"]) == (0, 1)
    assert set(first["dft"]["calculations"]) == {"bands"}
    assert set(second["dft"]["calculations"]) == {"bands", "spin_orbit"}  # iodine
    bands = calculations.load(first["dft"]["calculations"]["bands"])
    assert bands.parent == candidates.load(salt).verification["calculations"]["compound"]
    assert (bands.info["campaign"], bands.info["timeout_seconds"]) == ("c", 1800.0)
    before = Calculation.objects.count()
    follow().step()
    assert Calculation.objects.count() == before
    assert finish() == 3
    stable(salt)
    stable(iodide)
    assert agent.step().done
    found = candidates.load(iodide)
    assert found.state == "verified"
    assert found.follow_up["bands"]["direct"] is False
    assert found.follow_up["spin_orbit"]["shift"] == -0.5
    assert found.follow_up["gaps"]["estimate"] == pytest.approx(1.4 - 0.5)
    assert found.follow_up["gaps"]["includes"] == ["spin_orbit"]
    assert found.follow_up["gaps"]["in_window"] == {"verified": True, "estimate": True}
    assert "semilocal" in found.follow_up["gaps"]["note"]
    assert found.history[-1]["agent"] == "follow_up"
    counts = follow_up_counts("c")
    assert (counts["chosen"], counts["finished"], counts["stable"]) == (2, 2, 2)
    assert (counts["direct"], counts["still_in_window"]) == (0, 2)
    shown = io.StringIO()
    describe(full_record(iodide), Console(file=shown, width=200))
    assert "spin-orbit: gap 0.900 eV, -0.500" in shown.getvalue()
    assert "gap: 0.900 eV estimated (DFT + spin_orbit), inside the window" in shown.getvalue()


def test_a_hybrid_may_take_a_hit_out_of_its_window(
    verify: Callable[..., list[str]], follow: Callable[..., FollowUpAgent]
) -> None:
    (salt,) = verify(cubic("Na Cl", 3.0))
    agent = follow(hybrid=True)
    agent.step()
    finish()
    agent.step()
    gaps = candidates.load(salt).follow_up["gaps"]
    assert gaps["estimate"] == pytest.approx(1.9 + 0.8)
    assert gaps["in_window"] == {"verified": True, "estimate": False}


def test_the_density_is_kept_until_the_follow_up_has_ended(
    verify: Callable[..., list[str]], follow: Callable[..., FollowUpAgent], tmp_path: Path
) -> None:
    (salt,) = verify(cubic("Na Cl", 3.0))
    compound = calculations.load(candidates.load(salt).verification["calculations"]["compound"])
    density = tmp_path / "attempt-1" / "density.gpw"
    density.parent.mkdir()
    density.write_text("density")
    outputs = {"folder": str(tmp_path), "attempt": "attempt-1", **keep(tmp_path, restart=True)}
    state = CalculationState.COMPLETED
    calculations.advance(compound.hash, state, state, outputs=outputs)
    agent = follow()
    agent.step()
    assert density.exists()
    finish()
    agent.step()
    assert not density.exists()
    assert calculations.load(compound.hash).outputs["files"] == []


def test_nothing_is_queued_beyond_the_core_hours(
    verify: Callable[..., list[str]], follow: Callable[..., FollowUpAgent]
) -> None:
    (salt,) = verify(cubic("Na Cl", 3.0))
    before = Calculation.objects.count()
    agent = follow(hybrid=True, max_core_hours=2.0 / 3600)
    agent.step()
    asked = candidates.load(salt).follow_up["dft"]
    assert set(asked["calculations"]) == {"bands"}  # 2 atoms x 0.6 s; HSE06 is 50 times static
    assert asked["refused"]["hybrid"].startswith("too_expensive: estimated 0.028 core-hours")
    assert Calculation.objects.count() == before + 1


def test_failures_are_answers(
    verify: Callable[..., list[str]], follow: Callable[..., FollowUpAgent]
) -> None:
    (salt,) = verify(cubic("Na Cl", 3.0))
    agent = follow()
    agent.step()
    finish(bands="timeout: too slow")
    agent.step()
    found = candidates.load(salt)
    assert found.state == "verified"
    assert found.follow_up["bands"]["failed"] == "timeout: too slow"
    assert found.follow_up["gaps"]["estimate"] == pytest.approx(2.0)


def test_a_crystal_that_kills_workers_is_given_up(
    verify: Callable[..., list[str]], follow: Callable[..., FollowUpAgent]
) -> None:
    (salt,) = verify(cubic("Na Cl", 3.0))
    agent = follow(bands=False)
    agent.step()
    for _ in range(3):
        (leased,) = candidates.lease("c", State.VERIFIED, "w", 1, 60, has="follow_up.structure")
        agent.step()  # leaves what a worker holds alone
        assert candidates.load(salt).token == leased.token
        candidates.abandon({salt: leased.token}, "out of memory")
    assert [agent.step().done for _ in range(2)] == [False, True]
    given_up = candidates.load(salt).follow_up["stability"]
    assert given_up["verdict"] == "undecided"
    assert "out of memory" in given_up["failed"]


COMPETING = {
    **{"reference": "mp v1", "level": "chgnet-0.3.0", "margin": 0.05, "n_considered": 9},
    "geometry": "relaxed",
    "phases": [
        {"id": "mp-1", "structure": structure_to_record(cubic("Na Cl", 3.4))},
        {
            "id": "mp-2",
            "structure": structure_to_record(
                Structure(
                    Lattice.cubic(5), ["Na", "Cl", "Cl", "Cl"], [[0.1 * n] * 3 for n in range(4)]
                )
            ),
        },
    ],
}


def test_hulls_share_their_phases_and_have_the_bare_name(
    verify: Callable[..., list[str]], follow: Callable[..., FollowUpAgent]
) -> None:
    one, other = verify(cubic("Na Cl", 3.0), cubic("Na Cl", 4.0))
    agent = follow(hull=True, bands=False)
    agent.step()
    assert "dft" not in candidates.load(one).follow_up  # the worker names the phases first
    stable(one, **{"follow_up.competing": COMPETING})
    agent.step()
    stable(other, **{"follow_up.competing": COMPETING})
    agent.step()
    phases = list(Calculation.objects(kind="phase"))
    assert sorted(phase.formula for phase in phases) == ["NaCl", "NaCl3"]
    assert all(set(phase.candidates) == {one, other} for phase in phases)
    finish()
    assert agent.step().done
    found = candidates.load(one).follow_up["hull"]
    assert found["energy_above_hull"] == pytest.approx(0.0)  # the same energy as mp-1
    assert [product["id"] for product in found["decomposition"]] == ["mp-1"]
    assert found["criterion"] == "chgnet-0.3.0, relaxed"
    assert queries.get(one)["properties"]["energy_above_hull"] == pytest.approx(0.0)
    assert follow_up_counts("c")["hulls"] == 2


def test_a_hull_is_refused_whole(
    verify: Callable[..., list[str]], follow: Callable[..., FollowUpAgent]
) -> None:
    names = verify(cubic("Na Cl", 3.0), cubic("Na Cl", 4.0))
    refused = {"refused": {"reason": "too_many_phases", "detail": "400 phases"}}
    follow(hull=True, bands=False).step()
    stable(names[0], **{"follow_up.competing": refused})
    stable(names[1], **{"follow_up.competing": COMPETING})
    follow(hull=True, bands=False, max_core_hours=3.0 / 3600).step()
    asked = [candidates.load(name).follow_up["dft"] for name in names]
    assert asked[0]["refused"]["hull"] == "too_many_phases: 400 phases"
    assert "too_expensive" in asked[1]["refused"]["hull"]  # 2 + 4 atoms, 0.6 s each
    assert Calculation.objects(kind="phase").count() == 0
