"""Which evaluated candidates are relaxed: decided by whole generations."""

from __future__ import annotations

from collections import defaultdict

from agents.relax.settings import RelaxSettings
from db import candidates as candidate_records
from db.candidates import StaleLease
from db.documents import Candidate
from db.states import State

AGENT = "loop"
WAITING = (State.PROPOSED, State.EVALUATED)


def dispatch_relaxations(campaign: str, settings: RelaxSettings) -> int:
    """Send the best of every completely evaluated generation to relaxation, and reject the others.

    A generation is complete when none of its candidates waits for its evaluation or the rules, so
    the choice depends on energies alone and is the same after a crash. Ranking is by decoded
    formation energy, ties by order of proposal.

    Args:
        campaign: Name of the campaign.
        settings: ``max_per_generation`` and ``max_unrelaxed_formation_energy`` decide.

    Returns:
        Number of candidates that were sent.
    """
    generations: dict[tuple[int, int], list[Candidate]] = defaultdict(list)
    fields = ("id", "seq", "state", "token", "episode", "generation", "evaluation")
    ready = Candidate.objects(campaign=campaign, state=State.PRESCREENED.value).only(*fields)
    for candidate in ready.order_by("seq"):
        generations[candidate.episode, candidate.generation].append(candidate)
    sent = 0
    for (episode, generation), members in sorted(generations.items()):
        if _still_evaluating(campaign, episode, generation):
            continue
        members.sort(key=lambda member: (_energy(member), member.seq))
        already = _already_sent(campaign, episode, generation)
        for rank, candidate in enumerate(members, start=already + 1):
            try:
                sent += _decide(candidate, rank, settings)
            except StaleLease:  # another process decided, by the same energies
                continue
    return sent


def _still_evaluating(campaign: str, episode: int, generation: int) -> bool:
    waiting = Candidate.objects(
        campaign=campaign,
        episode=episode,
        generation=generation,
        state__in=[state.value for state in WAITING],
    )
    return waiting.limit(1).count(with_limit_and_skip=True) > 0


def _already_sent(campaign: str, episode: int, generation: int) -> int:
    """Count those sent before a crash in the middle of a generation."""
    sent = Candidate.objects(
        campaign=campaign, episode=episode, generation=generation, screening__dispatch__exists=True
    )
    return sent.count()


def _energy(candidate: Candidate) -> float:
    return float(candidate.evaluation["formation_energy_per_atom"])


def _decide(candidate: Candidate, rank: int, settings: RelaxSettings) -> int:
    energy, most = _energy(candidate), settings.max_per_generation
    limit = settings.max_unrelaxed_formation_energy
    detail = {"rank": rank, "formation_energy_per_atom": energy}
    if limit is not None and energy > limit:
        _reject(candidate, "unrelaxed_formation_energy", {**detail, "max": limit})
        return 0
    if most is not None and rank > most:
        _reject(candidate, "relaxation_budget", {**detail, "max_per_generation": most})
        return 0
    candidate_records.transition(
        candidate.id,
        source=State.PRESCREENED,
        to=State.RELAXING,
        token=candidate.token,
        agent=AGENT,
        updates={"screening.dispatch": detail},
    )
    return 1


def _reject(candidate: Candidate, reason: str, detail: dict[str, float]) -> None:
    candidate_records.transition(
        candidate.id,
        source=State.PRESCREENED,
        to=State.REJECTED,
        token=candidate.token,
        agent=AGENT,
        reason=reason,
        detail=detail,
    )
