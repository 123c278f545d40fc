"""Whether crystals are possible at all: distances between atoms, and charge neutrality."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.canonical import Crystal, impossible_cell
from model.data.geometry import cell_matrix, minimum_image_distances
from model.metrics.charge_balance import Counts, charge_balanced

MIN_DISTANCE = 0.5  # Å
MIN_VOLUME = 0.1  # Å^3, CDVAE's smallest cell
_CHUNK = 256

PROTOCOL = (
    "structural: every distance, images included, > 0.5 Å and a cell of at least 0.1 Å^3; "
    "compositional: SMACT charge neutrality and electronegativity with SMACT14 oxidation states, "
    "pure elements and alloys of metals count as valid (CDVAE); strict: SMACT's current default "
    "oxidation states; not applicable to sets of one element"
)


@dataclass(frozen=True)
class SmactVerdict:
    """What the two SMACT rules say of one composition.

    Attributes:
        cdvae: CDVAE's rule: SMACT14 oxidation states; pure elements and alloys of metals pass.
        strict: The default of smact 4: oxidation states seen at least three times in the ICSD of
            2024; pure elements and alloys of metals pass here too.
        applicable: False for one element, where charge neutrality says nothing.
    """

    cdvae: bool
    strict: bool
    applicable: bool


@lru_cache(maxsize=100_000)
def smact_verdict(formula: str) -> SmactVerdict:
    """Judge a composition by charge neutrality and electronegativity.

    CDVAE (arXiv 2110.06197) used the oxidation states that smact now calls ``smact14``; each
    element has one oxidation state in the whole crystal, so Fe3O4 fails both rules. A compound of
    an element without an electronegativity (Pm, He) fails.

    Args:
        formula: Reduced formula.

    Returns:
        Both verdicts; remembered, so a search may ask again at no cost.

    Raises:
        ValueError: The formula cannot be read, or smact does not know an element.
    """
    from pymatgen.core import Composition

    return SmactVerdict(
        cdvae=charge_balanced(formula, "cdvae"),
        strict=charge_balanced(formula, "strict"),
        applicable=len(Composition(formula)) > 1,
    )


def reduced_formulas(crystals: Sequence[Crystal]) -> list[str]:
    """Return pymatgen's reduced formulas."""
    return [reduced_formula(counts) for counts in reduced_counts(crystals)]


def reduced_counts(crystals: Sequence[Crystal]) -> list[Counts]:
    """Return atomic numbers and amounts; crystals have these in common with their formula."""
    return [_reduced(tuple(sorted(c.numbers.tolist()))) for c in crystals]


@lru_cache(maxsize=100_000)
def _reduced(numbers: tuple[int, ...]) -> Counts:
    amounts = Counter(numbers)
    divisor = math.gcd(*amounts.values())
    return tuple((z, n // divisor) for z, n in amounts.items())


@lru_cache(maxsize=100_000)
def reduced_formula(counts: Counts) -> str:
    """Return pymatgen's reduced formula of atomic numbers and amounts."""
    from pymatgen.core import Composition, Element

    formula: str = Composition({Element.from_Z(z): n for z, n in counts}).reduced_formula
    return formula


def shortest_distances(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Return the shortest distance between two atoms of each crystal, its own images included.

    Args:
        crystals: n crystals of any sizes.

    Returns:
        (n,) Å; NaN where no cell can be built.
    """
    result = np.full(len(crystals), np.nan)
    usable = [i for i, c in enumerate(crystals) if impossible_cell(c.frac, c.cell) is None]
    by_count: dict[int, list[int]] = {}
    for i in usable:
        by_count.setdefault(len(crystals[i].numbers), []).append(i)
    for rows in by_count.values():
        for same in (rows[k : k + _CHUNK] for k in range(0, len(rows), _CHUNK)):
            frac = torch.from_numpy(np.stack([crystals[i].frac for i in same])).double()
            cell = torch.from_numpy(np.stack([crystals[i].cell for i in same])).double()
            distances = minimum_image_distances(frac, cell_matrix(cell))
            result[same] = distances.flatten(1).amin(1).numpy()
    return result


def volumes(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Return the volumes of the cells in Å^3; NaN where the angles span no cell."""
    cell = np.array([c.cell for c in crystals], dtype=np.float64).reshape(-1, 6)
    cosines = np.cos(np.radians(cell[:, 3:]))
    gram = 1 + 2 * cosines.prod(1) - (cosines**2).sum(1)
    return cell[:, :3].prod(1) * np.sqrt(np.where(gram > 0, gram, np.nan))


def structural(
    crystals: Sequence[Crystal], distances: NDArray[np.float64] | None = None
) -> NDArray[np.bool_]:
    """Return per crystal whether its cell exists and all its atoms are apart.

    Args:
        crystals: n crystals.
        distances: their `shortest_distances`, where these are known already.
    """
    known = shortest_distances(crystals) if distances is None else distances
    large = np.nan_to_num(volumes(crystals)) >= MIN_VOLUME
    return (np.nan_to_num(known) > MIN_DISTANCE) & large


def compositional(crystals: Sequence[Crystal]) -> list[SmactVerdict]:
    """Return per crystal what SMACT says of its composition."""
    return [smact_verdict(formula) for formula in reduced_formulas(crystals)]


def validity(crystals: Sequence[Crystal]) -> dict[str, Any]:
    """Return the shares of valid crystals.

    Args:
        crystals: at least one.

    Returns:
        {"structural", "compositional", "compositional_strict", "both", "shortest_distance"
        (smallest, 1 % quantile and median in Å), "protocol"}; the compositional shares are None
        where every crystal has one element, and "both" is then the structural share.
    """
    if not crystals:
        raise ValueError("there are no crystals to judge")
    distances = shortest_distances(crystals)
    apart, verdicts = structural(crystals, distances), compositional(crystals)
    applicable = any(v.applicable for v in verdicts)
    neutral = np.array([v.cdvae for v in verdicts])
    known = distances[np.isfinite(distances)]
    return {
        "structural": float(apart.mean()),
        "compositional": float(neutral.mean()) if applicable else None,
        "compositional_strict": (
            float(np.mean([v.strict for v in verdicts])) if applicable else None
        ),
        "both": float((apart & neutral).mean() if applicable else apart.mean()),
        "shortest_distance": (
            dict(zip(("min", "q01", "median"), np.quantile(known, (0, 0.01, 0.5)).tolist()))
            if len(known)
            else None
        ),
        "protocol": PROTOCOL,
    }
