"""How probable it is that DFT finds a candidate inside every window, from the screens' predictions.

A prediction becomes a normal distribution: its mean is the value, its width the model's own
uncertainty or, for a model that gives none, what the campaign says or else the error it was
measured to make on crystals it had not seen (`data/model_errors.json`, by
``benchmarks/model_errors.py``). Several models of one
property are pooled linearly, each with equal weight (Stone 1961, doi 10.1214/aoms/1177704873): the
mean of their probabilities, so that models that contradict each other give a middling number and
not a sure one. Windows multiply, as if their errors were independent.

A band gap has a mass at zero. Where a classifier gives the probability of a gap, the value of the
other models is that of the gap if there is one; where none does, what lies below zero means none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.prediction import counts
from agents.targets import Window

GAP, CLASSIFIER = "band_gap", "p_gap"
OWN, GIVEN = "its own", "verify.error_widths of the campaign"
_ERRORS = Path(__file__).parent / "data" / "model_errors.json"
_SMALLEST_WIDTH = 1e-6
"""eV or eV/atom: a model that is sure has a step for a distribution."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Opinion:
    """What one model says of one window.

    Attributes:
        model: Name of the model.
        version: Version of its weights.
        level: Level of theory it predicts.
        value: The prediction.
        std: Width of the normal distribution around it.
        source: Where the width comes from: ``its own``, the campaign, or where it was measured.
        probability: That the property lies inside the window; for a gap beside a classifier, if
            there is a gap.
    """

    model: str
    version: str
    level: str
    value: float
    std: float
    source: str
    probability: float


@dataclass(frozen=True)
class WindowProbability:
    """What all models together say of one window.

    Attributes:
        property: The window's property.
        probability: That it lies inside; the campaign's ``unpredicted`` where no model says.
        predicted: Some model says.
        p_gap: Mean probability of a gap of the classifiers; None for other properties and without
            classifier.
        opinions: Of each model.
    """

    property: str
    probability: float
    predicted: bool
    p_gap: float | None
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True)
class HitProbability:
    """The probability that a candidate is a hit.

    Attributes:
        value: Product over the windows.
        windows: One for each.
        left_out: Models whose number has no width, their own or measured, and does not count.
    """

    value: float
    windows: tuple[WindowProbability, ...]
    left_out: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = asdict(self)
        for window in values["windows"]:
            window["opinions"] = list(window["opinions"])
        return {**values, "windows": list(values["windows"]), "left_out": list(self.left_out)}


@dataclass(frozen=True)
class ErrorWidth:
    """How far off a model is on crystals it had not seen.

    Attributes:
        std: Root mean square error, in the property's unit.
        n: Crystals it was measured on.
        source: What these are.
    """

    std: float
    n: int
    source: str

    def __str__(self) -> str:
        return f"root mean square error on {self.n} crystals: {self.source}"


Widths = Mapping[tuple[str, str, str], ErrorWidth]
"""By model, version and property."""


@lru_cache(maxsize=1)
def measured_widths() -> Widths:
    """Return the widths that were measured for models without an uncertainty of their own."""
    rows = json.loads(_ERRORS.read_text())["errors"]
    return {
        (row["model"], row["version"], row["property"]): ErrorWidth(
            row["rmse"], row["n"], row["source"]
        )
        for row in rows
    }


def counted(
    predictions: Iterable[Record],
    consensus: Sequence[str],
    ignored_levels: Sequence[str],
    out_of_domain: Collection[str] = (),
) -> list[Record]:
    """Return the predictions that count in the choice.

    Those of relaxed crystals in the model's domain, or outside of it only for reasons that the
    campaign does not mind (``out_of_domain``), at a level that means what the windows mean, by
    the models of the consensus (all where it is empty); of several by one model of one property at
    one level the last.
    """
    latest: dict[tuple[str, str, str], Record] = {}
    for one in predictions:
        heard = counts(one["in_domain"], one.get("out_of_domain", ()), out_of_domain)
        comparable = one["on"] == "relaxed" and one["level"] not in ignored_levels
        if heard and comparable and (not consensus or one["model"] in consensus):
            latest[one["property"], one["model"], one["level"]] = one
    return list(latest.values())


def hit_probability(
    predictions: Sequence[Record],
    windows: Iterable[Window],
    *,
    unpredicted: float,
    given: Mapping[str, float] | None = None,
    widths: Widths | None = None,
) -> HitProbability:
    """Return the probability that the DFT values lie inside every window.

    Args:
        predictions: Prediction records that count (`counted`).
        windows: The campaign's targets.
        unpredicted: Probability for a window of which no model says anything.
        given: Widths of models without an uncertainty of their own that the campaign gives, by
            "model:property".
        widths: The same by measurement, for those that are not given; None for the measured ones.
    """
    known = _Widths(given or {}, measured_widths() if widths is None else widths)
    judged = [_window(window, predictions, known, unpredicted) for window in windows]
    value = math.prod(window.probability for window in judged)
    names = {window.property for window in judged}
    without = [one for one in predictions if one["property"] in names and known.of(one) is None]
    left_out = dict.fromkeys(f"{o['model']} {o['version']} ({o['property']})" for o in without)
    return HitProbability(value, tuple(judged), tuple(left_out))


def inside(window: Window, value: float, std: float) -> float:
    """Return the probability that a normal variable lies inside a window.

    Below zero a band gap is zero, so what lies there counts where the window begins at zero.
    """
    from_zero = window.property == GAP and window.min is not None and window.min <= 0
    low = -math.inf if window.min is None or from_zero else window.min
    high = math.inf if window.max is None else window.max
    width = max(std, _SMALLEST_WIDTH)
    return _below((high - value) / width) - _below((low - value) / width)


@dataclass(frozen=True)
class _Widths:
    """Where the width of a prediction comes from."""

    given: Mapping[str, float]
    measured: Widths

    def of(self, one: Record) -> tuple[float, str] | None:
        """Return the width and its source; None where there is none.

        What a model says of its own errors holds in its domain; outside a given width goes first.
        """
        given = self.given.get(f"{one['model']}:{one['property']}")
        if one.get("std") is not None and (given is None or one.get("in_domain", True)):
            return float(one["std"]), OWN
        if given is not None:
            return given, GIVEN
        measured = self.measured.get((one["model"], one["version"], one["property"]))
        return None if measured is None else (measured.std, str(measured))


def _window(
    window: Window,
    predictions: Sequence[Record],
    widths: _Widths,
    unpredicted: float,
) -> WindowProbability:
    opinions = []
    for one in predictions:
        width = widths.of(one)
        if one["property"] == window.property and width is not None:
            opinions.append(_opinion(window, one, *width))
    pooled = _mean([opinion.probability for opinion in opinions])
    probability = unpredicted if pooled is None else pooled
    p_gap = None
    if window.property == GAP:
        p_gap = _mean([float(one["value"]) for one in predictions if one["property"] == CLASSIFIER])
    if p_gap is not None:
        probability = p_gap * probability + (1.0 - p_gap) * window.contains(0.0)
    return WindowProbability(
        property=window.property,
        probability=probability,
        predicted=bool(opinions) or p_gap is not None,
        p_gap=p_gap,
        opinions=tuple(opinions),
    )


def _opinion(window: Window, one: Record, std: float, source: str) -> Opinion:
    value = float(one["value"])
    return Opinion(
        model=one["model"],
        version=one["version"],
        level=one["level"],
        value=value,
        std=std,
        source=source,
        probability=inside(window, value, std),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _below(z: float) -> float:
    """Return the normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
