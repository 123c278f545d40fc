"""Screens for a person's own structures, the same code as in a campaign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from agents.prediction import Prediction
from agents.screen.consensus import find_consensus
from agents.screen.screen import Refusal, Screen
from agents.screen.settings import ScreenSettings
from agents.screen.validity import Validity, judge
from agents.targets import Window

if TYPE_CHECKING:
    from pymatgen.core import Structure

_TOGETHER = 256
"""Crystals that a model is handed at once; it forms its own batches of them."""
_CRYSTAL_ERRORS = (ValueError, ArithmeticError, IndexError)
"""What numpy and pymatgen raise for a crystal they cannot work with."""


def screen_structures(
    structures: Mapping[str, Structure],
    screens: Sequence[Screen],
    settings: ScreenSettings | None = None,
    *,
    windows: Sequence[Window] = (),
    absent: Mapping[str, str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Apply the rules and ask the models; nothing is rejected, everything is reported.

    Args:
        structures: Identifier (a file name, say) to crystal. Oxidation states are ignored.
        screens: Loaded models: `agents.screen.models.load_screen`, `HeadScreen(generator)`.
        settings: Rules whose verdicts are reported, and of the consensus; default:
            `ScreenSettings()`.
        windows: What the models are to agree on; none: no consensus is formed.
        absent: Name to the reason why a model is not asked; copied into every record.

    Yields:
        In the order given, for each crystal ``id``, ``formula``, ``predictions`` (plain records of
        `agents.prediction.Prediction`), ``validity`` (see `agents.screen.validity.Validity`),
        ``not_predicted`` (model to reason), ``consensus`` (see `agents.screen.consensus`; None
        without windows) and ``error``: None, or why nothing could be said of this crystal
        (partially occupied sites, a cell without volume).
    """
    settings = ScreenSettings() if settings is None else settings
    waiting = iter(structures.items())
    while part := dict(islice(waiting, _TOGETHER)):
        yield from _screen_part(part, screens, settings, windows, dict(absent or {}))


def failure(identifier: str, reason: str, formula: str | None = None) -> dict[str, Any]:
    """Return the record of a crystal of which nothing can be said."""
    return {
        "id": identifier,
        "formula": formula,
        "predictions": [],
        "validity": None,
        "not_predicted": {},
        "consensus": None,
        "error": reason,
    }


def _screen_part(
    structures: Mapping[str, Structure],
    screens: Sequence[Screen],
    settings: ScreenSettings,
    windows: Sequence[Window],
    absent: dict[str, str],
) -> Iterator[dict[str, Any]]:
    sound: dict[str, tuple[Structure, Validity]] = {}
    failed: dict[str, dict[str, Any]] = {}
    for name, structure in structures.items():
        try:
            plain = _undecorated(structure)
            sound[name] = plain, judge(plain, settings)
        except _CRYSTAL_ERRORS as error:
            formula = structure.composition.reduced_formula
            failed[name] = failure(name, f"{type(error).__name__}: {error}", formula)
    asked = [structure for structure, _ in sound.values()]
    columns = [screen.predict(asked, on="given") for screen in screens]
    place = {name: i for i, name in enumerate(sound)}
    for name in structures:
        if name in failed:
            yield failed[name]
            continue
        answers = [column[place[name]] for column in columns]
        predictions: list[Prediction] = []
        refused: dict[str, str] = {}
        for answer in answers:
            if isinstance(answer, Refusal):
                refused[answer.model] = answer.reason
            else:
                predictions += answer
        validity = sound[name][1]
        yield {
            "id": name,
            "formula": validity.formula,
            "predictions": [prediction.record() for prediction in predictions],
            "validity": {**validity.record(), "settings": settings.rules()},
            "not_predicted": {**absent, **refused},
            "consensus": (
                find_consensus(predictions, windows, settings).record() if windows else None
            ),
            "error": None,
        }


def _undecorated(structure: Structure) -> Structure:
    if not structure.is_ordered:
        raise ValueError("it has partially occupied sites: order it first")
    bare = structure.copy()
    bare.remove_oxidation_states()
    return bare
