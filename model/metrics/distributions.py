"""How far the properties of a generated set lie from those of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.codes import CrystalCodes
from model.data.canonical import Crystal
from model.generator import Generator
from model.metrics.validity import volumes

Array = NDArray[np.float64]
_GRAM_PER_CM3 = 1.66053906660  # of one atomic mass unit in Å^3

PROTOCOL = (
    "earth mover's distance (1-Wasserstein) between generated and test values: density g/cm^3, "
    "number of elements, energy as the head predicts it from the codes of both sets (eV/atom)"
)


@lru_cache(maxsize=1)
def atomic_masses() -> Array:
    """Return pymatgen's atomic masses (101,) by atomic number, u; NaN at 0."""
    from pymatgen.core import Element

    return np.array([np.nan, *(float(Element.from_Z(z).atomic_mass) for z in range(1, 101))])


def densities(crystals: Sequence[Crystal]) -> Array:
    """Return densities (n,) in g/cm^3, NaN where there is no cell."""
    masses = np.array([atomic_masses()[c.numbers].sum() for c in crystals])
    return masses / volumes(crystals) * _GRAM_PER_CM3


def element_counts(crystals: Sequence[Crystal]) -> Array:
    """Return the number of distinct elements of each crystal (n,)."""
    return np.array([float(len(np.unique(c.numbers))) for c in crystals])


def earth_movers_distance(one: Array, other: Array) -> float | None:
    """Return the 1-Wasserstein distance of two samples without their NaN, None of nothing."""
    from scipy.stats import wasserstein_distance

    ours, theirs = one[np.isfinite(one)], other[np.isfinite(other)]
    if not len(ours) or not len(theirs):
        return None
    return float(wasserstein_distance(ours, theirs))


def energy_target(generator: Generator) -> str | None:
    """Return the head's first energy output, None if it has none."""
    energies = [t for t in generator.head.targets if "energy" in t.split("@")[0]]
    return energies[0] if energies else None


def predicted(generator: Generator, codes: Sequence[CrystalCodes], target: str) -> Array:
    """Return what the head predicts of codes (n,) in the target's unit."""
    if not codes:
        return np.zeros(0)
    return generator.head.predict(generator.features(codes))[target][0].double().numpy()


def property_distances(
    generator: Generator,
    crystals: Sequence[Crystal],
    codes: Sequence[CrystalCodes],
    truth: Sequence[Crystal],
    truth_codes: Sequence[CrystalCodes],
) -> dict[str, Any]:
    """Compare densities, numbers of elements and predicted energies.

    Args:
        generator: whose head predicts.
        crystals: generated.
        codes: those they were decoded from; empty for crystals of another origin.
        truth: the test split.
        truth_codes: codes of its encodable crystals.

    Returns:
        {"density", "n_elements", "energy" (None without codes or target), "energy_target",
        "n", "n_test", "protocol"}.
    """
    target = energy_target(generator)
    energy = None
    if target is not None and codes:
        energy = earth_movers_distance(
            predicted(generator, codes, target), predicted(generator, truth_codes, target)
        )
    return {
        "density": earth_movers_distance(densities(crystals), densities(truth)),
        "n_elements": earth_movers_distance(element_counts(crystals), element_counts(truth)),
        "energy": energy,
        "energy_target": target,
        "n": len(crystals),
        "n_test": len(truth),
        "protocol": PROTOCOL,
    }
