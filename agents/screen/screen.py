"""The interface of a trained screen, and what a campaign gets to use of them.

A screen is loaded once in a worker process. Loading runs its sanity gate: known crystals must give
known values, or the screen is refused. Afterwards `Screen.predict` is called with batches of
relaxed (or decoded) crystals, any number of times, in any order; it keeps no state between calls
and the answer for a crystal does not depend on its neighbours in the batch. A crystal that the
model cannot take is answered by a `Refusal` with the reason, never by an exception and never by a
made-up number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from agents.paths import MissingFile
from agents.prediction import Prediction

if TYPE_CHECKING:
    from pymatgen.core import Structure


class MissingModel(MissingFile):
    """The weights of a model are on none of the searched paths."""


class UnsoundModel(RuntimeError):
    """A model does not reproduce the values it is known for."""


@dataclass(frozen=True)
class Refusal:
    """Why a model gives no number for a crystal.

    Attributes:
        model: Name of the model.
        reason: One sentence.
    """

    model: str
    reason: str


class Screen(ABC):
    """A trained model that predicts properties of crystals.

    Attributes:
        name: Name in records, for instance ``megnet``.
        version: Version of its weights.
        digests: sha256 of each file of weights; what a worker compares before it uses them.
    """

    name: str
    version: str
    digests: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def predict(
        self, structures: Sequence[Structure], on: str = "relaxed"
    ) -> list[list[Prediction] | Refusal]:
        """Predict every property the model knows.

        Args:
            structures: Crystals, any mixture of sizes.
            on: ``relaxed`` or ``decoded``; copied into the predictions.

        Returns:
            For each crystal its predictions, or why there are none.
        """
