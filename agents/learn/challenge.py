"""Training a challenger on new labels, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.learn.finetune import fine_tune
from agents.learn.labels import Label
from agents.learn.promotion import judge_held_out, judge_prequential
from agents.learn.samples import Samples, bank_digests, from_bank
from agents.learn.settings import LearnSettings
from agents.learn.split import identities, split_in_time, to_samples
from agents.learn.targets import split_target, widen

if TYPE_CHECKING:
    from model.generator import Generator
    from model.property.head import PropertyHead


@dataclass(frozen=True)
class Challenge:
    """A challenger and what became of it.

    Attributes:
        head: The challenger; when it passed and was refitted, the refitted head. None when there
            was too little to train or judge one.
        reason: Why it is refused; None when it may go live.
        trained: The new labels it learned.
        gate: The new labels that judged it.
        metrics: The numbers behind the decision.
    """

    head: PropertyHead | None
    reason: str | None
    trained: list[Label]
    gate: list[Label]
    metrics: dict[str, Any]


def challenge(
    generator: Generator,
    live: PropertyHead,
    *,
    learned: Sequence[Label],
    new: Sequence[Label],
    settings: LearnSettings,
    seed: int,
    event: int,
) -> Challenge:
    """Train a challenger of the live head, judge it, and refit it if it passed.

    Args:
        generator: The generator with its code bank: train crystals are replayed, val crystals are
            the held-out set.
        live: The live head.
        learned: Labels that the live head has learned already; they are rehearsed.
        new: Labels that it has not, in the order in which they became known.
        settings: Training and judgement.
        seed: The campaign's seed.
        event: Number of the learning event, for independent random numbers.

    Returns:
        The challenger with the verdict. A refit learns the gate's labels too and must pass the
        held-out test again, or else the challenger that was judged stays. A head that may go live
        counts the targets it was judged on as proven.
    """
    seeds = np.random.SeedSequence(seed, spawn_key=(event,)).generate_state(5).tolist()
    taught = identities(learned) | bank_digests(generator, "train")
    early, gate = split_in_time(new, settings.gate_fraction, taught)
    counts = {"rehearsed": len(learned), "trained": len(early), "gate": len(gate)}
    if (reason := _too_few(early, gate, settings)) is not None:
        return Challenge(None, reason, [], [], {"labels": counts})
    start = _widened(live, [*learned, *new], early)
    judged = to_samples(generator, gate)
    held_out = from_bank(generator, generator.bank.rows("val"))
    references = {"live": start, "shipped": generator.head}

    lesson = to_samples(generator, [*learned, *early])
    replay = _replay(generator, settings, seeds[0])
    tuned = fine_tune(start, lesson, replay, settings.finetune, seeds[1])
    prequential = judge_prequential(
        start, tuned, to_samples(generator, early), judged, settings, seeds[2]
    )
    kept = judge_held_out(references, tuned, held_out, settings, seeds[2])
    metrics: dict[str, Any] = {
        "prequential": prequential.metrics,
        "held_out": kept.metrics,
        "replay": len(replay),
        "labels": counts,
    }
    reason = prequential.reason or kept.reason
    if reason is not None or not settings.refit:
        return Challenge(_proven(tuned, reason, metrics), reason, early, gate, metrics)

    start = _widened(live, [*learned, *new], new)
    lesson = to_samples(generator, [*learned, *new])
    replay = _replay(generator, settings, seeds[3])
    refitted = fine_tune(start, lesson, replay, settings.finetune, seeds[4])
    verdict = judge_held_out(references, refitted, held_out, settings, seeds[2])
    metrics["refit"] = {
        "used": verdict.promoted,
        "reason": verdict.reason,
        "held_out": verdict.metrics,
    }
    if not verdict.promoted:
        return Challenge(_proven(tuned, None, metrics), None, early, gate, metrics)
    return Challenge(_proven(refitted, None, metrics), None, list(new), gate, metrics)


def _too_few(early: Sequence[Label], gate: Sequence[Label], settings: LearnSettings) -> str | None:
    """Say why labels do not suffice to train and judge a challenger, if they do not."""
    if len(gate) < settings.min_judged:
        return (
            f"too_few_to_judge: {len(gate)} new labels of crystals that no head has learned, "
            f"{settings.min_judged} needed"
        )
    return None if early else "too_few_to_learn: every new label is of a crystal that judges"


def _proven(head: PropertyHead, reason: str | None, metrics: Mapping[str, Any]) -> PropertyHead:
    """Mark the targets that a head which passed was judged on; they add to those of its parent."""
    if reason is not None:
        return head
    judged = metrics["prequential"]["targets"].items()
    return head.with_proven(target for target, numbers in judged if numbers["proven"])


def _widened(live: PropertyHead, labels: Sequence[Label], known: Sequence[Label]) -> PropertyHead:
    """Return the live head with an output for every label, scaled by the values that are known."""
    targets = sorted({label.target for label in labels})
    values = {
        target: np.array([label.value for label in known if label.target == target])
        for target in targets
    }
    return widen(live, values, _potential_level(labels))


def _potential_level(labels: Sequence[Label]) -> str:
    for label in labels:
        if label.source == "potential":
            return split_target(label.target)[1]
    return ""


def _replay(generator: Generator, settings: LearnSettings, seed: int) -> Samples:
    """Draw the training crystals of the code bank that are rehearsed."""
    rows = generator.bank.rows("train")
    size = max(1, round(settings.finetune.replay * len(rows)))
    chosen = np.random.default_rng(seed).choice(rows, size=size, replace=False)
    return from_bank(generator, np.sort(chosen))
