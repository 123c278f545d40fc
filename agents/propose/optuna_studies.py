"""The episodes of Optuna's proposers as Optuna studies in the campaign's database, to look at.

    from optuna_dashboard import run_server
    from agents.propose.optuna_studies import studies
    from db.connection import connect

    with connect():
        run_server(studies("my-campaign"))

What is searched next never depends on these studies: proposers are rebuilt from the campaign's
generations (`agents.propose.replay`), and the studies can be written again from them at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from optuna.storages import JournalStorage

from agents.propose.optuna_trials import completed, distributions
from agents.propose.replay import known_results
from agents.propose.settings import FitnessSettings
from db import generations as generation_records
from db.optuna_journal import ONCE, AlreadyLogged, MongoJournalBackend

if TYPE_CHECKING:
    from agents.propose.proposer import Result
    from db.documents import Generation
    from model.generator import Generator

_PROPOSERS = "optuna_"  # how the kinds of Optuna's proposers begin


def studies(campaign: str) -> JournalStorage:
    """Return the storage that a campaign's studies are in."""
    return JournalStorage(MongoJournalBackend(campaign))


def study_name(episode: int, proposer: str) -> str:
    """Return the name of an episode's study in its campaign's storage."""
    return f"episode {episode}: {proposer}"


class StudyRecorder:
    """Writes generations whose results are known as trials, one study for each episode.

    Life: one in the process that leads a campaign; `record` after every round, and once more at the
    end. A trial has the genes as parameters, the objectives as values (penalties too), and the
    candidate, generation and slot as user attributes. It is written once however often, by however
    many processes and after whatever crash `record` is called; generations a killed process wrote
    in part are completed.
    """

    def __init__(self, campaign: str, generator: Generator, fitness: FitnessSettings) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            campaign: Name of the campaign.
            generator: The campaign's generator, which knows how many values a gene has.
            fitness: What the campaign minimises.
        """
        self._campaign = campaign
        self._generator = generator
        self._fitness = fitness
        self._storage: JournalStorage | None = None
        self._done: set[tuple[int, int]] = set()

    def record(self) -> int:
        """Write what is known and not written yet, and return the number of new trials."""
        new = 0
        for generation in generation_records.load(self._campaign):
            place = (generation.episode, generation.generation)
            if place in self._done or not generation.proposer.startswith(_PROPOSERS):
                continue
            results = known_results(generation.candidate_ids, self._fitness)
            if results is None:
                continue
            if results:
                new += self._write(generation, results)
            self._done.add(place)
        return new

    def _write(self, generation: Generation, results: list[Result]) -> int:
        """Write one generation's missing trials and return how many they were."""
        study = self._study(generation, goals=len(results[0].goals))
        known = {trial.user_attrs[ONCE] for trial in study.get_trials(deepcopy=False)}
        space = distributions(self._generator.gene_sizes(results[0].codes))
        new = 0
        for slot, result in enumerate(results):
            name = f"{generation.episode}/{generation.generation}/{slot}"
            if name in known:
                continue
            user = {
                ONCE: name,
                "candidate": result.candidate_id,
                "generation": generation.generation,
                "slot": slot,
            }
            try:
                study.add_trial(completed(result, space, user=user))
            except AlreadyLogged:  # another process leads now and wrote it since we looked
                continue
            new += 1
        return new

    def _study(self, generation: Generation, goals: int) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if self._storage is None:
            self._storage = studies(self._campaign)
        study = optuna.create_study(
            storage=self._storage,
            study_name=study_name(generation.episode, generation.proposer),
            directions=["minimize"] * goals,
            load_if_exists=True,
        )
        facts = {"proposer": generation.proposer, "base": generation.base_id}
        for key, value in facts.items():
            if key not in study.user_attrs:
                study.set_user_attr(key, value)
        return study
