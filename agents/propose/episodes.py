"""Rounds of a campaign: every proposer asks for a generation of its episode.

A round is recorded as one `Generation` per proposer, and what was asked becomes candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.propose.own_bases import OwnBase
from agents.propose.proposer import Proposal, Proposer
from agents.propose.records import proposal_records
from agents.propose.replay import Turn, replay, turns
from agents.propose.settings import ProposeSettings
from agents.targets import Window
from db import candidates as candidate_records
from db import generations as generation_records
from db.documents import Candidate, Generation
from db.states import State

if TYPE_CHECKING:
    from model.generator import Generator
    from model.property.head import PropertyHead


@dataclass(frozen=True)
class GenerationReport:
    """What one proposer did in a round.

    Attributes:
        proposer: Kind of the proposer.
        episode: Number of the episode in the campaign.
        generation: Number of the generation in the episode.
        base_id: The episode's base crystal.
        candidate_ids: The generation's candidates, in the order of the proposals.
        info: Number of the ``round`` and of its ``proposers``; how many proposals were ``asked``,
            ``new`` to the campaign, ``invalid`` decodes, ``filled`` uniformly, ``cut`` by the
            budget; ``spawn_key`` of the random numbers under the campaign's seed.
    """

    proposer: str
    episode: int
    generation: int
    base_id: str
    candidate_ids: tuple[str, ...]
    info: dict[str, Any]


@dataclass(frozen=True)
class RoundReport:
    """What a round proposed.

    Attributes:
        campaign: Name of the campaign.
        round_index: Number of the round.
        generations: One report for each proposer, in the order of the settings.
        exhausted: The campaign's budget of candidates is used up.
    """

    campaign: str
    round_index: int
    generations: tuple[GenerationReport, ...]
    exhausted: bool

    @property
    def new(self) -> int:
        """Number of candidates that are new to the campaign."""
        return sum(generation.info["new"] for generation in self.generations)


def rounds_asked(campaign: str) -> int:
    """Return how many rounds are recorded whole, each with a generation of every proposer."""
    last = generation_records.last_round(campaign)
    if last is None:
        return 0
    newest = generation_records.load(campaign, round_index=last)
    # A round is only asked when the one before is whole, so that the newest alone may not be.
    return last + (len(newest) == newest[0].info["proposers"])


def round_ready(campaign: str, round_index: int) -> bool:
    """Say whether every result that a round builds on is known.

    Args:
        campaign: Name of the campaign.
        round_index: Number of the round about to be asked, from 0.

    Returns:
        True when all rounds before it are recorded whole and every candidate of the last of them
        was evaluated, rejected or failed.
    """
    if rounds_asked(campaign) < round_index:
        return False
    ids: set[str] = set()
    for generation in generation_records.load(campaign, round_index=round_index - 1):
        ids.update(generation.candidate_ids)
    waiting = Candidate.objects(id__in=sorted(ids), state=State.PROPOSED.value)
    return waiting.count() == 0


def ask_round(
    campaign: str,
    seed: int,
    generator: Generator,
    head: PropertyHead,
    settings: ProposeSettings,
    round_index: int,
    *,
    max_candidates: int | None = None,
    targets: Sequence[Window] = (),
    own_bases: Sequence[OwnBase] = (),
    is_known: Callable[[str], bool] | None = None,
    is_excluded: Callable[[str], bool] | None = None,
) -> RoundReport:
    """Ask every proposer for its generation of a round and insert the candidates.

    May be repeated at any time: a recorded generation is left alone, and one whose candidates
    were inserted but not yet recorded is asked again, which gives the same proposals, and equal
    codes exist once in a campaign. A candidate that two proposers ask for counts for both.

    Each candidate carries the head's prediction from its codes, made here, before anything was
    computed: the prequential prediction that a later label is held against.

    Args:
        campaign: Name of the campaign.
        seed: The campaign's seed.
        generator: The generator with its code bank.
        head: The live property head.
        settings: The campaign's proposer settings.
        round_index: Number of the round, from 0.
        max_candidates: Most candidates the campaign may have; the generation that reaches it is
            cut there, in the order of the proposals.
        targets: The campaign's windows, for objectives.
        own_bases: Base crystals that a person brought; empty: training crystals.
        is_known: Whether the reference collection has a formula, for the objective of novelty.
        is_excluded: Whether the screens exclude a formula, for the objective of the rules.

    Returns:
        What was proposed; for generations recorded earlier, their record.

    Raises:
        RoundNotReady: A result of the round before is still to come.
        NoBaseCrystal: No training crystal fits `settings.base`.
    """
    room = _Room(campaign, max_candidates)
    reports = []
    for turn in turns(settings, round_index):
        recorded = _recorded(campaign, turn)
        if recorded is not None:
            reports.append(_report(recorded))
            continue
        proposer = replay(
            *(campaign, seed, generator, turn, settings, targets, own_bases),
            is_known=is_known,
            is_excluded=is_excluded,
        )
        asked = proposer.ask(turn.generation)
        proposals = room.cut(asked, generator.version)
        decoded = generator.decode([proposal.codes for proposal in proposals])
        records = proposal_records(proposals, decoded, generator, head)
        ids = candidate_records.insert_proposals(campaign, records)
        info = {
            "round": round_index,
            "proposers": len(settings.proposers),
            "asked": len(asked),
            "new": room.take(ids),
            "invalid": sum("structure" not in record for record in records),
            "filled": proposer.filled,
            "cut": len(asked) - len(proposals),
        }
        reports.append(_report(_record(campaign, turn, proposer, ids, info)))
    return RoundReport(campaign, round_index, tuple(reports), room.exhausted)


class _Room:
    """How many new candidates the budget still allows.

    Counts the candidates of *recorded* generations, so that a generation interrupted after its
    insertion is cut at the same place when it is asked again.
    """

    def __init__(self, campaign: str, limit: int | None) -> None:
        self._campaign = campaign
        self._limit = limit
        self._known: set[str] = set()
        for generation in generation_records.load(campaign):
            self._known.update(generation.candidate_ids)

    @property
    def exhausted(self) -> bool:
        return self._limit is not None and len(self._known) >= self._limit

    def cut(self, proposals: list[Proposal], generator_version: str) -> list[Proposal]:
        """Return the proposals up to the one that would exceed the budget."""
        if self._limit is None:
            return proposals
        left = self._limit - len(self._known)
        kept: list[Proposal] = []
        new: set[str] = set()
        for proposal in proposals:
            digest = proposal.codes.digest()
            name = candidate_records.candidate_id(self._campaign, generator_version, digest)
            if name not in self._known:
                if name not in new and len(new) >= left:
                    break
                new.add(name)
            kept.append(proposal)
        return kept

    def take(self, ids: Sequence[str]) -> int:
        """Count a generation's candidates; returns how many of them are new."""
        before = len(self._known)
        self._known.update(ids)
        return len(self._known) - before


def _recorded(campaign: str, turn: Turn) -> Generation | None:
    for generation in generation_records.load(campaign, episode=turn.episode):
        if generation.generation == turn.generation:
            return generation
    return None


def _record(
    campaign: str, turn: Turn, proposer: Proposer, ids: Sequence[str], info: dict[str, Any]
) -> Generation:
    return generation_records.record(
        campaign=campaign,
        episode=turn.episode,
        generation=turn.generation,
        proposer=proposer.kind,
        base_id=proposer.space.base_id,
        seed=proposer.seed.campaign,
        candidate_ids=list(ids),
        info=info | {"spawn_key": proposer.seed.key(turn.generation)},
    )


def _report(generation: Generation) -> GenerationReport:
    return GenerationReport(
        proposer=generation.proposer,
        episode=generation.episode,
        generation=generation.generation,
        base_id=generation.base_id,
        candidate_ids=tuple(generation.candidate_ids),
        info=dict(generation.info),
    )
