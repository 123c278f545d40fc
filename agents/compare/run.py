"""One method on one base crystal with one seed, started cold, for a fixed number of evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agents.compare.fitness import Worth, formation_energy
from agents.compare.methods import for_budget
from agents.compare.timing import Seconds
from agents.propose.build import build_proposer
from agents.propose.proposer import Proposal, Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import FitnessSettings, ProposerSettings
from agents.propose.space import search_space

if TYPE_CHECKING:
    from agents.compare.evaluation import Evaluated, Evaluator
    from agents.propose.objectives import Objectives
    from model.codes import CrystalCodes

MAX_REDRAWS = 50
PENALTY = FitnessSettings().penalty
"""What a method is told of a crystal without a fitness, as in a campaign."""
_IDLE_GENERATIONS = 10  # without anything new: the method has nothing left to propose


@dataclass(frozen=True)
class Search:
    """What one search evaluated, in order.

    Attributes:
        evaluated: one entry for each evaluation; never longer than the budget.
        generations: evaluations of each generation.
        members: for each generation, all its members as places in `evaluated`, those evaluated
            earlier included (survivors).
        asked: proposals, repetitions included.
        seconds: time of asking, decoding, evaluating and telling.
        seconds_without_potential: the same without the potential.
    """

    evaluated: tuple[Evaluated, ...]
    generations: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    asked: int
    seconds: Seconds
    seconds_without_potential: Seconds


@dataclass
class _Ledger:
    """The evaluations of a running search: the only thing that counts against the budget."""

    budget: int
    evaluated: list[Evaluated] = field(default_factory=list)
    places: dict[CrystalCodes, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.budget - len(self.evaluated)

    def new(self, proposals: list[Proposal]) -> list[Proposal]:
        """Return what to evaluate: each code once, none known, no more than the budget allows."""
        distinct: dict[CrystalCodes, Proposal] = {}
        for proposal in proposals:
            if proposal.codes not in self.places:
                distinct.setdefault(proposal.codes, proposal)
        return list(distinct.values())[: self.left]

    def add(self, results: list[Evaluated]) -> None:
        for result in results:
            self.places[result.codes] = len(self.evaluated)
            self.evaluated.append(result)


def search(
    evaluator: Evaluator,
    settings: ProposerSettings,
    row: int,
    *,
    seed: int,
    evaluations: int,
    worth: Worth = formation_energy,
    objectives: Objectives | None = None,
) -> Search:
    """Run one method on one base crystal.

    Everything is made anew: the proposer, its space, its random numbers and what it learns.

    What counts: every crystal asked for is one evaluation, whether it decodes, breaks a rule or
    repeats a formula. Only codes that were evaluated earlier in the same search are free, as a
    campaign keeps equal codes once. What a method leaves out by itself before it asks (a repeat,
    a composition SMACT refuses) is free too: the potential never sees it.

    Args:
        evaluator: decodes and evaluates.
        settings: of the proposer; its number of generations is not looked at.
        row: of the base crystal in the code bank.
        seed: of every random number; the base's row is mixed in.
        evaluations: the budget.
        objectives: what is minimised besides, by methods that look at several objectives.
        worth: what is minimised; what it costs to find out is not the method's.

    Returns:
        What was evaluated; fewer than `evaluations` only where the method has nothing left.
    """
    started, judging = Seconds.now(), evaluator.judging.total
    computing, remembered = evaluator.computing.total, evaluator.remembered
    generator = evaluator.generator
    proposer = build_proposer(
        for_budget(settings, evaluations),
        replace(search_space(generator, row), objectives=objectives),
        EpisodeSeed(seed, row),
        MAX_REDRAWS,
        generator,
    )
    ledger = _Ledger(evaluations)
    sizes: list[int] = []
    members: list[tuple[int, ...]] = []
    asked = idle = 0
    while ledger.left and idle < _IDLE_GENERATIONS:
        proposals = proposer.ask(len(sizes))
        asked += len(proposals)
        new = ledger.new(proposals)
        ledger.add(evaluator.evaluate(new))
        idle = 0 if new else idle + 1
        generation = len(sizes)
        sizes.append(len(new))
        known = [ledger.places[p.codes] for p in proposals if p.codes in ledger.places]
        members.append(tuple(known))
        if ledger.left:
            with evaluator.judging:
                worths = [worth(ledger.evaluated[place]) for place in known]
            results = [
                _result(ledger.evaluated[place], place, value, objectives)
                for place, value in zip(known, worths, strict=True)
            ]
            proposer.tell(generation, results)
    own = Seconds.now() - started - (evaluator.judging.total - judging)
    own = own - (evaluator.computing.total - computing)
    inside = evaluator.computing.total - computing + evaluator.remembered - remembered
    return Search(
        evaluated=tuple(ledger.evaluated),
        generations=tuple(sizes),
        members=tuple(members),
        asked=asked,
        seconds=own + inside,
        seconds_without_potential=own,
    )


def _result(
    evaluated: Evaluated, place: int, worth: float | None, objectives: Objectives | None
) -> Result:
    """Return what the method is told of one evaluation."""
    fitness = PENALTY if worth is None else worth
    more: tuple[float, ...] = ()
    if objectives is not None:
        more = (fitness, *objectives([evaluated.codes], [evaluated.formula or ""])[0].tolist())
    return Result(str(place), evaluated.codes, fitness, more)
