"""Studies in the database: what the campaign recorded, once, and never more than a copy."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from agents.propose.episodes import ask_round
from agents.propose.optuna_studies import StudyRecorder, studies, study_name
from agents.propose.replay import known_results, replay, turns
from agents.propose.settings import ProposeSettings
from db import generations
from db.optuna_journal import MongoJournalBackend
from tests.agents.propose.test_episodes import campaign, evaluate_all  # noqa: F401

SEED = 4
SETTINGS = ProposeSettings.model_validate(
    {
        "proposers": [
            {"kind": "optuna_tpe", "batch": 10, "startup": 10, "generations": 2},
            {"kind": "donor", "batch": 4, "generations": 1},
            {"kind": "optuna_nsga2", "population": 8, "generations": 3},
        ]
    }
)


def play(generator, rounds):
    for number in range(rounds):
        ask_round("toy", SEED, generator, generator.head, SETTINGS, number)
        evaluate_all()


def recorder(generator):
    return StudyRecorder("toy", generator, SETTINGS.fitness)


def contents():
    """Return the genes, values and places of all trials, by study."""
    storage = studies("toy")
    found = {}
    for name in optuna.get_all_study_names(storage):
        trials = optuna.load_study(study_name=name, storage=storage).trials
        found[name] = [
            (tuple(t.params.values()), t.values, t.user_attrs["candidate"], t.user_attrs["slot"])
            for t in trials
        ]
    return found


def expected():
    found = {}
    for generation in generations.load("toy"):
        if generation.proposer == "donor":
            continue
        trials = found.setdefault(study_name(generation.episode, generation.proposer), [])
        results = known_results(generation.candidate_ids, SETTINGS.fitness)
        trials += [(r.genes, list(r.goals), r.candidate_id, i) for i, r in enumerate(results)]
    return found


def test_every_told_generation_is_there_once(campaign, generator):  # noqa: F811
    play(generator, 3)
    assert recorder(generator).record() == 3 * (10 + 8)
    assert contents() == expected()
    assert set(contents()) == {
        "episode 0: optuna_tpe",
        "episode 2: optuna_nsga2",
        "episode 3: optuna_tpe",
    }
    again = recorder(generator)
    assert again.record() == 0
    ask_round("toy", SEED, generator, generator.head, SETTINGS, 3)
    assert again.record() == 0  # nothing is known of the new round yet
    evaluate_all()
    assert again.record() == 10 + 8
    assert contents() == expected()
    penalties = [t for trials in contents().values() for t in trials if t[1] == [10.0]]
    assert penalties, "no crystal was invalid: the test should have some"


def test_a_crash_in_between_is_repaired(campaign, generator, monkeypatch):  # noqa: F811
    play(generator, 2)
    real, written = MongoJournalBackend.append_logs, []

    def die_at_the_thirteenth(self, logs):
        written.append(logs)
        if len(written) == 13:
            raise KeyboardInterrupt
        real(self, logs)

    monkeypatch.setattr(MongoJournalBackend, "append_logs", die_at_the_thirteenth)
    with pytest.raises(KeyboardInterrupt):
        recorder(generator).record()
    monkeypatch.undo()
    assert 0 < sum(map(len, contents().values())) < 36
    recorder(generator).record()
    assert contents() == expected()


def test_two_leaders_at_once_write_it_once(campaign, generator, monkeypatch):  # noqa: F811
    play(generator, 2)
    both_looked = threading.Barrier(2, timeout=30)
    real = StudyRecorder._study

    def look_and_wait(self, *args, **kwargs):
        study = real(self, *args, **kwargs)
        trials = study.get_trials(deepcopy=False)
        monkeypatch.setattr(study, "get_trials", lambda **_: trials)
        both_looked.wait()
        return study

    monkeypatch.setattr(StudyRecorder, "_study", look_and_wait)
    with ThreadPoolExecutor(2) as leaders:
        written = list(leaders.map(lambda _: recorder(generator).record(), range(2)))
    assert sum(written) == 2 * (10 + 8)
    found = {name: sorted(trials) for name, trials in contents().items()}
    assert found == {name: sorted(trials) for name, trials in expected().items()}


def test_proposals_do_not_depend_on_the_studies(campaign, generator):  # noqa: F811
    play(generator, 1)
    before = ask_round("toy", SEED, generator, generator.head, SETTINGS, 1).generations
    evaluate_all()
    recorder(generator).record()
    storage = studies("toy")
    for name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)
    for turn, report in zip(turns(SETTINGS, 1), before, strict=True):
        if turn.generation == 0:
            continue
        asked = replay("toy", SEED, generator, turn, SETTINGS).ask(turn.generation)
        recorded = known_results(report.candidate_ids, SETTINGS.fitness)
        assert [p.codes for p in asked] == [r.codes for r in recorded]
