"""Settings of the proposers, checked before a campaign starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    model_validator,
)

from agents.propose.brought import OUR_KINDS, BroughtSettings

FitnessKind = Literal["formation_energy", "total_energy", "above_hull"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GeneticSettings(_Settings):
    """The genetic algorithm of Qiu et al. (2025), doi 10.1038/s41524-025-01613-6.

    Args:
        population: Size of a generation, the survivors included.
        generations: Generations of one episode, the first population included.
        parents: How many of the best are parents.
        survivors: How many of the best survive unchanged.
        crossover: Chance per gene that a child takes it from its second parent.
        mutation: Chance per gene that a child's gene is redrawn, uniform over the code's range.
        initial: First population: ``random`` draws every gene uniformly (the paper), ``donor``
            takes each gene from a random training crystal with as many species.
        distinct: Redraw proposals that equal another one of the same generation; the paper does
            not say that it does. Equal codes are one candidate either way.
    """

    kind: Literal["genetic"] = "genetic"
    population: int = Field(default=64, ge=2, le=4096)
    generations: int = Field(default=10, ge=1)
    parents: int = Field(default=12, ge=2)
    survivors: int = Field(default=1, ge=0)
    crossover: float = Field(default=0.5, ge=0, le=1)
    mutation: float = Field(default=0.4, ge=0, le=1)
    initial: Literal["random", "donor"] = "random"
    distinct: bool = False

    @model_validator(mode="after")
    def _fit_into_population(self) -> Self:
        if self.parents > self.population:
            raise ValueError(
                f"parents is {self.parents} but the population has only {self.population}: "
                "lower parents or raise population"
            )
        if self.survivors >= self.population:
            raise ValueError(
                f"survivors is {self.survivors}, which leaves no child in a population of "
                f"{self.population}: lower survivors"
            )
        return self


class TPESettings(_Settings):
    """Optuna's tree-structured Parzen estimator over one categorical per gene.

    Args:
        batch: Proposals of one generation.
        generations: Generations of one episode.
        startup: Results needed before the estimator replaces uniform draws.
        ei_candidates: Draws among which the estimator picks each proposal.
    """

    kind: Literal["optuna_tpe"] = "optuna_tpe"
    batch: int = Field(default=64, ge=1, le=4096)
    generations: int = Field(default=10, ge=1)
    startup: int = Field(default=64, ge=1)
    ei_candidates: int = Field(default=24, ge=1)


class NSGASettings(_Settings):
    """Optuna's NSGA-II or NSGA-III over one categorical per gene, for one objective or several.

    Args:
        kind: ``optuna_nsga2`` (crowding) or ``optuna_nsga3`` (reference points: three objectives
            and more).
        population: Proposals of one generation.
        generations: Generations of one episode.
        crossover: Chance that a child has two parents.
        swapping: Chance per gene that such a child takes it from its second parent.
        mutation: Chance per gene that it is redrawn uniformly; None: one gene of a child on
            average.
        initial: First population, as in the genetic algorithm.
    """

    kind: Literal["optuna_nsga2", "optuna_nsga3"]
    population: int = Field(default=64, ge=2, le=4096)
    generations: int = Field(default=10, ge=1)
    crossover: float = Field(default=0.9, ge=0, le=1)
    swapping: float = Field(default=0.5, ge=0, le=1)
    mutation: float | None = Field(default=None, ge=0, le=1)
    initial: Literal["random", "donor"] = "random"


class RandomSettings(_Settings):
    """Uniform random genes: the plain yardstick.

    Args:
        batch: Proposals of one generation.
        generations: Generations of one episode.
    """

    kind: Literal["random"] = "random"
    batch: int = Field(default=64, ge=1, le=4096)
    generations: int = Field(default=10, ge=1)


class DonorSettings(_Settings):
    """Genes recombined from training crystals with as many species: the honest yardstick.

    Args:
        batch: Proposals of one generation.
        generations: Generations of one episode.
    """

    kind: Literal["donor"] = "donor"
    batch: int = Field(default=64, ge=1, le=4096)
    generations: int = Field(default=10, ge=1)


class PriorSettings(_Settings):
    """Global codes from the generator's prior, given the base crystal's local codes.

    Args:
        batch: Proposals of one generation.
        generations: Generations of one episode.
        temperature: Scales the temperatures that the prior was tuned to.
    """

    kind: Literal["prior"] = "prior"
    batch: int = Field(default=64, ge=1, le=4096)
    generations: int = Field(default=10, ge=1)
    temperature: float = Field(default=1.0, gt=0)


class SubstitutionSettings(_Settings):
    """Data-mined ionic substitution in the base crystal (doi 10.1021/ic102031h): the expert's way.

    Args:
        batch: Proposals of one generation.
        generations: Generations of one episode.
        charge: Oxidation states of the SMACT rule that a formula must pass besides the charge
            balance of the substitution itself; ``off`` asks for the latter alone.
        volume: Scale each cell to the volume predicted from data-mined bond lengths
            (doi 10.1016/j.commatsci.2018.01.040); off keeps the base crystal's cell.
    """

    kind: Literal["substitution"] = "substitution"
    batch: int = Field(default=64, ge=1, le=4096)
    generations: int = Field(default=10, ge=1)
    charge: Literal["cdvae", "strict", "off"] = "cdvae"
    volume: bool = True


class EvolutionSettings(_Settings):
    """The product's own search: surrogate-assisted evolution of codes.

    Every part can be switched off; the defaults are all of them. What each is worth is measured by
    `discovery evaluate search`.

    Args:
        batch: Proposals of one generation.
        generations: Generations of one episode.
        initial: Where the first generation comes from: the ``prior``, ``donor`` crystals, or
            ``uniform`` genes.
        parents: How many of the best are parents.
        archive: Parents have distinct formulas, so that the search spreads over all it found; off,
            several crystals of one formula may be parents and it converges.
        prior: Tokens are drawn again by the prior too, not only taken from training crystals.
        fresh: Share of the children that the prior draws without a parent.
        crossover: Chance that a child has two parents.
        token_mutation: Chance per species token that it is exchanged for another crystal's.
        crystal_mutation: The same for the crystal token.
        whole_tokens: Tokens are exchanged whole; off, each of their levels on its own.
        distinct: ``formula`` spends one evaluation on a reduced formula, ``codes`` one on a set of
            codes, ``off`` repeats what the moves repeat.
        charge: Oxidation states of the SMACT rule that children must pass before they are
            evaluated; ``off`` evaluates them all.
        min_distance: Children with atoms nearer than this (Å) are not evaluated.
        surrogate: Children are ranked by a model of what was evaluated so far.
        pool: Children made for each one evaluated, where a surrogate ranks them.
        acquisition: What the surrogate ranks by: the ``probability`` of a fitness below
            `threshold`, or the expected ``improvement`` over it.
        threshold: Fitness below which a crystal is a hit (eV/atom). The default is the window of
            the paper's photovoltaic campaign; asking for more than 0 costs few crystals below 0.
        min_labels: Evaluations needed before the surrogate ranks.
        max_labels: Most evaluations the surrogate learns from, the newest ones.
        local_moves: Share of the children that also move in the local codes; 0 freezes them.
        max_atoms: Largest cell that a training crystal's local codes may bring in, unless the base
            crystal is larger.
        bandit: In a campaign, episodes return to base crystals that gave many hits (Thompson
            sampling on new hits per evaluation); off, every episode draws a new base.
        recall: Most results of earlier rounds of the campaign, of all proposers, that an episode
            knows when it starts: the surrogate learns from them and no formula is paid for twice.
    """

    kind: Literal["code_evolution"] = "code_evolution"
    batch: int = Field(default=64, ge=1, le=4096)
    generations: int = Field(default=10, ge=1)
    initial: Literal["prior", "donor", "uniform"] = "prior"
    parents: int = Field(default=64, ge=1)
    archive: bool = True
    prior: bool = True
    fresh: float = Field(default=0.125, ge=0, le=1)
    crossover: float = Field(default=0.5, ge=0, le=1)
    token_mutation: float = Field(default=0.3, ge=0, le=1)
    crystal_mutation: float = Field(default=0.3, ge=0, le=1)
    whole_tokens: bool = True
    distinct: Literal["formula", "codes", "off"] = "formula"
    charge: Literal["cdvae", "strict", "off"] = "cdvae"
    min_distance: float = Field(default=0.5, ge=0)
    surrogate: bool = True
    pool: int = Field(default=8, ge=1, le=256)
    acquisition: Literal["probability", "improvement"] = "probability"
    threshold: float = -0.5
    min_labels: int = Field(default=32, ge=2)
    max_labels: int = Field(default=2048, ge=2)
    local_moves: float = Field(default=0.2, ge=0, le=1)
    max_atoms: int = Field(default=10, ge=1)
    bandit: bool = True
    recall: int = Field(default=4096, ge=0)


def _member(content: Any) -> str | None:
    """Return the tag of the class that settings, read or not, belong to; None without a kind."""
    kind = content.get("kind") if isinstance(content, Mapping) else getattr(content, "kind", None)
    if not isinstance(kind, str):
        return None
    if kind not in OUR_KINDS:
        return "brought"
    return "optuna_nsga" if kind.startswith("optuna_nsga") else kind


ProposerSettings = Annotated[
    Annotated[GeneticSettings, Tag("genetic")]
    | Annotated[TPESettings, Tag("optuna_tpe")]
    | Annotated[NSGASettings, Tag("optuna_nsga")]
    | Annotated[RandomSettings, Tag("random")]
    | Annotated[DonorSettings, Tag("donor")]
    | Annotated[PriorSettings, Tag("prior")]
    | Annotated[SubstitutionSettings, Tag("substitution")]
    | Annotated[EvolutionSettings, Tag("code_evolution")]
    | Annotated[SerializeAsAny[BroughtSettings], Tag("brought")],
    Discriminator(_member),
]


class BaseSettings(_Settings):
    """Which crystals may be the base of an episode: training crystals, or a person's own.

    Args:
        files: Structure files (CIF, POSCAR, extended XYZ), or folders of them, whose crystals are
            the bases; paths from the working directory, looked at when the campaign starts and
            never again. Each proposer takes them in turn. Empty: training crystals that fit the
            other keys, drawn at random.
        max_atoms: Largest number of atoms; None for any.
        min_species: Smallest number of distinct elements.
        max_species: Largest number of distinct elements; None for any.
    """

    files: tuple[str, ...] = ()
    max_atoms: int | None = Field(default=None, ge=1)
    min_species: int = Field(default=1, ge=1)
    max_species: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _refuse_empty(self) -> Self:
        if self.max_species is not None and self.max_species < self.min_species:
            raise ValueError(
                f"max_species is {self.max_species}, below min_species {self.min_species}: "
                "no base crystal could be drawn"
            )
        return self

    @model_validator(mode="after")
    def _refuse_two_choices(self) -> Self:
        plain = self.max_atoms is None and self.min_species == 1 and self.max_species is None
        if self.files and not plain:
            raise ValueError(
                "files names the base crystals, all of which are used, but max_atoms, min_species "
                "or max_species restricts training crystals: give one or the other"
            )
        return self


class Objective(_Settings):
    """Something a search minimises besides the fitness.

    Args:
        kind: ``gap_window`` is the distance of the gap that the generator's shipped head predicts
            to the campaign's band gap window (eV); ``novelty`` is 1 for the formula of a training
            crystal or of a crystal of the reference collection of the campaign's hull, 0 for others
            (what the campaign itself evaluated is left out by `code_evolution` anyway); ``domain``
            is 1 for a composition so far from those that MEGNet and ALIGNN learned from that
            `agents.screen.domain` takes it out of their domain, where a gate finds it unjudged;
            ``rules`` is 1 for a composition that the campaign's ``screen`` excludes by its elements
            or their number.
        weight: How strongly it counts where objectives are weighed into one number: a child worth
            w is worth w exp(-weight value).
    """

    kind: Literal["gap_window", "novelty", "domain", "rules"]
    weight: float = Field(default=1.0, gt=0)


class FitnessSettings(_Settings):
    """What the proposers minimise.

    Args:
        kind: ``formation_energy`` (eV/atom, the paper's Methods) or ``total_energy`` (eV of the
            cell, the paper's Fig. 3f; bigger cells win), or ``above_hull``, the distance of the
            decoded, unrelaxed crystal to the hull of the reference collection's unrelaxed phases
            (eV/atom), which needs ``hull.reference``; a crystal without a hull gets the penalty.
        penalty: Fitness of a candidate without a valid energy: it could not be decoded, was
            rejected before its evaluation, or failed. In the unit of ``kind``.
        objectives: What multi-objective proposers minimise besides.
    """

    kind: FitnessKind = "formation_energy"
    penalty: float = Field(default=10.0, ge=0)
    objectives: tuple[Objective, ...] = ()


class ProposeSettings(_Settings):
    """Everything about proposing.

    Args:
        proposers: The proposers asked in every round; the episodes take turns in this order.
        base: Which base crystals may be drawn.
        fitness: What is minimised.
        max_redraws: How often one proposal that repeats another of its generation is redrawn.
    """

    proposers: tuple[ProposerSettings, ...] = Field(
        default=(GeneticSettings(), TPESettings()), min_length=1
    )
    base: BaseSettings = BaseSettings()
    fitness: FitnessSettings = FitnessSettings()
    max_redraws: int = Field(default=50, ge=0)

    @model_validator(mode="after")
    def _refuse_impossible_threshold(self) -> Self:
        for proposer in self.proposers:
            if self.fitness.kind != "above_hull" or not isinstance(proposer, EvolutionSettings):
                continue
            if proposer.threshold < 0:
                raise ValueError(
                    f"fitness.kind is above_hull, but {proposer.kind} looks for crystals below "
                    f"its threshold of {proposer.threshold:g}, and hardly any lies below the hull: "
                    "set the proposer's threshold, for instance to 0.1"
                )
        return self
