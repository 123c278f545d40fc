"""Optuna's tree-structured Parzen estimator over categorical genes."""

from __future__ import annotations

import numpy as np
import optuna

from agents.propose.optuna_trials import completed, distributions, genes, study_in_memory
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
    redrawn, because TPE over categories likes to repeat itself. Several objectives make it the
    multi-objective TPE (doi 10.1145/3377930.3389817).
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
        self._distributions = distributions(space.sizes)

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        study = self._study(seed=int(rng.integers(2**32)))
        told = {result.genes for results in self.told for result in results}
        return self._distinct(
            lambda n: [
                genes(study.ask(self._distributions), self._distributions) for _ in range(n)
            ],
            self.settings.batch,
            rng,
            taken=told,
        )

    def _study(self, seed: int) -> optuna.Study:
        sampler = optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=self.settings.startup,
            n_ei_candidates=self.settings.ei_candidates,
            constant_liar=True,
        )
        study = study_in_memory(sampler, self.told)
        for results in self.told:
            study.add_trials(completed(result, self._distributions) for result in results)
        return study
