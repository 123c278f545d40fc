"""One learning event: collect labels, train a challenger, judge it, and swap the live model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agents.learn.challenge import Challenge, challenge
from agents.learn.labels import Label, collect_labels, count_labels
from agents.learn.prequential import stored_errors
from agents.learn.settings import LearnSettings
from db import campaigns, events, model_versions
from db.documents import Event, ModelVersion

if TYPE_CHECKING:
    from model.generator import Generator
    from model.head import PropertyHead

AGENT = "learn"
KIND = "property_head"
EVENT = "learning"


@dataclass(frozen=True)
class LearningReport:
    """What came out of a learning event.

    Attributes:
        campaign: Name of the campaign.
        decision: ``promoted``, ``refused``, ``superseded`` (passed, but another version went live
            meanwhile), or ``not_due``.
        version: The stored version; None when there was nothing to learn.
        reason: Why it was not promoted.
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


def due(campaign: str, settings: LearnSettings, *, last: bool = False) -> bool:
    """Say whether enough became known since the last learning event for another one.

    Args:
        campaign: Name of the campaign.
        settings: The thresholds.
        last: The campaign ends: whatever suffices for an event is learned now.
    """
    fresh, dft, unlearned = _news(campaign)
    if unlearned < settings.min_labels:
        return False
    if last:
        return dft > 0 or fresh >= min(settings.min_labels, settings.min_new_labels)
    return dft >= settings.min_new_dft or fresh >= settings.min_new_labels


def learn(
    campaign: str, generator: Generator, settings: LearnSettings, seed: int
) -> LearningReport:
    """Let the property head learn what the campaign found, if that makes it better.

    The challenger is trained and judged in memory; then its weights and the decision are stored,
    and only then the live model is swapped, if it still is the one the challenger came from. A
    crash before the storing leaves nothing behind; one between storing and swapping is finished
    by the next call. Equal labels and an equal seed give the same version.

    Args:
        campaign: Name of the campaign.
        generator: The campaign's generator.
        settings: Thresholds, training and judgement.
        seed: The campaign's seed.

    Returns:
        The decision with its numbers.
    """
    finish_interrupted(campaign)
    if not due(campaign, settings, last=True):
        return LearningReport(campaign, "not_due")
    parent = campaigns.load(campaign).live_model
    live, _ = live_head(campaign, generator)
    versions = model_versions.history(campaign, KIND)
    labels = collect_labels(campaign)
    seen, learned = _keys(versions), _keys(_lineage(versions, parent))
    result = challenge(
        generator,
        live,
        learned=[label for label in labels if label.key in learned],
        new=[label for label in labels if label.key not in learned],
        settings=settings,
        seed=seed,
        event=len(versions),
    )
    fresh = [label for label in labels if label.key not in seen]
    decision = "promoted" if result.reason is None else "refused"
    metrics = {
        **result.metrics,
        "stored_prequential": stored_errors(fresh, settings, seed),
        "live": live.version,
    }
    version = model_versions.store(
        campaign,
        KIND,
        result.head.to_bytes(),
        parent=parent,
        metrics=metrics,
        labels=_label_record(labels, result),
        decision=decision,
        reason=result.reason,
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
    """Make a promoted version live, and record the event."""
    decision, reason = version.decision, version.reason
    if decision == "promoted" and not _go_live(campaign, version):
        decision, reason = "superseded", "another version went live meanwhile"
    data = {
        "version": version.id,
        "parent": version.parent,
        "decision": decision,
        "reason": reason,
        "labels": version.labels["counts"],
    }
    events.record(campaign, EVENT, agent=AGENT, data=data)
    return LearningReport(campaign, decision, version.id, reason, dict(version.metrics))


def _go_live(campaign: str, version: ModelVersion) -> bool:
    swapped = campaigns.swap_live_model(campaign, version.parent, version.id)
    return swapped or campaigns.load(campaign).live_model == version.id


def _news(campaign: str) -> tuple[int, int, int]:
    """Return labels since the last event, DFT labels among them, and labels not learned."""
    now = count_labels(campaign)
    versions = model_versions.history(campaign, KIND)
    seen = versions[-1].labels["seen"] if versions else {"potential": 0, "dft": 0}
    total = sum(now.values())
    learned = _keys(_lineage(versions, campaigns.load(campaign).live_model))
    return total - sum(seen.values()), now["dft"] - seen["dft"], total - len(learned)


def _lineage(versions: Sequence[ModelVersion], live: str | None) -> list[ModelVersion]:
    """Return the live version and all it came from, the youngest first."""
    known = {version.id: version for version in versions}
    line: list[ModelVersion] = []
    while live is not None:
        line.append(known.get(live) or model_versions.load(live))
        live = line[-1].parent
    return line


def _keys(versions: Sequence[ModelVersion]) -> set[str]:
    return {key for version in versions for key in version.labels["trained"]}


def _label_record(labels: Sequence[Label], result: Challenge) -> dict[str, Any]:
    """Return which labels a version learned, which judged it, and how many there were."""
    sources = Counter(label.source for label in labels)
    return {
        "trained": [label.key for label in result.trained],
        "gate": [label.key for label in result.gate],
        "seen": {"potential": sources["potential"], "dft": sources["dft"]},
        "counts": dict(Counter(label.target for label in result.trained)),
    }


@lru_cache(maxsize=4)
def _stored_head(version: str) -> PropertyHead:
    from model.head import PropertyHead

    return PropertyHead.from_bytes(model_versions.load_payload(version))
