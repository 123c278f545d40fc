"""How two sets of crystals cover each other, by their fingerprints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics.fingerprints import N_COMPOSITION, N_STRUCTURE, Fingerprint

Array = NDArray[np.float64]

CUTOFFS = {
    "perov5": (0.2, 4.0),
    "carbon24": (0.2, 4.0),
    "mp20": (0.4, 10.0),
    "c2db": (0.4, 10.0),
}
"""Data set → largest structure and composition distance that counts as covered (CDVAE; C2DB, which
CDVAE did not have, as MP-20)."""
_SCALE = Path(__file__).with_name("magpie_scale.json")

PROTOCOL = (
    "Coverage (CDVAE, arXiv 2110.06197): a test crystal is recalled if its nearest generated "
    "structure fingerprint and its nearest generated composition fingerprint are both within the "
    "cut-offs, a generated crystal is precise the other way round; precision is over all "
    "generated crystals, those without a fingerprint are not precise. Composition fingerprints are "
    "standardised by mean and deviation over the MP-20 training split, for every data set (CDVAE's "
    "fixed constants come from another snapshot of the Materials Project and differ by some per "
    "cent). average_min_distance: mean over generated crystals of the smallest structure "
    "distance to the test set (AMSD-P). frechet_distance: |m1 - m2|^2 + tr(C1 + C2 - "
    "2 (C1 C2)^1/2) of the structure fingerprints"
)


@lru_cache(maxsize=1)
def _scale() -> tuple[Array, Array]:
    """Return mean and deviation (132,) of the composition fingerprint over MP-20's training set."""
    content = json.loads(_SCALE.read_text())
    return np.array(content["mean"]), np.array(content["std"])


def standardised(compositions: Array) -> Array:
    """Return composition fingerprints (n, 132) in units of their spread, 0 where unknown."""
    mean, std = _scale()
    return np.nan_to_num((compositions - mean) / std)


def stacked(fingerprints: Sequence[Fingerprint]) -> tuple[Array, Array]:
    """Return structure (m, 61) and standardised composition (m, 132) of those that have one."""
    known = [f for f in fingerprints if f.structure is not None and f.composition is not None]
    structure = np.array([f.structure for f in known]).reshape(-1, N_STRUCTURE)
    composition = np.array([f.composition for f in known]).reshape(-1, N_COMPOSITION)
    return structure, standardised(composition)


def coverage(
    generated: tuple[Array, Array],
    truth: tuple[Array, Array],
    *,
    n_generated: int,
    cutoffs: tuple[float, float],
) -> dict[str, float]:
    """Return recall and precision of coverage, and the mean smallest distances.

    Args:
        generated: structure (m, F) and composition (m, G) fingerprints.
        truth: the same of the test set.
        n_generated: crystals that were to get a fingerprint, m or more.
        cutoffs: largest structure and composition distance.

    Returns:
        {"cov_recall", "cov_precision", "amsd_recall", "amsd_precision", "amcd_recall",
        "amcd_precision"}: AMSD/AMCD are mean smallest distances of structures/compositions.

    Raises:
        ValueError: if one of the sets is empty.
    """
    if not len(generated[0]) or not len(truth[0]):
        raise ValueError("coverage needs fingerprints on both sides")
    result: dict[str, float] = {}
    covered = {
        "recall": np.ones(len(truth[0]), bool),
        "precision": np.ones(len(generated[0]), bool),
    }
    for name, ours, theirs, cutoff in zip(("amsd", "amcd"), generated, truth, cutoffs):
        of_truth, of_generated = _smallest_distances(theirs, ours)
        for side, smallest in (("recall", of_truth), ("precision", of_generated)):
            covered[side] &= smallest <= cutoff
            result[f"{name}_{side}"] = float(smallest.mean())
    return {
        "cov_recall": float(covered["recall"].mean()),
        "cov_precision": float(covered["precision"].sum() / n_generated),
        **result,
    }


def _smallest_distances(rows: Array, columns: Array) -> tuple[Array, Array]:
    """Return the smallest distance of every row to a column (n,) and the reverse (m,)."""
    from scipy.spatial.distance import cdist

    of_rows, of_columns = np.empty(len(rows)), np.full(len(columns), np.inf)
    for start in range(0, len(rows), 1024):
        part = cdist(rows[start : start + 1024], columns)
        of_rows[start : start + 1024] = part.min(1)
        of_columns = np.minimum(of_columns, part.min(0))
    return of_rows, of_columns


def frechet_distance(one: Array, other: Array) -> float:
    """Return the squared Fréchet (2-Wasserstein) distance of two sets taken as Gaussians.

    Dowson and Landau, J. Multivariate Anal. 12, 450 (1982), doi 10.1016/0047-259X(82)90077-X.

    Args:
        one: (n, F), n at least 2.
        other: (m, F), m at least 2.

    Raises:
        ValueError: if a set has fewer than two rows.
    """
    if min(len(one), len(other)) < 2:
        raise ValueError("a covariance needs at least two fingerprints on each side")
    mean = one.mean(0) - other.mean(0)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    # tr (C1 C2)^1/2 through the symmetric C1^1/2 C2 C1^1/2, which has the same eigenvalues.
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    return float(mean @ mean + np.trace(first) + np.trace(second) - 2 * cross)


def set_distances(
    generated: Sequence[Fingerprint], truth: Sequence[Fingerprint], *, dataset: str
) -> dict[str, Any]:
    """Return everything that fingerprints say of a generated set against a test set.

    Args:
        generated: of the crystals drawn, failures included.
        truth: of the test split.
        dataset: whose cut-offs count.

    Returns:
        `coverage`, "average_min_distance", "frechet_distance", the numbers of crystals with and
        without fingerprints, cut-offs and protocol.
    """
    ours, theirs = stacked(generated), stacked(truth)
    found = coverage(ours, theirs, n_generated=len(generated), cutoffs=CUTOFFS[dataset])
    return {
        **found,
        "average_min_distance": found["amsd_precision"],
        "frechet_distance": frechet_distance(ours[0], theirs[0]),
        "n": len(generated),
        "n_without_fingerprint": len(generated) - len(ours[0]),
        "n_test": len(truth),
        "n_test_without_fingerprint": len(truth) - len(theirs[0]),
        "cutoff_structure": CUTOFFS[dataset][0],
        "cutoff_composition": CUTOFFS[dataset][1],
        "protocol": PROTOCOL,
    }
