"""One number a model predicted, together with all that is needed to defend it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """A predicted property of one crystal.

    Attributes:
        property: Standard name, for instance ``formation_energy_per_atom``.
        value: The number, in ``unit``.
        unit: ``eV/atom``, ``eV`` or ``1``.
        model: Name of the model, for instance ``megnet``.
        version: Version of the model's weights.
        level: Level of theory of the labels the model was trained on.
        in_domain: False where the model was not made for this crystal.
        std: The model's own uncertainty (one standard deviation), if it has one.
        on: ``decoded`` or ``relaxed``: which geometry was judged.
    """

    property: str
    value: float
    unit: str
    model: str
    version: str
    level: str
    in_domain: bool
    std: float | None = None
    on: str = "relaxed"

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as stored in the database."""
        return asdict(self)
