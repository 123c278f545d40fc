"""Optuna's tree-structured Parzen estimator over categorical genes."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from agents.propose.proposer import GeneProposer
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import TPESettings
from agents.propose.space import Genes, SearchSpace


class TPEProposer(GeneProposer):
    """Asks Optuna's TPE for one batch per generation.

    The study lives in memory and only for one `ask`: it is filled with the told results as
    completed trials, in order, and its sampler is seeded for this generation, so nothing of Optuna
    has to be stored. Trials of the running batch count as bad ones (constant liar), which spreads
    the batch. A penalty is told as a value: samplers ignore failed trials. Points already told are
    redrawn, because TPE over categories likes to repeat itself.
    """

    kind = "optuna_tpe"

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: TPESettings,
        *,
        max_redraws: int = 50,
    ) -> None:
        """Start an episode."""
        super().__init__(space, seed, generations=settings.generations, max_redraws=max_redraws)
        self.settings = settings
        self._distributions = {
            f"gene_{place:02d}": CategoricalDistribution(range(size))
            for place, size in enumerate(space.sizes)
        }

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        study = self._study(seed=int(rng.integers(2**32)))

        def draw() -> Genes:
            trial = study.ask(self._distributions)
            return tuple(int(trial.params[name]) for name in self._distributions)

        told = {result.genes for results in self.told for result in results}
        return self._distinct(draw, self.settings.batch, rng, taken=told)

    def _study(self, seed: int) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=self.settings.startup,
            n_ei_candidates=self.settings.ei_candidates,
            constant_liar=True,
        )
        study = optuna.study.create_study(
            study_name="episode",
            storage=optuna.storages.InMemoryStorage(),
            sampler=sampler,
            direction="minimize",
        )
        for results in self.told:
            study.add_trials(
                create_trial(
                    params=dict(zip(self._distributions, result.genes, strict=True)),
                    distributions=self._distributions,
                    value=result.fitness,
                )
                for result in results
            )
        return study
