"""Rounds against the real database: resumable, idempotent, and paid for once."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from agents.propose import episodes
from agents.propose import replay as replay_module
from agents.propose.episodes import ask_round, round_ready, rounds_asked
from agents.propose.fitness import fitness_of
from agents.propose.own_bases import OwnBase
from agents.propose.records import UnsoundPrediction
from agents.propose.replay import RoundNotReady
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import BaseSettings, FitnessSettings, ProposeSettings
from agents.propose.space import NoBaseCrystal, draw_base
from db import campaigns, candidates, generations
from db.documents import Candidate
from db.states import State

SEED = 11
SETTINGS = ProposeSettings.model_validate(
    {
        "proposers": [
            {"kind": "genetic", "population": 16, "parents": 4, "generations": 3},
            {"kind": "optuna_tpe", "batch": 12, "startup": 12, "generations": 2},
            {"kind": "donor", "batch": 8, "generations": 1},
        ]
    }
)


def ask(generator, round_index, name="toy", **options):
    return ask_round(name, SEED, generator, generator.head, SETTINGS, round_index, **options)


def energy(candidate):
    codes = candidate.codes
    return float(sum(codes["crystal"]) + sum(map(sum, codes["species"])) - 10)


def evaluate_all(name="toy"):
    """Evaluate what waits, like the workers do; undecodable ones are rejected."""
    while leased := candidates.lease(name, State.PROPOSED, "tester", 100, 60):
        for candidate in leased:
            move = {"source": State.PROPOSED, "token": candidate.token, "agent": "evaluate"}
            if candidate.structure is None:
                candidates.transition(
                    candidate.id, to=State.REJECTED, reason="invalid_decode", **move
                )
                continue
            value = energy(candidate)
            evaluation = {
                "formation_energy_per_atom": value,
                "energy": value * candidate.n_atoms,
                "level": "toy-1",
            }
            updates = {"evaluation": evaluation}
            candidates.transition(candidate.id, to=State.EVALUATED, updates=updates, **move)


def asked_ids(name="toy"):
    prefix = len(name)
    return [[i[prefix:] for i in g.candidate_ids] for g in generations.load(name)]


@pytest.fixture
def campaign(database):
    campaigns.create("toy", config={}, seed=SEED)
    return "toy"


def test_a_round_asks_every_proposer_and_stores_what_it_decodes_to(campaign, generator):
    report = ask(generator, 0)
    assert [g.proposer for g in report.generations] == ["genetic", "optuna_tpe", "donor"]
    assert [len(g.candidate_ids) for g in report.generations] == [16, 12, 8]
    assert generator.decode_calls == [16, 12, 8]  # one batch for each proposer
    assert report.new == Candidate.objects(campaign="toy").count()
    for candidate in Candidate.objects(campaign="toy"):
        assert candidate.state == "proposed"
        if candidate.codes["crystal"][-1] == 0:
            assert candidate.structure is None
            assert candidate.formula is None
        else:
            assert candidate.formula.endswith("Cl")
            assert candidate.elements == sorted(candidate.elements)
        (prediction,) = candidate.predictions
        assert prediction["value"] == energy(candidate) + 10
        assert (prediction["model"], prediction["on"]) == ("head", "decoded")
        assert (prediction["level"], prediction["version"]) == ("toy-1", "shipped")
        assert prediction["in_domain"] is False


def test_a_broken_head_stops_the_round(campaign, generator, monkeypatch):
    broken = {"formation_energy_per_atom@toy-1": (torch.tensor([torch.nan] * 16), torch.ones(16))}
    monkeypatch.setattr(generator.head, "predict", lambda features: broken)
    with pytest.raises(UnsoundPrediction, match="toy-1 is not a finite number"):
        ask(generator, 0)
    assert Candidate.objects.count() == 0


def test_rounds_wait_for_the_last_result(campaign, generator):
    assert rounds_asked("toy") == 0
    assert round_ready("toy", 0)
    ask(generator, 0)
    assert rounds_asked("toy") == 1
    assert not round_ready("toy", 1)
    with pytest.raises(RoundNotReady, match="still waits for evaluations"):
        ask(generator, 1)
    evaluate_all()
    assert round_ready("toy", 1)
    assert not round_ready("toy", 2)
    ask(generator, 1)
    assert rounds_asked("toy") == 2


def test_the_genetic_population_is_the_recorded_generation(campaign, generator):
    first = ask(generator, 0).generations[0]
    evaluate_all()
    second = ask(generator, 1).generations[0]
    settings = SETTINGS.fitness
    found = {i: fitness_of(candidates.load(i), settings) for i in first.candidate_ids}
    best = min(first.candidate_ids, key=lambda i: found[i])
    assert second.candidate_ids[0] == best
    assert second.info["new"] <= 15


def test_a_finished_episode_is_followed_by_one_with_another_base(campaign, generator):
    bases = {}
    for round_index in range(4):
        report = ask(generator, round_index)
        for generation in report.generations:
            bases.setdefault((generation.proposer, generation.episode), generation.base_id)
        evaluate_all()
    assert sorted(bases) == [
        *[("donor", episode) for episode in (2, 5, 8, 11)],
        *[("genetic", episode) for episode in (0, 3)],
        *[("optuna_tpe", episode) for episode in (1, 4)],
    ]
    assert len(set(bases.values())) > 1
    rows = {
        row: draw_base(generator, EpisodeSeed(SEED, episode).base(), BaseSettings())
        for (_, episode), row in bases.items()
    }
    assert all(name == f"crystal-{row}" for name, row in rows.items())


class Killed(BaseException):
    """Stands for a kill -9 in the middle of a round."""


@pytest.mark.parametrize("kill_at", [0, 2, 4])
def test_a_killed_campaign_asks_what_an_uninterrupted_one_asks(
    database, generator, monkeypatch, kill_at
):
    campaigns.create("whole", config={}, seed=SEED)
    campaigns.create("killed", config={}, seed=SEED)
    for round_index in range(2):
        ask(generator, round_index, name="whole")
        evaluate_all("whole")

    record = episodes.generation_records.record
    calls = iter(range(100))

    def killed_before_recording(*args, **kwargs):
        if next(calls) == kill_at:
            raise Killed
        return record(*args, **kwargs)

    monkeypatch.setattr(episodes.generation_records, "record", killed_before_recording)
    while (round_index := rounds_asked("killed")) < 2:
        if not round_ready("killed", round_index):
            evaluate_all("killed")
        try:
            ask(generator, round_index, name="killed")
        except Killed:
            # the candidates are there, their generation is not
            evaluate_all("killed")
    evaluate_all("killed")
    assert asked_ids("killed") == asked_ids("whole")
    assert sum(candidates.counts("killed").values()) == sum(candidates.counts("whole").values())


def test_asking_again_changes_nothing(campaign, generator):
    first = ask(generator, 0)
    again = ask(generator, 0)
    assert again == first
    assert Candidate.objects(campaign="toy").count() == first.new


def test_the_budget_cuts_a_generation_and_survives_a_kill(campaign, generator, monkeypatch):
    record = episodes.generation_records.record
    monkeypatch.setattr(
        episodes.generation_records, "record", lambda *a, **k: (_ for _ in ()).throw(Killed)
    )
    with pytest.raises(Killed):
        ask(generator, 0, max_candidates=10)
    assert Candidate.objects(campaign="toy").count() == 10
    monkeypatch.setattr(episodes.generation_records, "record", record)
    report = ask(generator, 0, max_candidates=10)
    assert Candidate.objects(campaign="toy").count() == 10
    assert report.exhausted
    assert [len(g.candidate_ids) for g in report.generations] == [10, 0, 0]
    assert [g.info["cut"] for g in report.generations] == [6, 12, 8]


def test_a_candidate_of_two_proposers_counts_for_both(campaign, generator):
    settings = ProposeSettings.model_validate(
        {"proposers": [{"kind": "donor", "batch": 8}, {"kind": "donor", "batch": 8}]}
    )
    bank = generator.bank
    only = (*bank.codes(0).global_genes[:-1], 3)
    same = bank.codes(0).with_global_genes(only)
    bank.codes = lambda index: same  # one base, one donor: one point
    bank.global_genes = lambda rows: np.array([only])
    report = ask_round("toy", SEED, generator, generator.head, settings, 0)
    shared = set(report.generations[0].candidate_ids) & set(report.generations[1].candidate_ids)
    assert shared
    total = sum(len(g.candidate_ids) for g in report.generations)
    assert report.new == Candidate.objects(campaign="toy").count() < total


def test_fitness_is_a_penalty_for_what_has_no_energy(campaign, generator):
    ask(generator, 0)
    waiting = Candidate.objects(campaign="toy").first()
    settings = FitnessSettings(penalty=7.5)
    assert fitness_of(waiting, settings) is None
    evaluate_all()
    for candidate in Candidate.objects(campaign="toy"):
        if candidate.structure is None:
            assert candidate.rejection["reason"] == "invalid_decode"
            assert fitness_of(candidate, settings) == 7.5
        else:
            assert fitness_of(candidate, settings) == energy(candidate)
            total = FitnessSettings(kind="total_energy")
            assert fitness_of(candidate, total) == energy(candidate) * candidate.n_atoms
    evaluated = Candidate.objects(campaign="toy", state="evaluated").first()
    candidates.transition(
        evaluated.id,
        source=State.EVALUATED,
        to=State.REJECTED,
        token=evaluated.token,
        agent="screen",
        reason="smact",
    )
    assert fitness_of(candidates.load(evaluated.id), settings) == energy(evaluated)


LOW = 250.0
"""Half of Perov-5's codes add up to less."""
EVOLUTION = ProposeSettings.model_validate(
    {
        "proposers": [
            {
                "kind": "code_evolution",
                "batch": 8,
                "generations": 2,
                "pool": 2,
                "min_labels": 4,
                "threshold": LOW,
            },
            {"kind": "donor", "batch": 4, "generations": 1},
        ]
    }
)


def evolve(shipped, name, rounds):
    for round_index in range(rounds_asked(name), rounds):
        if not round_ready(name, round_index):
            evaluate_all(name)
        ask_round(name, SEED, shipped, shipped.head, EVOLUTION, round_index)


def test_an_episode_starts_from_what_the_campaign_knows(database, shipped, monkeypatch):
    campaigns.create("one", config={}, seed=SEED)
    campaigns.create("two", config={}, seed=SEED)
    started = {}
    start = replay_module.start_episode

    def watched(campaign, seed, generator, turn, *rest, **more):
        proposer = start(campaign, seed, generator, turn, *rest, **more)
        started.setdefault((turn.episode, turn.generation), proposer.space)
        return proposer

    monkeypatch.setattr(replay_module, "start_episode", watched)
    evolve(shipped, "one", 4)
    assert started[0, 0].earlier == started[0, 1].earlier == ()
    assert started[3, 0].earlier == ()  # a donor proposer starts cold
    earlier = [result.candidate_id for result in started[2, 0].earlier]
    first_rounds = [
        i for g in generations.load("one") if g.info["round"] < 2 for i in g.candidate_ids
    ]
    assert sorted(earlier) == sorted(set(first_rounds))
    assert started[2, 1].earlier == started[2, 0].earlier  # not what came since
    assert started[2, 1].base_id == started[2, 0].base_id

    # killed when the second episode was inserted and not recorded, it asks the same
    record = episodes.generation_records.record
    calls = iter(range(1000))

    def dies_once(*args, **kwargs):
        if next(calls) == 4:
            raise Killed
        return record(*args, **kwargs)

    monkeypatch.setattr(episodes.generation_records, "record", dies_once)
    while rounds_asked("two") < 4:
        with contextlib.suppress(Killed):
            evolve(shipped, "two", 4)
        evaluate_all("two")
    assert asked_ids("two") == asked_ids("one")


def test_an_episode_waits_for_what_it_wants_to_know(database, shipped):
    campaigns.create("early", config={}, seed=SEED)
    evolve(shipped, "early", 2)
    with pytest.raises(RoundNotReady, match="still wait for evaluations"):
        ask_round("early", SEED, shipped, shipped.head, EVOLUTION, 2)
    assert rounds_asked("early") == 2


def test_an_episode_returns_to_a_good_base(database, shipped, monkeypatch):
    campaigns.create("back", config={}, seed=SEED)
    seen = []

    def choose(arms, rng):
        seen.append(arms)
        return arms[0].base_id

    monkeypatch.setattr(replay_module, "thompson", choose)
    evolve(shipped, "back", 3)
    own = [g for g in generations.load("back") if g.proposer == "code_evolution"]
    assert len({g.base_id for g in own}) == 1
    (arms,) = seen
    assert [arm.evaluations for arm in arms] == [16]
    known, hits = set(), 0
    for generation in sorted(generations.load("back"), key=lambda g: (g.info["round"], g.episode)):
        for candidate_id in generation.candidate_ids:
            candidate = candidates.load(candidate_id)
            low = generation.info["round"] < 2 and energy(candidate) < LOW
            if low and candidate.formula not in known:
                known.add(candidate.formula)
                hits += generation.proposer == "code_evolution"
    assert arms[0].hits == hits > 0


def test_results_carry_the_objectives(campaign, shipped):
    settings = ProposeSettings.model_validate(
        {
            "proposers": [{"kind": "prior", "batch": 12, "generations": 2}],
            "fitness": {"objectives": [{"kind": "novelty"}]},
        }
    )
    ask_round("toy", SEED, shipped, shipped.head, settings, 0)
    evaluate_all()
    (turn,) = replay_module.turns(settings, 1)
    told = replay_module.replay("toy", SEED, shipped, turn, settings).told[0]
    trained = set(shipped.bank.formulas[shipped.bank.rows("train")].tolist())
    for result in told:
        formula = candidates.load(result.candidate_id).formula
        assert result.objectives == (result.fitness, float(formula in trained))


def test_an_empty_choice_of_bases_is_refused(campaign, generator):
    settings = SETTINGS.model_copy(update={"base": BaseSettings(max_atoms=1)})
    with pytest.raises(NoBaseCrystal, match="none of the 30 training crystals of toy fits"):
        ask_round("toy", SEED, generator, generator.head, settings, 0)
    assert Candidate.objects(campaign="toy").count() == 0


def test_bases_come_from_the_training_crystals_only(generator):
    rows = {
        draw_base(generator, EpisodeSeed(0, e).base(), BaseSettings(max_atoms=3))
        for e in range(300)
    }
    assert max(rows) < 30
    assert {int(generator.bank.n_atoms[row]) for row in rows} == {2, 3}


def test_own_bases_are_all_that_is_needed_of_a_persons_files(campaign, generator):
    own = [OwnBase(f"own:{n}.cif", generator.bank.codes(n)) for n in (31, 34)]  # held-out rows
    a, b = (base.id for base in own)
    expected = [[a, a, a], [a, a, b]]
    for round_index, bases in enumerate(expected):
        report = ask(generator, round_index, own_bases=own)
        assert [g.base_id for g in report.generations] == bases
        again = ask(generator, round_index, own_bases=own)
        assert [g.candidate_ids for g in again.generations] == [
            g.candidate_ids for g in report.generations
        ]
        evaluate_all()
    locals_ = {str(c.codes["local"]) for c in Candidate.objects(campaign="toy")}
    assert locals_ == {str(base.codes.record()["local"]) for base in own}
