"""Predictions of the generator's property head, from codes or from crystals encoded first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.prediction import Prediction
from agents.screen.screen import Refusal, Screen
from agents.targets import UNITS

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from model.codes import CrystalCodes
    from model.generator import EncodingError, Generator
    from model.property.head import PropertyHead

NAME = "head"
UNPROVEN = "unproven: not yet judged by enough labels of new crystals"


def head_predictions(
    generator: Generator,
    head: PropertyHead | None,
    items: Sequence[Structure | CrystalCodes | EncodingError],
    on: str = "relaxed",
) -> list[list[Prediction] | Refusal]:
    """Predict every target of a property head.

    A head ranks recombined codes poorly until it learned from a campaign. So a prediction counts as
    in domain only where the target is among the head's proven ones: a promoted head was judged on
    new crystals by enough labels of exactly this target. An uncertainty that was never calibrated
    for its target is left out.

    Args:
        generator: The checkpoint whose features the head takes.
        head: The head; None takes the one shipped with the generator.
        items: Codes, crystals (encoded first), or what `Generator.encode` returned.
        on: ``decoded`` or ``relaxed``: which geometry the codes stand for.

    Returns:
        For each item one prediction per target, with the level of theory named after its ``@``,
        or why there is none.
    """
    from model.codes import CrystalCodes

    head = generator.head if head is None else head
    codes = _encode(generator, items)
    fit = [i for i, item in enumerate(codes) if isinstance(item, CrystalCodes)]
    result: list[list[Prediction] | Refusal] = [
        [] if isinstance(item, CrystalCodes) else Refusal(NAME, item.reason) for item in codes
    ]
    if not fit:
        return result
    columns = head.predict(generator.features([codes[i] for i in fit]))
    plain = {name: (mean.tolist(), std.tolist()) for name, (mean, std) in columns.items()}
    version = head.version
    for place, i in enumerate(fit):
        row = {name: (mean[place], std[place]) for name, (mean, std) in plain.items()}
        result[i] = _answer(row, head, version, on)
    return result


class HeadScreen(Screen):
    """A property head behind the interface of a screen, for crystals from outside a campaign."""

    name = NAME

    def __init__(self, generator: Generator, head: PropertyHead | None = None) -> None:
        """Take a generator and a head.

        Args:
            generator: The checkpoint.
            head: The head; None takes the one shipped with the generator.
        """
        self.generator = generator
        self.head = generator.head if head is None else head
        self.version = self.head.version

    def predict(
        self, structures: Sequence[Structure], on: str = "relaxed"
    ) -> list[list[Prediction] | Refusal]:
        """Encode crystals and predict every target; see `head_predictions`."""
        return head_predictions(self.generator, self.head, structures, on)


def _encode(
    generator: Generator, items: Sequence[Structure | CrystalCodes | EncodingError]
) -> list[CrystalCodes | EncodingError]:
    from pymatgen.core import Structure

    where = [i for i, item in enumerate(items) if isinstance(item, Structure)]
    codes = list(items)
    for i, encoded in zip(where, generator.encode([items[i] for i in where]) if where else []):
        codes[i] = encoded
    return codes


def _answer(
    row: dict[str, tuple[float, float]], head: PropertyHead, version: str, on: str
) -> list[Prediction] | Refusal:
    bad = [name for name, numbers in row.items() if not all(map(math.isfinite, numbers))]
    if bad:
        return Refusal(NAME, f"{', '.join(bad)} is not a finite number")
    predictions = []
    for target, (mean, std) in row.items():
        name, _, level = target.partition("@")
        proven = target in head.proven
        predictions.append(
            Prediction(
                property=name,
                value=mean,
                unit=UNITS[name],
                model=NAME,
                version=version,
                level=level,
                in_domain=proven,
                std=None if target in head.uncalibrated else std,
                on=on,
                out_of_domain=() if proven else (UNPROVEN,),
            )
        )
    return predictions
