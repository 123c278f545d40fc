"""The agent's step on the real database: budget, pool, end."""

from __future__ import annotations

from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.targets import Window
from agents.verify import agent as agent_module
from agents.verify.agent import VerifyAgent
from agents.verify.backend import DFTBackend
from agents.verify.presets import preset
from agents.verify.settings import VerifySettings
from db import calculations, candidates
from db.connection import Session
from db.documents import Calculation, Candidate
from db.states import CalculationState, State

WINDOWS = (Window(property="band_gap", min=0.5, max=2.5),)
RESOLVED = {"name": "gpaw", "settings": preset("fast").record()}


@pytest.fixture
def make_agent(database: Session, backend: DFTBackend, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(agent_module, "load_backend", lambda name: backend)

    def make(**settings: Any) -> VerifyAgent:
        return VerifyAgent("test", database, VerifySettings(**settings), WINDOWS, 1, RESOLVED)

    return make


def cubic(elements: str, a: float) -> Structure:
    """Two atoms in a CsCl cell."""
    return Structure(Lattice.cubic(a), elements.split(), [[0, 0, 0], [0.5, 0.5, 0.5]])


def fail_everything() -> None:
    for one in Calculation.objects(state="submitted", kind="compound"):
        source, to = CalculationState.SUBMITTED, CalculationState.FAILED
        calculations.advance(one.hash, source, to, error="scf: no")


def test_it_waits_for_a_pool_unless_no_more_will_come(make_agent: Any, add_candidate: Any) -> None:
    for n in range(3):
        add_candidate(cubic("Na Cl", 3.0 + n), state=State.SCREENED)
    agent = make_agent(min_pool=5)
    waiting = agent.step(last=False)
    assert (waiting.submitted, waiting.pool, waiting.done) == (0, 3, False)
    assert agent.step(last=True).submitted == 3


def test_only_candidates_of_whole_rounds_are_chosen(make_agent: Any, add_candidate: Any) -> None:
    ids = [add_candidate(cubic("Na Cl", 3.0 + n), state=State.SCREENED) for n in range(4)]
    agent = make_agent(min_pool=2)
    assert agent.step(last=False, within=set()).submitted == 0
    assert agent.step(last=False, within={ids[3]}).submitted == 0  # below min_pool
    assert agent.step(last=False, within={ids[1], ids[3]}).submitted == 2
    chosen = {one.id for one in Candidate.objects(selection__position__exists=True)}
    assert chosen == {ids[1], ids[3]}


def test_failures_are_replaced_until_the_budget_is_spent(
    make_agent: Any, add_candidate: Any
) -> None:
    for n in range(8):
        add_candidate(cubic("Na Cl", 3.0 + n), state=State.SCREENED)
    agent = make_agent(max_submitted=5, max_completed=2, min_pool=1)
    in_flight = []
    for _ in range(4):
        in_flight.append(agent.step(last=True).in_flight)
        fail_everything()
    progress = agent.step(last=True)
    assert in_flight == [2, 2, 1, 0]
    assert (progress.submitted, progress.failed, progress.pool) == (5, 5, 3)
    assert progress.done
    positions = [one.selection["position"] for one in Candidate.objects(state="failed")]
    assert sorted(positions) == [0, 1, 2, 3, 4]


def test_it_ends_when_nothing_in_the_pool_can_be_computed(
    make_agent: Any, add_candidate: Any
) -> None:
    add_candidate(cubic("Na Xe", 3.5), state=State.SCREENED)
    agent = make_agent(min_pool=1)
    assert not agent.step(last=False).done
    progress = agent.step(last=True)
    assert progress.done
    assert (progress.submitted, progress.pool) == (0, 1)


def test_a_failed_reference_excludes_its_element_afterwards(
    make_agent: Any, add_candidate: Any
) -> None:
    first = add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)
    agent = make_agent(min_pool=1)
    agent.step(last=False)
    reference = Calculation.objects(kind="reference", formula="Cl2").first()
    source, to = CalculationState.SUBMITTED, CalculationState.FAILED
    calculations.advance(reference.hash, source, to, error="timeout: no")
    add_candidate(cubic("K Cl", 3.0), state=State.SCREENED)
    other = add_candidate(cubic("K F", 3.5), state=State.SCREENED)
    progress = agent.step(last=True)
    assert "reference of Cl" in candidates.load(first).error
    assert candidates.load(other).state == State.VERIFYING
    assert (progress.pool, progress.in_flight) == (1, 1)


def test_none_verifies_nothing(database: Session, add_candidate: Any) -> None:
    add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)
    resolved = {"name": "none", "reason": "GPAW is not installed"}
    agent = VerifyAgent("test", database, VerifySettings(), WINDOWS, 1, resolved)
    progress = agent.step(last=True)
    assert progress.done
    assert Calculation.objects.count() == 0
