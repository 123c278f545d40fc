"""How the volume of a crystal follows the size of its atoms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.codes import CrystalCodes
from model.data.canonical import Crystal
from model.generator import Generator
from model.metrics.bases import draw_bases
from model.metrics.validity import volumes


def atomic_radii() -> Mapping[int, float]:
    """Return pymatgen's atomic radii by atomic number in Å, without elements that have none."""
    from pymatgen.core import Element

    radii = {z: Element.from_Z(z).atomic_radius for z in range(1, 101)}
    return {z: float(r) for z, r in radii.items() if r is not None}


def log_sphere_volumes(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Return log sum r^3 of crystals (n,), NaN where an element has no radius."""
    radii = atomic_radii()
    cubes = np.full(101, np.nan)
    for z, r in radii.items():
        cubes[z] = r**3
    return np.array([np.log(cubes[c.numbers].sum()) for c in crystals])


def slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Return the slope of the least-squares line y(x) over the finite pairs, None without one."""
    good = np.isfinite(x) & np.isfinite(y)
    centred = x[good] - x[good].mean() if good.any() else x[good]
    spread = float((centred**2).sum())
    return float((centred * y[good]).sum() / spread) if spread > 0 else None


def volume_slope(
    generator: Generator, *, n_bases: int = 100, n_draws: int = 64, seed: int = 0
) -> dict[str, Any]:
    """Measure how the volume follows the size of the atoms when one species is swapped.

    Each draw replaces one species token of a base by a species token of a training crystal (same
    number of species, same rank), its crystal token and local codes fixed. The slope is that of
    log V - log V(base) against log sum r^3 - log sum r^3(base), over all swaps that change the
    composition. Rigid spheres would give 1.

    Returns:
        {"slope", "slope_through_origin", "correlation", "swaps", "slope_in_data" (log V/N against
        log sum r^3 / N over the decoded training crystals of the most frequent cell size and
        number of species)}; None for one element.
    """
    x, y = [], []
    for own, swapped in _swaps(generator, n_bases, n_draws, seed):
        others = [c for c in swapped if sorted(c.numbers.tolist()) != sorted(own.numbers.tolist())]
        if others:
            sizes, spheres = np.log(volumes([own, *others])), log_sphere_volumes([own, *others])
            x.append(spheres[1:] - spheres[0])
            y.append(sizes[1:] - sizes[0])
    if not x:
        return {"slope": None, "swaps": 0, "slope_in_data": None}
    dx, dy = np.concatenate(x), np.concatenate(y)
    good = np.isfinite(dx) & np.isfinite(dy)
    dx, dy = dx[good], dy[good]
    return {
        "slope": slope(dx, dy),
        "slope_through_origin": float((dx * dy).sum() / (dx**2).sum()),
        "correlation": float(np.corrcoef(dx, dy)[0, 1]),
        "swaps": len(dx),
        "slope_in_data": _slope_in_data(generator),
    }


def _swaps(
    generator: Generator, n_bases: int, n_draws: int, seed: int
) -> Iterator[tuple[Crystal, list[Crystal]]]:
    """Yield every base decoded as it is, and with one species token of donors."""
    rng = np.random.default_rng(seed)
    for base in draw_bases(generator, n_bases, seed):
        if base.n_species < 2:
            continue
        codes = [base]
        for row in rng.choice(generator.bank.donors(base), n_draws):
            slot = int(rng.integers(base.n_species))
            species = list(base.species)
            species[slot] = generator.bank.codes(int(row)).species[slot]
            codes.append(CrystalCodes(tuple(species), base.crystal, base.local))
        own, *others = generator.decode_crystals(codes)
        yield own, others


def _slope_in_data(generator: Generator, most: int = 4000) -> float | None:
    """Return the slope among decoded training crystals of the commonest number of atoms."""
    bank = generator.bank
    rows = bank.rows("train")
    kinds = bank.n_atoms[rows] * 100 + bank.n_species[rows]
    values, counts = np.unique(kinds, return_counts=True)
    same = rows[kinds == values[counts.argmax()]][:most]
    crystals = generator.decode_crystals([bank.codes(int(row)) for row in same])
    return slope(log_sphere_volumes(crystals), np.log(volumes(crystals)))
