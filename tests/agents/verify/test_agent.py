"""The agent's step on the real database: budget, pool, end."""

from __future__ import annotations

from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.targets import Window
from agents.verify import agent as agent_module
from agents.verify.agent import VerifyAgent
from agents.verify.backend import Availability, BackendUnavailable, DFTBackend
from agents.verify.choice.budget import core_time
from agents.verify.settings import VerifySettings
from agents.verify.setup.presets import preset
from db import calculations, candidates
from db.connection import Session
from db.documents import Calculation, Candidate
from db.states import CalculationState, State

WINDOWS = (Window(property="band_gap", min=0.5, max=2.5),)


def recorded(backend: DFTBackend) -> dict[str, Any]:
    """What a campaign records of a code at its start."""
    dft = backend.settings("fast")
    return {"name": "gpaw", "level": backend.level(dft), "settings": dft.record()}


@pytest.fixture
def make_agent(database: Session, backend: DFTBackend, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(agent_module, "load_backend", lambda name: backend)

    def make(**settings: Any) -> VerifyAgent:
        resolved = recorded(backend)
        return VerifyAgent("test", database, VerifySettings(**settings), WINDOWS, 1, resolved)

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
    assert agent.step(last=False, before=0).submitted == 0
    assert agent.step(last=False, before=1).submitted == 0  # below min_pool
    assert agent.step(last=False, before=2).submitted == 2
    chosen = {one.id for one in Candidate.objects(selection__position__exists=True)}
    assert chosen == {ids[0], ids[1]}


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


@pytest.mark.parametrize("changed", ["version", "data sets", "missing"])
def test_a_campaign_never_goes_on_at_another_level(
    database: Session, backend: Any, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    resolved = recorded(backend)
    monkeypatch.setattr(agent_module, "load_backend", lambda name: backend)
    message = f"verifies with {resolved['level']}"
    if changed == "version":
        monkeypatch.setattr(type(backend), "version", "2")
    elif changed == "data sets":
        other = preset("fast").model_copy(update={"data_sets": "sets-2"})
        monkeypatch.setattr(backend, "settings", lambda name: other)
    else:
        missing = Availability(False, "GPAW is not installed")
        monkeypatch.setattr(backend, "available", lambda: missing)
        message = "GPAW is not installed"
    with pytest.raises(BackendUnavailable, match=message):
        VerifyAgent("test", database, VerifySettings(), WINDOWS, 1, resolved)


def test_none_verifies_nothing(database: Session, add_candidate: Any) -> None:
    add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)
    resolved = {"name": "none", "reason": "GPAW is not installed"}
    agent = VerifyAgent("test", database, VerifySettings(), WINDOWS, 1, resolved)
    progress = agent.step(last=True)
    assert progress.done
    assert Calculation.objects.count() == 0


def test_stop_chooses_nothing_more_and_finishes_what_is_chosen(
    make_agent: Any, add_candidate: Any
) -> None:
    chosen = add_candidate(cubic("Na Cl", 3.0))  # selected, not yet submitted
    add_candidate(cubic("Na Cl", 3.5), state=State.SCREENED)
    agent = make_agent(min_pool=1)
    progress = agent.step(last=False, stop=True)
    assert (progress.submitted, progress.in_flight, progress.done) == (1, 1, False)
    assert candidates.load(chosen).state == State.VERIFYING
    fail_everything()
    progress = agent.step(last=False, stop=True)
    assert (progress.submitted, progress.pool, progress.done) == (1, 1, True)
    assert not agent.progress(last=False).done


def test_candidates_outside_of_what_may_be_chosen_do_not_keep_it_going(
    make_agent: Any, add_candidate: Any
) -> None:
    add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)
    agent = make_agent(min_pool=1)
    progress = agent.step(last=True, before=0)
    assert (progress.done, progress.pool) == (True, 0)
    assert not agent.progress(last=True, before=1).done


def test_a_candidate_whose_cost_cannot_be_estimated_is_not_chosen(
    make_agent: Any, add_candidate: Any, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)
    fine = add_candidate(cubic("Na F", 3.0), state=State.SCREENED)
    estimate = backend.estimate_core_seconds

    def fails_at_chlorine(structure: Structure, settings: Any) -> float:
        if structure.composition.reduced_formula == "NaCl":
            raise IndexError("no symmetry operations")
        return float(estimate(structure, settings))

    monkeypatch.setattr(backend, "estimate_core_seconds", fails_at_chlorine)
    assert make_agent(min_pool=1).step(last=True).submitted == 1
    assert candidates.load(broken).state == State.SCREENED
    assert candidates.load(fine).state == State.VERIFYING


def test_candidate_that_another_process_moved_is_left_alone(
    make_agent: Any, add_candidate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        add_candidate(cubic("Na Cl", 3.0 + n), state=State.SCREENED)
    agent = make_agent(min_pool=1)
    load = candidates.load

    def raced(name: str) -> Candidate:
        found = load(name)
        if found.state == State.SCREENED and Candidate.objects(state="selected").count() == 0:
            candidates.transition(
                name, source=State.SCREENED, to=State.SELECTED, token=found.token, agent="other"
            )
        return found

    monkeypatch.setattr(candidates, "load", raced)
    assert len(agent.select(last=True)) == 1


def test_choice_after_a_crash_between_two_transitions_is_the_same(
    make_agent: Any, add_candidate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second choice is cheap only because the first pays for its references."""
    costs = {"Na": 30.0, "Cl": 5.0, "K": 31.0, "F": 5.0}
    for elements, a in (("Na Cl", 3.0), ("Na Cl", 3.5), ("K F", 3.0)):
        add_candidate(cubic(elements, a), state=State.SCREENED)
    agent = make_agent(min_pool=1, max_completed=2, control_share=0.0)
    monkeypatch.setattr(agent, "_cost_of_reference", lambda element: costs[element])
    choose = agent_module.choose
    with monkeypatch.context() as patch:  # dies after the first transition
        patch.setattr(agent_module, "choose", lambda *a, **k: choose(*a, **k)[:1])
        (first,) = agent.select(last=True)
    (second,) = agent.select(last=True)
    chosen = [candidates.load(one.id).formula for one in (first, second)]
    assert chosen == ["NaCl", "NaCl"]


def finish_everything(core_seconds: float) -> None:
    """Complete every calculation, each after so long."""
    structure = {"lattice": cubic("Na Cl", 3.0).lattice.matrix.tolist()}
    for one in Calculation.objects(state="submitted"):
        species = one.structure["species"]
        result = {
            **{"structure": {**one.structure, **structure}, "energy_per_atom": -1.0},
            **{"band_gap": 1.0, "is_metal": False, "direct": False, "gap_confirmed": True},
            **{"spin_polarised": False, "magnetic_moment": 0.0, "symmetry": {}},
            **{"cpu_seconds": 1.0, "n_atoms": len(species)},
        }
        attempts = [{"core_seconds": core_seconds, "campaign": one.info["campaign"]}]
        source, to = CalculationState.SUBMITTED, CalculationState.COMPLETED
        calculations.advance(one.hash, source, to, result=result, attempts=attempts)


def test_budget_of_core_hours_counts_what_is_in_flight_and_what_was_measured(
    make_agent: Any, add_candidate: Any
) -> None:
    """An atom costs 1 s, without a gap 0.6 s: 2 s a compound, 0.6 s sodium, 2 s the molecule."""
    for n in range(4):
        add_candidate(cubic("Na Cl", 3.0 + n), state=State.SCREENED)
    agent = make_agent(min_pool=1, max_completed=4, max_concurrent=4, max_core_hours=7.5 / 3600)
    progress = agent.step(last=True)
    assert progress.submitted == 2  # 2 + 0.6 + 2, and 2; a third would be 8.6
    assert agent.core_time().in_flight == pytest.approx(6.6)
    assert agent.core_time().remaining == pytest.approx(0.9)
    assert "0.002 of 0.002 core-hours" in progress.waiting_for
    finish_everything(0.5)
    progress = agent.step(last=True)
    assert agent.core_time().spent == pytest.approx(4 * 0.5)
    assert progress.submitted == 4  # 2 s measured in place of 6.6 s estimated
    finish_everything(30.0)
    add_candidate(cubic("Na Cl", 9.0), state=State.SCREENED)
    progress = agent.step(last=True)
    assert agent.core_time().remaining == 0.0
    assert (progress.done, progress.completed, progress.pool) == (True, 4, 1)


def test_campaign_ends_when_its_core_hours_are_used_up(make_agent: Any, add_candidate: Any) -> None:
    add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)
    agent = make_agent(min_pool=1, max_core_hours=3.0 / 3600)  # 4.6 s are needed
    assert not agent.step(last=False).done  # a cheaper one may come
    progress = agent.step(last=True)
    assert (progress.done, progress.submitted, progress.out_of_core_hours) == (True, 0, True)


def test_a_short_run_leaves_long_calculations_to_a_longer_one(
    make_agent: Any, add_candidate: Any, database: Session, backend: DFTBackend
) -> None:
    """Two atoms cost 2 s: too long for a run that allows 1.5 s."""
    add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)

    def agent(longest: float) -> VerifyAgent:
        settings = VerifySettings(min_pool=1)
        given = (settings, WINDOWS, 1, recorded(backend))
        return VerifyAgent("test", database, *given, longest=longest)

    make_agent()  # the backend of these tests from here on
    progress = agent(1.5).step(last=True)
    assert (progress.done, progress.submitted, progress.out_of_time) == (True, 0, True)
    assert not agent(1.5).step(last=False).done  # a shorter one may come
    progress = agent(2.5).step(last=True)
    assert (progress.done, progress.submitted, progress.out_of_time) == (False, 1, False)
    (chosen,) = Candidate.objects(selection__position__exists=True)
    assert chosen.selection["rule"]["max_core_seconds"] == 2.5


def test_calculations_of_another_campaign_are_not_paid_again(
    make_agent: Any, add_candidate: Any, database: Session
) -> None:
    add_candidate(cubic("Na Cl", 3.0), campaign="before", state=State.SCREENED)
    agent = make_agent(min_pool=1)
    agent.campaign = agent.submission.campaign = "before"
    agent.step(last=True)
    assert core_time("before", None).in_flight == pytest.approx(4.6)
    add_candidate(cubic("Na Cl", 3.5), state=State.SCREENED)
    make_agent(min_pool=1).step(last=True)
    assert core_time("test", None).in_flight == 2.0
    assert core_time("test", 1.0).record() == {
        "spent": 0.0,
        "in_flight": pytest.approx(2 / 3600),
        "limit": 1.0,
    }


def test_a_reference_that_was_killed_costs_again_and_excludes_nothing(
    make_agent: Any, add_candidate: Any
) -> None:
    add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)
    agent = make_agent(min_pool=1)
    agent.step(last=False)
    reference = Calculation.objects(kind="reference", formula="Na").first()
    assert agent._cost_of_reference("Na") == 0.0
    source, to = CalculationState.SUBMITTED, CalculationState.FAILED
    info = {**reference.info, "failure": {"kind": "killed", "message": "by SIGKILL"}}
    calculations.advance(reference.hash, source, to, error="killed: by SIGKILL", info=info)
    assert agent._cost_of_reference("Na") == pytest.approx(0.6)
    add_candidate(cubic("Na F", 3.0), state=State.SCREENED)
    agent.step(last=True)
    assert calculations.load(reference.hash).state == CalculationState.SUBMITTED


def test_whoever_may_not_choose_any_more_marks_nothing(make_agent: Any, add_candidate: Any) -> None:
    name = add_candidate(cubic("Na Cl", 3.0), state=State.SCREENED)

    def refuse() -> None:
        raise PermissionError

    agent = make_agent(min_pool=1)
    with pytest.raises(PermissionError):
        agent.step(last=True, confirm=refuse)
    assert candidates.load(name).state == State.SCREENED
    assert agent.step(last=True).submitted == 1
    agent.step(last=True, confirm=refuse)  # asked only where there is something to choose
