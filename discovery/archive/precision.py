"""To which precision the numbers of an archive are reproduced, and how that is known.

Every limit is about ten times the largest difference that `benchmarks/precision.py` found between
the same crystals computed alone and in batches, by one thread and by two, and with the instructions
of different processors (AVX-512, AVX2, SSE4); docs/provenance.md has the table. A difference above
its limit means that something else is different: weights, crystal, settings or code.
"""

from __future__ import annotations

from typing import Any

#: Model and property to the largest difference that counts as the same number, in its unit.
LIMITS: dict[tuple[str, str], float] = {
    ("megnet", "formation_energy_per_atom"): 2e-5,
    ("megnet", "band_gap"): 5e-5,
    ("megnet", "p_gap"): 3e-5,
    ("alignn", "formation_energy_per_atom"): 1e-5,
    ("alignn", "band_gap"): 5e-5,
    ("head", "formation_energy_per_atom"): 2e-5,
    ("head", "band_gap"): 2e-5,
    ("potential", "formation_energy_per_atom"): 1e-4,
    ("potential", "energy_per_atom"): 1e-4,
    ("potential", "max_force"): 1e-2,
    ("decoder", "largest_displacement"): 5e-5,
    ("dft", "formation_energy_per_atom"): 1e-9,
    ("dft", "energy_per_atom"): 1e-9,
}
OTHERWISE = 1e-3
"""For models that were not measured, because their weights belong to other people."""

MEASURED = "chgnet"
"""The potential whose differences were measured."""


def limit(kind: str, property_name: str) -> float:
    """Return the largest difference that counts as the same number, in the property's unit.

    Args:
        kind: ``megnet``, ``alignn``, ``head``, ``potential``, ``decoder``, ``dft``, or another
            model's name.
        property_name: As in predictions; or ``energy_per_atom`` (eV/atom), ``max_force`` (eV/Å),
            ``largest_displacement`` (Å).
    """
    return LIMITS.get((kind, property_name), OTHERWISE)


def potential_limit(model: str, property_name: str) -> float:
    """Return the largest difference that counts as the same number of a potential.

    Args:
        model: Its name. The limits of `LIMITS` are CHGNet's; no other one is held to less.
        property_name: See `limit`.
    """
    measured = limit("potential", property_name)
    return measured if model == MEASURED else max(measured, OTHERWISE)


def statement() -> dict[str, Any]:
    """Return the limits as they are written into archives."""
    return {
        "meaning": "largest difference between a stored and a redone number, in its unit",
        "limits": {f"{kind} {name}": value for (kind, name), value in sorted(LIMITS.items())},
        "otherwise": OTHERWISE,
    }
