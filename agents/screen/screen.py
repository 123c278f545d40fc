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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from agents.paths import MissingFile
from agents.prediction import Prediction

if TYPE_CHECKING:
    from pymatgen.core import Structure

Graph = TypeVar("Graph")
Values = TypeVar("Values")


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
        known_values: Of a model that an installed package brings and that was trained on labels
            other than PBE's: what it must say of the gate's crystals (formula to property to
            value; `agents.screen.brought`). None: what PBE says.
    """

    name: str
    version: str
    digests: Mapping[str, str] = MappingProxyType({})
    known_values: Mapping[str, Mapping[str, float]] | None = None

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


def evaluate_in_batches(
    graphs: Sequence[Graph | Refusal],
    evaluate: Callable[[list[Graph]], list[Values]],
    batch: int,
) -> list[Values | Refusal]:
    """Evaluate the graphs among refusals, a batch at a time.

    Args:
        graphs: One for each crystal, or why there is none.
        evaluate: The model; returns values in the order of its graphs.
        batch: Graphs in one pass.

    Returns:
        For each crystal its values, or the refusal that was given.
    """
    fit = [(i, graph) for i, graph in enumerate(graphs) if not isinstance(graph, Refusal)]
    values: dict[int, Values] = {}
    for start in range(0, len(fit), batch):
        part = fit[start : start + batch]
        values.update(zip((i for i, _ in part), evaluate([graph for _, graph in part])))
    return [graph if isinstance(graph, Refusal) else values[i] for i, graph in enumerate(graphs)]
