"""The sanity gate of property models: five well-known crystals, PBE values of MP 2018.6.1.

Weights can load without any error and still be wrong: matgl's from before its release 3 are. A
model of which only the kind is known is compared here with what it was trained to say; MEGNet's
original weights have exact values of their own (`agents.screen.megnet_golden`).
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.screen.megnet_golden import golden_crystals
from agents.screen.screen import Refusal, Screen, UnsoundModel

KNOWN: dict[str, dict[str, float]] = {
    "NaCl": {"formation_energy_per_atom": -2.105, "band_gap": 5.003},
    "Si": {"formation_energy_per_atom": 0.0, "band_gap": 0.612},
    "SrTiO3": {"formation_energy_per_atom": -3.568, "band_gap": 1.767},
    "GaAs": {"formation_energy_per_atom": -0.347, "band_gap": 0.189},
    "TiO2": {"formation_energy_per_atom": -3.482, "band_gap": 1.781},
}
"""Labels of mp-22862, mp-149, mp-5229, mp-2534 and mp-2657 (eV/atom, eV)."""

TOLERANCE = {"formation_energy_per_atom": 0.15, "band_gap": 0.8}
"""About five times the error of the published models; a constant meets it for no property."""


def require_known_values(screen: Screen, properties: Iterable[str]) -> list[str]:
    """Compare a model with the known values.

    Args:
        screen: A loaded model.
        properties: What it predicts.

    Returns:
        What was compared, in words.

    Raises:
        UnsoundModel: A value is missed, missing or refused; the message names the first.
    """
    said = []
    crystals = golden_crystals()
    for formula, answer in zip(crystals, screen.predict(list(crystals.values())), strict=True):
        if isinstance(answer, Refusal):
            raise UnsoundModel(f"{screen.name} gives no number for {formula}: {answer.reason}")
        values = {prediction.property: prediction.value for prediction in answer}
        for name in properties:
            if name not in values:
                raise UnsoundModel(f"{screen.name} says nothing on {name} of {formula}")
            known, tolerance = KNOWN[formula][name], TOLERANCE[name]
            line = (
                f"{formula}: {name} {values[name]:.3f}, expected {known:.3f} within {tolerance:g}"
            )
            if not abs(values[name] - known) <= tolerance:
                raise UnsoundModel(f"{screen.name} {screen.version} is refused: {line}")
            said.append(line)
    return said
