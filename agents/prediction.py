"""One number a model predicted, together with all that is needed to defend it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from agents.targets import UNITS

OutOfDomain = Literal["elements", "size", "vacuum", "composition"]
"""What a reason out of domain begins with."""


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
        on: ``decoded``, ``relaxed`` or ``given``: which geometry was judged.
        out_of_domain: Why it is out of domain, one sentence for each reason, see
            `agents.screen.domain`; empty in the domain. Records from before this field lack it.

    Raises:
        ValueError: The unit is not the property's, the version is missing, or there are reasons
            against a prediction that is said to be in the domain.
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
    out_of_domain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a number that nobody could defend later."""
        unit = UNITS.get(self.property)
        if unit is not None and self.unit != unit:
            raise ValueError(f"{self.property} of {self.model} is in {self.unit!r}, not in {unit}")
        if not self.version:
            raise ValueError(f"{self.property} of {self.model} comes without a version")
        if self.in_domain and self.out_of_domain:
            raise ValueError(
                f"{self.property} of {self.model} is in domain, against {self.out_of_domain[0]!r}"
            )

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as stored in the database."""
        return {**asdict(self), "out_of_domain": list(self.out_of_domain)}


def counts(in_domain: bool, reasons: Iterable[str], allowed: Collection[str]) -> bool:
    """Say whether a prediction counts.

    Args:
        in_domain: Of the prediction.
        reasons: Why it is out of domain; without any, a prediction out of domain never counts.
        allowed: Kinds of reasons (`OutOfDomain`) that the campaign does not mind.
    """
    kinds = [reason.partition(":")[0] for reason in reasons]
    return in_domain or (bool(kinds) and all(kind in allowed for kind in kinds))
