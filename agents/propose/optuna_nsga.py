"""Optuna's NSGA-II and NSGA-III over categorical genes: several objectives at once.

Sources: Deb et al., IEEE Trans. Evol. Comput. 6, 182 (2002), doi 10.1109/4235.996017; Deb & Jain,
IEEE Trans. Evol. Comput. 18, 577 (2014), doi 10.1109/TEVC.2013.2281535.

Optuna's Gaussian-process sampler is not offered: it takes about 100 times as long for each proposal
as these, and it knows categories only, while `agents.propose.surrogate` sees what codes decode to.
"""

from __future__ import annotations

import warnings

import numpy as np
import optuna
from optuna.samplers import NSGAIIISampler, NSGAIISampler
from optuna.samplers._ga import BaseGASampler

from agents.propose.optuna_trials import completed, distributions, genes, study_in_memory
from agents.propose.proposer import GeneProposer
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import NSGASettings
from agents.propose.space import Genes, SearchSpace, as_points

_SAMPLERS: dict[str, type[NSGAIISampler] | type[NSGAIIISampler]] = {
    "optuna_nsga2": NSGAIISampler,
    "optuna_nsga3": NSGAIIISampler,
}


class NSGAProposer(GeneProposer):
    """Asks Optuna's NSGA-II or NSGA-III for one population per generation.

    The study lives in memory and only for one `ask`, as in `TPEProposer`: it is filled with the
    told results as the trials of their generations. The parents of every generation, which each
    depend on those before, are chosen anew, each choice with a seed of its own generation, so they
    are the ones that were chosen then. Results without further objectives make it a search for one.
    Points already told, and those repeated, are drawn again.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: NSGASettings,
        *,
        max_redraws: int = 50,
    ) -> None:
        """Start an episode."""
        super().__init__(space, seed, generations=settings.generations, max_redraws=max_redraws)
        self.kind = settings.kind
        self.settings = settings
        self._distributions = distributions(space.sizes)

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        size = self.settings.population
        if generation == 0 and self.settings.initial == "donor":
            return self._distinct(lambda n: as_points(self.space.recombined(rng, n)), size, rng)
        study = self._study(generation)
        told = {result.genes for results in self.told for result in results}
        return self._distinct(
            lambda n: [
                genes(study.ask(self._distributions), self._distributions) for _ in range(n)
            ],
            size,
            rng,
            taken=told,
        )

    def _study(self, generation: int) -> optuna.Study:
        """Return the study as it stands before a generation, with the generation's sampler."""
        sampler = self._sampler(generation)
        study = study_in_memory(sampler, self.told)
        for number, results in enumerate(self.told):
            # What Optuna notes in a trial when it asks for it.
            place = {type(sampler)._get_generation_key(): number}
            study.add_trials(completed(r, self._distributions, system=place) for r in results)
        for number in range(1, generation):  # the study remembers them for the generation after
            self._sampler(number).get_parent_population(study, number)
        return study

    def _sampler(self, generation: int) -> BaseGASampler:
        """Return the sampler that a generation is drawn with."""
        settings = self.settings
        seed = int(self.seed.generation(generation).integers(2**32))
        # A generation is full when as many were told as were asked; a used-up space gives fewer.
        told = [len(results) for results in self.told[:generation]]
        with warnings.catch_warnings():
            # Optuna reserves the right to change NSGA-III's interface; its version is pinned.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _SAMPLERS[settings.kind](
                population_size=max(2, min([settings.population, *told])),
                crossover_prob=settings.crossover,
                swapping_prob=settings.swapping,
                mutation_prob=settings.mutation,
                seed=seed,
            )
