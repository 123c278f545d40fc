"""The property windows a campaign looks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

TargetProperty = Literal["formation_energy_per_atom", "band_gap", "energy_above_hull"]

UNITS: dict[str, str] = {
    "formation_energy_per_atom": "eV/atom",
    "band_gap": "eV",
    "energy_above_hull": "eV/atom",
    "p_gap": "1",
}

OTHER_REFERENCES = ("castelli2012",)
"""Levels of theory whose formation energies are not relative to the elements: no window applies."""


class Window(BaseModel):
    """A closed interval of one property; a missing bound is open.

    Args:
        property: Standard name of the property.
        min: Lowest accepted value (eV or eV/atom).
        max: Highest accepted value (eV or eV/atom).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    property: TargetProperty
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _refuse_empty(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError(
                f"the window of {self.property} has neither min nor max: give at least one"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(
                f"the window of {self.property} is empty: min {self.min} is above max {self.max}"
            )
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a window as a command line gives it.

        Args:
            text: ``band_gap:0.5:2.5``; a bound left out is open:
                ``formation_energy_per_atom::-0.5``.

        Raises:
            ValueError: It is not of this form, or the window is impossible.
        """
        name, *bounds = text.split(":")
        try:
            low, high = (float(bound) if bound.strip() else None for bound in bounds)
        except ValueError:
            raise ValueError(
                f"{text!r} is no window: write band_gap:0.5:2.5, or leave a bound out as in "
                "formation_energy_per_atom::-0.5"
            ) from None
        try:
            return cls.model_validate({"property": name, "min": low, "max": high})
        except ValidationError as error:
            faults = "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
            raise ValueError(f"{text!r} is no window: {faults}") from error

    def contains(self, value: float) -> bool:
        """Say whether a value lies inside, the bounds included."""
        above = self.min is None or value >= self.min
        below = self.max is None or value <= self.max
        return above and below

    def __str__(self) -> str:
        low = "" if self.min is None else f"{self.min:g} <= "
        high = "" if self.max is None else f" <= {self.max:g}"
        return f"{low}{self.property}{high} {UNITS[self.property]}"


def hits(windows: Iterable[Window], values: dict[str, float]) -> dict[str, bool]:
    """Judge values against every window.

    Args:
        windows: The campaign's targets.
        values: Property name to value; a missing one is a miss.

    Returns:
        One verdict for each window's property.
    """
    return {
        window.property: window.property in values and window.contains(values[window.property])
        for window in windows
    }
