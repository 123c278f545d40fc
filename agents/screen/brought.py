"""Property models that other packages bring, past a gate; `agents.extensions` says how to name one.

The product's own models have golden values of their own. Of a brought one only the interface is
known, so it is held to that, and to what PBE says of five well-known crystals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.extensions import SCREENS, load_extension, package_of
from agents.prediction import Prediction
from agents.screen.known_values import KNOWN, TOLERANCE
from agents.screen.megnet_golden import golden_crystals
from agents.screen.screen import Refusal, Screen, UnsoundModel
from agents.targets import UNITS

if TYPE_CHECKING:
    from pymatgen.core import Structure

FEWEST = 2
"""Known crystals that a model must take: from fewer nothing can be said of it."""
NEIGHBOURS_TOLERANCE = 1e-3
"""Most that the other crystals of a batch may change a number, in its unit: rounding, no more."""


def load_brought(name: str, *, batch: int, device: str) -> Screen | None:
    """Load a property model that an installed package brings, past its gate.

    Args:
        name: Of the entry point.
        batch: Crystals in one pass.
        device: Where to compute.

    Returns:
        The model; None where no package brings the name.

    Raises:
        UnsoundModel: It is no `Screen`, or does not pass `check`.
        MissingModel: Its weights are not there.
        ValueError: It cannot be imported, or two packages bring it.
    """
    load = load_extension(SCREENS, name)
    if load is None:
        return None
    screen = load(batch=batch, device=device)
    if not isinstance(screen, Screen):
        raise UnsoundModel(
            f"{package_of(SCREENS, name)} brings a {type(screen).__name__} as {name}"
        )
    if screen.name != name or not screen.version:
        raise UnsoundModel(
            f"{package_of(SCREENS, name)} brings a model as {name} that calls itself "
            f"{screen.name!r}, version {screen.version!r}: records need that name and a version"
        )
    check(screen)
    return screen


def check(screen: Screen) -> list[str]:
    """Hold a property model to the interface and to known values.

    The known values are those of PBE, as in the Materials Project; a model with labels of another
    meaning brings its own (`Screen.known_values`).

    Args:
        screen: A loaded model.

    Returns:
        What was compared, in words.

    Raises:
        UnsoundModel: The message names the first thing that is wrong.
    """
    crystals = golden_crystals()
    answers = screen.predict(list(crystals.values()))
    if len(answers) != len(crystals):
        raise UnsoundModel(
            f"{screen.name} gives {len(answers)} answers to {len(crystals)} crystals"
        )
    taken = [i for i, answer in enumerate(answers) if not isinstance(answer, Refusal)]
    if len(taken) < FEWEST:
        raise UnsoundModel(
            f"{screen.name} takes {len(taken)} of {len(crystals)} known crystals "
            f"({', '.join(crystals)}), too few to judge it"
        )
    known = KNOWN if screen.known_values is None else screen.known_values
    said: list[str] = []
    for i in taken:
        formula, structure = list(crystals.items())[i]
        predictions = _defensible(screen, formula, answers[i])
        _require_same_alone(screen, formula, structure, predictions)
        for one in predictions:
            if one.property in TOLERANCE and one.property in known.get(formula, {}):
                said.append(_compare(screen, formula, one, known[formula][one.property]))
    if not said:
        raise UnsoundModel(
            f"{screen.name} predicts nothing that can be checked on {', '.join(crystals)}: known "
            f"are {', '.join(TOLERANCE)}; or bring known_values"
        )
    return said


def _defensible(
    screen: Screen, formula: str, answer: Sequence[Prediction] | Refusal
) -> Sequence[Prediction]:
    """Return predictions of which the records will say the right thing."""
    predictions = [] if isinstance(answer, Refusal) else answer
    for one in predictions:
        if (one.model, one.version) != (screen.name, screen.version):
            raise UnsoundModel(
                f"{screen.name} {screen.version} signs what it says of {formula} as {one.model} "
                f"{one.version}"
            )
        if one.property not in UNITS:
            raise UnsoundModel(
                f"{screen.name} predicts {one.property!r}: known are {', '.join(UNITS)}"
            )
        if not math.isfinite(one.value):
            raise UnsoundModel(f"{screen.name} says {one.value} for {one.property} of {formula}")
    return predictions


def _require_same_alone(
    screen: Screen, formula: str, structure: Structure, together: Sequence[Prediction]
) -> None:
    (answer,) = screen.predict([structure])
    alone = {} if isinstance(answer, Refusal) else {p.property: p.value for p in answer}
    for one in together:
        # Written so that a missing value fails, too.
        if not abs(alone.get(one.property, math.nan) - one.value) <= NEIGHBOURS_TOLERANCE:
            raise UnsoundModel(
                f"{screen.name} says {one.value:g} for {one.property} of {formula} in a batch and "
                f"{alone.get(one.property)} alone"
            )


def _compare(screen: Screen, formula: str, said: Prediction, known: float) -> str:
    tolerance = TOLERANCE[said.property]
    line = f"{formula}: {said.property} {said.value:.3f}, expected {known:.3f} within {tolerance:g}"
    if not abs(said.value - known) <= tolerance:
        raise UnsoundModel(f"{screen.name} {screen.version} is refused: {line}")
    return line
