"""How well symmetry separates crystals in the space of their codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.canonical import Crystal, structure_from_arrays

_SYSTEMS = (
    (2, "triclinic"),
    (15, "monoclinic"),
    (74, "orthorhombic"),
    (142, "tetragonal"),
    (167, "trigonal"),
    (194, "hexagonal"),
    (230, "cubic"),
)
_MOST = 4000  # crystals of a silhouette, whose cost is quadratic
_GROUPS, _MEMBERS = 10, 10  # space groups compared, and the least members of a class


class MissingScikitLearn(ImportError):
    """The package that computes silhouettes is not installed."""


def space_group(crystal: Crystal, *, symprec: float = 0.1) -> int | None:
    """Return the space group number (1-230), None where spglib finds none."""
    import spglib

    structure, _ = structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)
    if structure is None:
        return None
    cell = (structure.lattice.matrix.tolist(), crystal.frac.tolist(), crystal.numbers.tolist())
    found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    return None if found is None else int(found.number)


def crystal_system(number: int) -> str:
    """Return the crystal system of a space group number."""
    return next(name for last, name in _SYSTEMS if number <= last)


def silhouettes(
    vectors: NDArray[np.float64],
    codes: NDArray[np.int64],
    groups: Sequence[int | None],
    *,
    seed: int,
) -> dict[str, Any]:
    """Return how well symmetry separates the crystals, -1 to 1.

    Args:
        vectors: (n, G) standardised global vectors.
        codes: (n, genes) global codes, -1 where a crystal has fewer.
        groups: space group numbers.
        seed: chooses the crystals if there are more than 4,000.

    Returns:
        {"vectors": {"crystal_system", "space_group"}, "codes": the same, "classes", "n"}; a
        score is None where fewer than two classes have ten members.

    Raises:
        MissingScikitLearn: if the extra "metrics" is not installed.
    """
    if find_spec("sklearn") is None:
        raise MissingScikitLearn("silhouettes need scikit-learn: install discovery[metrics]")
    rows = np.array([i for i, g in enumerate(groups) if g is not None], dtype=np.intp)
    if len(rows) > _MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST, replace=False))
    numbers = [groups[i] or 0 for i in rows.tolist()]
    frequent = [g for g, _ in Counter(numbers).most_common(_GROUPS)]
    labels = {
        "crystal_system": [crystal_system(g) for g in numbers],
        "space_group": [str(g) if g in frequent else "" for g in numbers],
    }
    result: dict[str, Any] = {"n": len(rows), "classes": {}, "vectors": {}, "codes": {}}
    for name, classes in labels.items():
        counts = Counter(c for c in classes if c)
        kept = [i for i, c in enumerate(classes) if counts.get(c, 0) >= _MEMBERS]
        names = np.array([classes[i] for i in kept])
        result["classes"][name] = dict(Counter(names.tolist()).most_common())
        own = rows[kept]
        result["vectors"][name] = _silhouette(vectors[own], names, "euclidean")
        result["codes"][name] = _silhouette(codes[own], names, "hamming")
    return result


def _silhouette(points: NDArray[Any], names: NDArray[np.str_], metric: str) -> float | None:
    """Return the mean silhouette, None with fewer than two classes."""
    from sklearn.metrics import silhouette_score

    if len(set(names.tolist())) < 2:
        return None
    return float(silhouette_score(points, names, metric=metric))
