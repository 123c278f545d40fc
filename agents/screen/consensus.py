"""Do the models agree that a crystal lies inside the campaign's windows?

The paper's rule: every model of a property must put it inside the window, and where a gap is wanted
the classifier must say that there is one. Numbers that are out of domain, or of a level of theory
that does not mean what the window means, are recorded and not counted. A window on which no model
has a counted word is *unjudged*: silence is no agreement, and the formation energy of the potential
that relaxed the crystal is no screen of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agents.prediction import Prediction
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
        verdicts: One for each model and window.
        windows: What was asked.
        properties: The windows' properties, in the same order.
    """

    rule: str
    verdicts: tuple[Verdict, ...]
    windows: tuple[str, ...]
    properties: tuple[str, ...]

    @property
    def outside(self) -> list[str]:
        """Properties for which a counted verdict is outside, in the order of the windows."""
        against = [v.property for v in self.verdicts if v.counted and not v.inside]
        return list(dict.fromkeys(against))

    @property
    def unjudged(self) -> list[str]:
        """Properties of windows on which no counted verdict was given, in their order."""
        judged = {v.property for v in self.verdicts if v.counted}
        return [name for name in self.properties if name not in judged]

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rule": self.rule,
            "windows": list(self.windows),
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "outside": self.outside,
            "unjudged": self.unjudged,
        }


def find_consensus(
    predictions: Iterable[Prediction], windows: Sequence[Window], settings: ScreenSettings
) -> Consensus:
    """Compare every prediction with the windows.

    Args:
        predictions: Of all models for one crystal.
        windows: The campaign's targets.
        settings: Which levels are not counted, and the smallest probability of a gap.

    Returns:
        The verdicts; whether they reject is `ScreenSettings.consensus`.
    """
    known = list(predictions)
    verdicts = []
    for window in windows:
        for prediction in known:
            if prediction.property == window.property:
                gap = window.property == "band_gap"
                value = max(0.0, prediction.value) if gap else prediction.value
                verdicts.append(_verdict(prediction, value, window.contains(value), settings))
            elif prediction.property == "p_gap" and _wants_a_gap(window):
                inside = prediction.value >= settings.min_p_gap
                verdicts.append(_verdict(prediction, prediction.value, inside, settings))
    return Consensus(
        settings.consensus,
        tuple(verdicts),
        tuple(str(window) for window in windows),
        tuple(window.property for window in windows),
    )


def _wants_a_gap(window: Window) -> bool:
    return window.property == "band_gap" and not window.contains(0.0)


def _verdict(
    prediction: Prediction, value: float, inside: bool, settings: ScreenSettings
) -> Verdict:
    comparable = prediction.level not in settings.gate_ignores_levels
    return Verdict(
        property=prediction.property,
        model=prediction.model,
        version=prediction.version,
        level=prediction.level,
        value=value,
        inside=inside,
        counted=prediction.in_domain and comparable,
    )
