"""Screens for a person's own structures, the same code as in a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.screen.screen import Refusal, Screen
from agents.screen.settings import ScreenSettings
from agents.screen.validity import judge

if TYPE_CHECKING:
    from pymatgen.core import Structure


def screen_structures(
    structures: Mapping[str, Structure],
    screens: Sequence[Screen],
    settings: ScreenSettings | None = None,
    *,
    absent: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Apply the rules and ask the models; nothing is rejected, everything is reported.

    Args:
        structures: Identifier (a file name, say) to crystal. Oxidation states are ignored.
        screens: Loaded models: `MEGNet.load()`, `HeadScreen(generator)`.
        settings: Rules whose verdicts are reported; default: `ScreenSettings()`.
        absent: Name to the reason why a model is not asked; copied into every record.

    Returns:
        For each crystal ``id``, ``formula``, ``predictions`` (plain records of
        `agents.prediction.Prediction`), ``validity`` (see `agents.screen.validity.Validity`), and
        ``not_predicted``: model to reason.

    Raises:
        ValueError: A crystal has partially occupied sites or a degenerate cell.
    """
    settings = ScreenSettings() if settings is None else settings
    plain = {name: _undecorated(name, structure) for name, structure in structures.items()}
    columns = [screen.predict(list(plain.values()), on="given") for screen in screens]
    records = []
    for i, (name, structure) in enumerate(plain.items()):
        answers = [column[i] for column in columns]
        refused = {answer.model: answer.reason for answer in answers if isinstance(answer, Refusal)}
        predictions = [p for answer in answers if not isinstance(answer, Refusal) for p in answer]
        records.append(
            {
                "id": name,
                "formula": structure.composition.reduced_formula,
                "predictions": [prediction.record() for prediction in predictions],
                "validity": judge(structure, settings).record(),
                "not_predicted": {**(absent or {}), **refused},
            }
        )
    return records


def _undecorated(name: str, structure: Structure) -> Structure:
    if not structure.is_ordered:
        raise ValueError(
            f"{name}: {structure.composition.reduced_formula} has partially occupied sites: "
            "order it first"
        )
    bare = structure.copy()
    bare.remove_oxidation_states()
    return bare
