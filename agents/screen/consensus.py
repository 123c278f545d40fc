"""Do the models agree that a crystal lies inside the campaign's windows?

The paper's rule: every model of a property must put it inside the window, and where a gap is wanted
the classifier must say that there is one. How many models have to agree, and whether a classifier
has to be among them, is configuration. Numbers that are out of domain, or of a level of theory that
does not mean what the window means, are recorded and not counted. A window on which too few models
have a counted word is *unjudged*: silence is no agreement, and the formation energy of the
potential that relaxed the crystal is no screen of it.

Two models that learned from the same labels share their faults, so their agreement says less than
that of two that did not. Every record therefore names those that do. The paper's MEGNet learned
from the Materials Project (PBE) and its ALIGNN from JARVIS-DFT (OptB88vdW); the ALIGNN shipped here
shares MEGNet's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from agents.prediction import Prediction, counts
from agents.screen.settings import ScreenSettings
from agents.targets import Window


@dataclass(frozen=True)
class Verdict:
    """One model's word on one window.

    Attributes:
        property: The window's property, or ``p_gap``.
        model: Name of the model.
        version: Its version.
        level: Level of theory of its labels.
        value: The number compared; a negative gap counts as 0.
        inside: True if it lies inside.
        counted: False if it is recorded only.
    """

    property: str
    model: str
    version: str
    level: str
    value: float
    inside: bool
    counted: bool


@dataclass(frozen=True)
class Consensus:
    """All verdicts on one crystal.

    Attributes:
        rule: ``gate`` or ``rank``.
        agreement: ``all``, or how many models must put it inside each window.
        min_models: With fewer words a window is unjudged.
        classifier: ``required``, ``if_present`` or ``off``.
        verdicts: One for each model and window.
        windows: What was asked.
        properties: The windows' properties, in the same order; after a wanted gap ``p_gap``.
    """

    rule: str
    agreement: Literal["all"] | int
    min_models: int
    classifier: str
    verdicts: tuple[Verdict, ...]
    windows: tuple[str, ...]
    properties: tuple[str, ...]

    @property
    def outside(self) -> list[str]:
        """Properties on which too few models put the crystal inside, in the windows' order."""
        found = []
        for name in self.properties:
            words = self._words(name)
            needed = self._needed(name, words)
            if len(words) >= needed > sum(words.values()):
                found.append(name)
        return found

    @property
    def unjudged(self) -> list[str]:
        """Properties on which too few models have a counted word, in the windows' order."""
        found = []
        for name in self.properties:
            words = self._words(name)
            if name == "p_gap":
                least = 1 if self.classifier == "required" else 0
            else:
                least = max(self.min_models, self._needed(name, words))
            if len(words) < least:
                found.append(name)
        return found

    @property
    def shared_data(self) -> list[dict[str, Any]]:
        """Groups of counted models that learned from the same labels, by level of theory."""
        levels: dict[str, list[str]] = {}
        for verdict in self.verdicts:
            models = levels.setdefault(verdict.level, [])
            if verdict.counted and verdict.model not in models:
                models.append(verdict.model)
        return [
            {"level": level, "models": models, "note": _shared_note(level, models)}
            for level, models in levels.items()
            if len(models) > 1
        ]

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rule": self.rule,
            "agreement": self.agreement,
            "min_models": self.min_models,
            "classifier": self.classifier,
            "windows": list(self.windows),
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "outside": self.outside,
            "unjudged": self.unjudged,
            "shared_data": self.shared_data,
        }

    def _words(self, name: str) -> dict[str, bool]:
        """Return each model with a counted word on a property: is it inside at every level?"""
        words: dict[str, bool] = {}
        for verdict in self.verdicts:
            if verdict.property == name and verdict.counted:
                words[verdict.model] = words.get(verdict.model, True) and verdict.inside
        return words

    def _needed(self, name: str, words: dict[str, bool]) -> int:
        """Return how many models must put it inside; every classifier that speaks must."""
        return len(words) if self.agreement == "all" or name == "p_gap" else self.agreement


def _shared_note(level: str, models: Sequence[str]) -> str:
    note = (
        f"{' and '.join(models)} learned from the same labels ({level}): their agreement is no "
        "independent confirmation"
    )
    if "alignn" in models:
        note += "; the paper's ALIGNN was trained on JARVIS-DFT (OptB88vdW)"
    return note


def find_consensus(
    predictions: Iterable[Prediction], windows: Sequence[Window], settings: ScreenSettings
) -> Consensus:
    """Compare every prediction with the windows.

    Args:
        predictions: Of all models for one crystal.
        windows: The campaign's targets.
        settings: Which levels are not counted, the smallest probability of a gap, how many models
            must agree, and whether a classifier must be among them.

    Returns:
        The verdicts; whether they reject is `ScreenSettings.consensus`.
    """
    known = list(predictions)
    verdicts = []
    properties: list[str] = []
    for window in windows:
        properties.append(window.property)
        wants_a_gap = _wants_a_gap(window)
        if wants_a_gap and settings.classifier != "off":
            properties.append("p_gap")
        for prediction in known:
            if prediction.property == window.property:
                gap = window.property == "band_gap"
                value = max(0.0, prediction.value) if gap else prediction.value
                verdicts.append(_verdict(prediction, value, window.contains(value), settings))
            elif prediction.property == "p_gap" and wants_a_gap:
                inside = prediction.value >= settings.min_p_gap
                verdicts.append(_verdict(prediction, prediction.value, inside, settings))
    return Consensus(
        settings.consensus,
        settings.agreement,
        settings.min_models,
        settings.classifier,
        tuple(verdicts),
        tuple(str(window) for window in windows),
        tuple(properties),
    )


def _wants_a_gap(window: Window) -> bool:
    return window.property == "band_gap" and not window.contains(0.0)


def _verdict(
    prediction: Prediction, value: float, inside: bool, settings: ScreenSettings
) -> Verdict:
    comparable = prediction.level not in settings.gate_ignores_levels
    heard = prediction.property != "p_gap" or settings.classifier != "off"
    return Verdict(
        property=prediction.property,
        model=prediction.model,
        version=prediction.version,
        level=prediction.level,
        value=value,
        inside=inside,
        counted=comparable
        and heard
        and counts(prediction.in_domain, prediction.out_of_domain, settings.counted_out_of_domain),
    )
