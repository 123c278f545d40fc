"""Whether a fine-tuned head may replace the live one.

The evidence is of two kinds. *Prequential*: the challenger saw only the earlier part of the new
labels, and is judged on the later part, which neither head has learned. *Held out*: the validation
crystals of the code bank, which no head ever learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agents.learn.bootstrap import Interval, bootstrap_mean
from agents.learn.samples import Samples
from agents.learn.settings import LearnSettings
from agents.learn.targets import split_target
from agents.targets import UNITS

if TYPE_CHECKING:
    from model.property.head import PropertyHead

Errors = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Verdict:
    """The outcome of a comparison.

    Attributes:
        promoted: The challenger may go live.
        reason: Why not; None when promoted.
        metrics: Every number that was looked at.
    """

    promoted: bool
    reason: str | None
    metrics: dict[str, Any]


def absolute_errors(head: PropertyHead, samples: Samples) -> Errors:
    """Return a head's absolute errors of every labelled target, in the target's unit.

    Args:
        head: The head to judge.
        samples: Labelled crystals.

    Returns:
        {target: (n labelled,)}; targets the head has no output for, or without a label, are
        left out.
    """
    if not len(samples):
        return {}
    errors = {}
    predicted = head.predict(samples.features)
    for target in samples.values:
        rows = samples.labelled(target)
        if target in predicted and len(rows):
            means = predicted[target][0].numpy().astype(np.float64)
            errors[target] = np.abs(means[rows] - samples.values[target][rows])
    return errors


def judge_prequential(
    live: PropertyHead,
    challenger: PropertyHead,
    learned: Samples,
    gate: Samples,
    settings: LearnSettings,
    seed: int,
) -> Verdict:
    """Compare two heads on labels that neither has learned.

    The challenger is refused when

    - ``prequential_worse``: over all labels of the gate, each in units of its target's scale, its
      mean absolute error is larger than the live head's, however slightly; or that of a target
      with enough labels is larger beyond its bootstrap interval;
    - ``no_skill``: for a target with enough labels it does not beat, beyond the bootstrap
      interval, the constant that fits the labels it was trained on best (their median). A model
      that learned from labels which have nothing to do with the crystals fails here, although it
      beats a live head that expects them to.

    Args:
        live: The live head, with an output for every target of the gate.
        challenger: The fine-tuned head.
        learned: The new labels that the challenger was trained on.
        gate: The later labels.
        settings: Intervals and the smallest number of labels that is judged.
        seed: Source of the bootstrap.
    """
    before, after = absolute_errors(live, gate), absolute_errors(challenger, gate)
    scales = dict(zip(challenger.targets, challenger.target_scale.tolist(), strict=True))
    pooled = np.concatenate([(after[t] - before[t]) / scales[t] for t in after])
    metrics: dict[str, Any] = {
        "pooled_difference": _interval(pooled, settings, seed).record(),
        "targets": {},
    }
    reason = "prequential_worse" if pooled.mean() > 0 else None
    for target in sorted(after):
        difference = _interval(after[target] - before[target], settings, seed)
        judged = difference.n >= settings.min_judged
        numbers = {
            "before": _interval(before[target], settings, seed).record(),
            "after": _interval(after[target], settings, seed).record(),
            "difference": difference.record(),
            "judged": judged,
            "proven": False,
        }
        rows = learned.labelled(target)
        if len(rows):
            constant = np.median(learned.values[target][rows])
            truth = gate.values[target][gate.labelled(target)]
            skill = _interval(after[target] - np.abs(truth - constant), settings, seed)
            numbers["against_constant"] = skill.record()
            numbers["proven"] = judged and skill.high < 0 and difference.low <= 0
            if judged and skill.high >= 0:
                reason = reason or f"no_skill: {target}"
        if judged and difference.low > 0:
            reason = reason or f"prequential_worse: {target}"
        metrics["targets"][target] = numbers
    return Verdict(reason is None, reason, metrics)


def judge_held_out(
    references: Mapping[str, PropertyHead],
    challenger: PropertyHead,
    held_out: Samples,
    settings: LearnSettings,
    seed: int,
) -> Verdict:
    """Say whether a challenger keeps what was known about crystals no head learns from.

    For every target with held-out labels its mean absolute error must stay within the bootstrap
    interval of each reference's error. With the live head *and* the shipped one as references a
    sequence of promotions cannot lose ground step by step.

    Args:
        references: Heads to compare with, by name.
        challenger: The fine-tuned head.
        held_out: Validation crystals of the code bank.
        settings: The intervals.
        seed: Source of the bootstrap.
    """
    after = absolute_errors(challenger, held_out)
    metrics: dict[str, Any] = {
        target: {"after": _interval(errors, settings, seed).record()}
        for target, errors in sorted(after.items())
    }
    reason = None
    for name, head in references.items():
        for target, errors in sorted(absolute_errors(head, held_out).items()):
            bound = _interval(errors, settings, seed)
            metrics[target][name] = bound.record()
            metrics[target][f"difference_to_{name}"] = _interval(
                after[target] - errors, settings, seed
            ).record()
            if after[target].mean() > bound.high:
                reason = reason or f"held_out_worse: {target}"
    return Verdict(reason is None, reason, metrics)


def improvement(prequential: Mapping[str, Any], held_out: Mapping[str, Any]) -> str:
    """Say in words what became better, for a challenger that passed.

    Args:
        prequential: Metrics of `judge_prequential`.
        held_out: Metrics of `judge_held_out`.
    """
    targets = prequential["targets"]
    told = {t: n for t, n in targets.items() if n["judged"]} or targets
    parts = []
    for target, numbers in told.items():
        before, after = numbers["before"], numbers["after"]
        unit = UNITS.get(split_target(target)[0], "")
        parts.append(
            f"prequential MAE of {target} {before['mean']:.3g} -> {after['mean']:.3g} {unit} "
            f"on {after['n']} labels not seen before"
        )
    sizes = [numbers["after"]["n"] for numbers in held_out.values()]
    if sizes:
        parts.append(f"nothing lost on {max(sizes)} held-out crystals")
    return "; ".join(parts)


def _interval(values: NDArray[np.float64], settings: LearnSettings, seed: int) -> Interval:
    return bootstrap_mean(
        values, samples=settings.bootstrap, confidence=settings.confidence, seed=seed
    )
