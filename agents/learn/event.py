"""One learning event: collect labels, train a challenger, judge it, and swap the live model."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from agents.learn.challenge import Challenge, challenge
from agents.learn.imported import imported_labels, own_keys
from agents.learn.labels import Label, collect_labels, count_labels
from agents.learn.lineage import lineage, trained_keys
from agents.learn.prequential import mark_clean, stored_errors
from agents.learn.promotion import improvement
from agents.learn.samples import bank_digests
from agents.learn.settings import LearnSettings
from agents.renewal import renewing
from db import campaigns, events, model_versions
from db.documents import Event, ModelVersion
from db.owners import owner_name

if TYPE_CHECKING:
    from model.generator import Generator
    from model.property.head import PropertyHead

AGENT = "learn"
KIND = "property_head"
EVENT = "learning"
FAILED = "learning_failed"
MAX_FAILURES = 3
CLAIM_SECONDS = 300
"""How long after its last sign of life a learner is taken for dead; it renews its claim."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearningReport:
    """What came out of a learning event.

    Attributes:
        campaign: Name of the campaign.
        decision: ``promoted``, ``refused``, ``superseded`` (passed, but another version went live
            meanwhile), ``not_due``, or ``busy`` (another worker learns for this campaign).
        version: The stored version; None when none was trained.
        reason: Why it was not promoted; for a promotion, what became better.
        metrics: The numbers behind the decision.
    """

    campaign: str
    decision: str
    version: str | None = None
    reason: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


def live_head(campaign: str, generator: Generator) -> tuple[PropertyHead, str]:
    """Load the head that a campaign uses now.

    Args:
        campaign: Name of the campaign.
        generator: The campaign's generator, which ships the first head.

    Returns:
        The head and its version: that of the live model, or of the shipped head.
    """
    version = campaigns.load(campaign).live_model
    if version is None:
        return generator.head, generator.head.version
    return _stored_head(version), version


def due(
    campaign: str,
    settings: LearnSettings,
    *,
    last: bool = False,
    labels: Mapping[str, int] | None = None,
) -> bool:
    """Say whether enough became known since the last learning event for another one.

    After three failures with the labels there are, none is due until there are others.

    Args:
        campaign: Name of the campaign.
        settings: The thresholds.
        last: The campaign ends: whatever suffices for an event is learned now.
        labels: What `agents.learn.labels.count_labels` said a moment ago; None: it is asked.
    """
    now = count_labels(campaign) if labels is None else labels
    told = Event.objects(campaign=campaign, kind=EVENT).order_by("-at", "-id").first()
    seen = told.data["seen"] if told else {"potential": 0, "dft": 0}
    total, dft = sum(now.values()), now["dft"] - seen["dft"]
    fresh = total - sum(seen.values())
    if total - (told.data["learned"] if told else 0) < settings.min_labels:
        return False
    if last:
        wanted = dft > 0 or fresh >= min(settings.min_labels, settings.min_new_labels)
    else:
        wanted = dft >= settings.min_new_dft or fresh >= settings.min_new_labels
    return wanted and _failures(campaign, now) < MAX_FAILURES


def learn(
    campaign: str, generator: Generator, settings: LearnSettings, seed: int
) -> LearningReport:
    """Let the property head learn what the campaign found, if that makes it better.

    The challenger is trained and judged in memory; then its weights and the decision are stored,
    and only then the live model is swapped, if it still is the one the challenger came from. A
    crash before the storing leaves nothing behind; one between storing and swapping is finished
    by the next call. Equal labels and an equal seed give the same version. One worker learns for a
    campaign at a time. A failure is recorded as an event with the counts of labels, see `due`.

    Args:
        campaign: Name of the campaign.
        generator: The campaign's generator.
        settings: Thresholds, training and judgement.
        seed: The campaign's seed.

    Returns:
        The decision with its numbers.
    """
    owner = _owner(os.getpid())

    def renew() -> None:
        if not campaigns.claim_learning(campaign, owner, CLAIM_SECONDS):
            log.warning("another worker learns for %s: this one's result may be refused", campaign)

    if not campaigns.claim_learning(campaign, owner, CLAIM_SECONDS):
        return LearningReport(campaign, "busy", reason="another worker learns for this campaign")
    try:
        finish_interrupted(campaign)
        if not due(campaign, settings, last=True):
            return LearningReport(campaign, "not_due")
        counts = count_labels(campaign)
        try:
            with renewing("the claim to learn", renew, CLAIM_SECONDS):
                return _learn(campaign, generator, settings, seed)
        except Exception as error:
            data = {"error": f"{type(error).__name__}: {error}", "labels": counts}
            events.record(campaign, FAILED, agent=AGENT, data=data)
            raise
    finally:
        campaigns.release_learning(campaign, owner)


@cache
def _owner(process: int) -> str:
    """Name this process once: a claim that it could not release stays its own."""
    return owner_name()


def _learn(
    campaign: str, generator: Generator, settings: LearnSettings, seed: int
) -> LearningReport:
    """Train, judge, store and conclude."""
    parent = campaigns.load(campaign).live_model
    live, _ = live_head(campaign, generator)
    versions = model_versions.history(campaign, KIND)
    collected = collect_labels(campaign)
    collected += imported_labels(generator, settings.imported_levels)
    collected.sort(key=lambda label: (label.at, label.seq, label.key))
    held_out = bank_digests(generator, "val")
    labels = [label for label in collected if label.codes.digest() not in held_out]
    seen, learned = trained_keys(versions), trained_keys(lineage(versions, parent))
    result = challenge(
        generator,
        live,
        learned=[label for label in labels if label.key in learned],
        new=[label for label in labels if label.key not in learned],
        settings=settings,
        seed=seed,
        event=len(versions),
    )
    fresh = [label for label in collected if label.key not in seen]
    metrics = {
        **result.metrics,
        "stored_prequential": stored_errors(mark_clean(fresh, collected, versions), settings, seed),
        "live": live.version,
        "equal_to_held_out": len(collected) - len(labels),
        "relaxed_labels": "of accepted relaxations only",
    }
    record = _label_record(collected, result, len(own_keys(learned)))
    if result.head is None:
        return _report(campaign, None, parent, "refused", result.reason, metrics, record)
    decision, reason = "refused", result.reason
    if reason is None:
        decision, reason = "promoted", improvement(metrics["prequential"], metrics["held_out"])
    version = model_versions.store(
        campaign,
        KIND,
        result.head.to_bytes(),
        parent=parent,
        metrics=metrics,
        labels=record,
        decision=decision,
        reason=reason,
    )
    return _conclude(campaign, model_versions.load(version))


def finish_interrupted(campaign: str) -> list[LearningReport]:
    """Swap in and report whatever a crashed learning event stored and did not conclude.

    Args:
        campaign: Name of the campaign.

    Returns:
        One report for each version that had none.
    """
    reported = {
        event.data["version"] for event in Event.objects(campaign=campaign, kind=EVENT).only("data")
    }
    stored = model_versions.history(campaign, KIND)
    return [_conclude(campaign, version) for version in stored if version.id not in reported]


def _conclude(campaign: str, version: ModelVersion) -> LearningReport:
    """Make a promoted version live, and record the event with what really became of it."""
    decision, reason = version.decision, version.reason
    if decision == "promoted" and not _go_live(campaign, version):
        decision, reason = "superseded", "another version went live meanwhile"
    metrics = dict(version.metrics)
    return _report(campaign, version.id, version.parent, decision, reason, metrics, version.labels)


def _report(
    campaign: str,
    version: str | None,
    parent: str | None,
    decision: str,
    reason: str | None,
    metrics: dict[str, Any],
    labels: Mapping[str, Any],
) -> LearningReport:
    """Record the event; its counts tell `due` where the next one starts."""
    trained = len(own_keys(labels["trained"])) if decision == "promoted" else 0
    data = {
        "version": version,
        "parent": parent,
        "decision": decision,
        "reason": reason,
        "labels": labels["counts"],
        "seen": labels["seen"],
        "learned": labels["learned_before"] + trained,
    }
    events.record(campaign, EVENT, agent=AGENT, data=data)
    return LearningReport(campaign, decision, version, reason, metrics)


def _go_live(campaign: str, version: ModelVersion) -> bool:
    swapped = campaigns.swap_live_model(campaign, version.parent, version.id)
    return swapped or campaigns.load(campaign).live_model == version.id


def _failures(campaign: str, counts: Mapping[str, int]) -> int:
    """Count the failed events that had exactly these labels."""
    failed = Event.objects(campaign=campaign, kind=FAILED).only("data")
    return sum(event.data["labels"] == dict(counts) for event in failed)


def _label_record(labels: Sequence[Label], result: Challenge, learned: int) -> dict[str, Any]:
    """Return which labels a version learned, which judged it, and how many there were."""
    sources = Counter(label.source for label in labels)
    return {
        "trained": [label.key for label in result.trained],
        "gate": [label.key for label in result.gate],
        "seen": {"potential": sources["potential"], "dft": sources["dft"]},
        "counts": dict(Counter(label.target for label in result.trained)),
        "learned_before": learned,
    }


@lru_cache(maxsize=4)
def _stored_head(version: str) -> PropertyHead:
    from model.property.head import PropertyHead

    return PropertyHead.from_bytes(model_versions.load_payload(version))
