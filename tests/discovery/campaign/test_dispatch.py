"""Which candidates are relaxed depends on energies alone."""

from __future__ import annotations

from typing import Any

import pytest

from agents.relax.settings import RelaxSettings
from db import campaigns, candidates
from db.connection import Session
from db.states import State
from discovery.campaign import dispatch
from discovery.campaign.dispatch import dispatch_relaxations

CAMPAIGN = "dispatch"
ENERGIES = [0.3, -1.0, -0.2, 2.0, -0.7, 0.1]


def prescreened(energies: list[float], waiting: int = 0) -> list[str]:
    campaigns.create(CAMPAIGN, config={}, seed=1)
    ids = candidates.insert_proposals(
        CAMPAIGN,
        [
            {
                "generator_version": "g",
                "codes_hash": f"{number:064d}",
                "codes": {"n": number},
                "episode": 0,
                "generation": 0,
            }
            for number in range(len(energies) + waiting)
        ],
    )
    for candidate_id, energy in zip(ids, energies, strict=False):
        candidates.transition(
            candidate_id,
            source=State.PROPOSED,
            to=State.EVALUATED,
            token=0,
            agent="test",
            updates={"evaluation": {"formation_energy_per_atom": energy}},
        )
        candidates.transition(
            candidate_id, source=State.EVALUATED, to=State.PRESCREENED, token=0, agent="test"
        )
    return ids


def states(ids: list[str]) -> list[str]:
    return [candidates.load(one).state for one in ids]


def test_the_best_of_a_generation_are_sent(database: Session) -> None:
    ids = prescreened(ENERGIES)
    settings = RelaxSettings(max_per_generation=3, max_unrelaxed_formation_energy=1.0)
    assert dispatch_relaxations(CAMPAIGN, settings) == 3
    assert states(ids) == ["rejected", "relaxing", "relaxing", "rejected", "relaxing", "rejected"]
    assert candidates.rejections(CAMPAIGN) == {
        "relaxation_budget": 2,
        "unrelaxed_formation_energy": 1,
    }
    assert dispatch_relaxations(CAMPAIGN, settings) == 0


def test_nothing_is_sent_before_the_generation_is_evaluated(database: Session) -> None:
    ids = prescreened(ENERGIES, waiting=1)
    assert dispatch_relaxations(CAMPAIGN, RelaxSettings(max_per_generation=3)) == 0
    assert set(states(ids[:-1])) == {"prescreened"}


def test_a_crash_in_the_middle_changes_nothing(database: Session) -> None:
    ids = prescreened(ENERGIES)
    best = ids[1]
    candidates.transition(
        best,
        source=State.PRESCREENED,
        to=State.RELAXING,
        token=0,
        agent="loop",
        updates={"screening.dispatch": {"rank": 1}},
    )
    settings = RelaxSettings(max_per_generation=3, max_unrelaxed_formation_energy=1.0)
    assert dispatch_relaxations(CAMPAIGN, settings) == 2
    assert states(ids) == ["rejected", "relaxing", "relaxing", "rejected", "relaxing", "rejected"]


def test_one_that_another_process_decided_about_is_left_alone(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = prescreened(ENERGIES)
    already_sent = dispatch._already_sent

    def meanwhile(*place: Any) -> int:
        sent = already_sent(*place)
        for name, to in ((ids[1], State.RELAXING), (ids[3], State.REJECTED)):
            candidates.transition(
                name, source=State.PRESCREENED, to=to, token=0, agent="loop", reason="other"
            )
        return sent

    monkeypatch.setattr(dispatch, "_already_sent", meanwhile)
    settings = RelaxSettings(max_per_generation=3, max_unrelaxed_formation_energy=1.0)
    assert dispatch_relaxations(CAMPAIGN, settings) == 2
    assert states(ids) == ["rejected", "relaxing", "relaxing", "rejected", "relaxing", "rejected"]
