"""Which crystals of a set repeat each other, and which are in a reference set already."""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.data.canonical import Crystal, structure_from_arrays
from model.data.geometry import cell_matrix
from model.metrics.matching import PLAIN, matcher
from model.metrics.validity import reduced_formulas, volumes

if TYPE_CHECKING:
    from pymatgen.core import Structure

_SHELLS = 24  # neighbours of an atom in the geometric fingerprint

PROTOCOL = (
    "two crystals are the same if pymatgen's plain StructureMatcher (0.3, 0.5, 10) fits them; all "
    "pairs of one reduced formula are compared; unique: not the same as an earlier crystal of the "
    "set; novel: not the same as a training crystal; crystals without a cell are neither"
)


@dataclass(frozen=True)
class _Group:
    """All crystals of one formula."""

    crystals: list[Crystal]
    references: list[Crystal]


def uniqueness_and_novelty(
    crystals: Sequence[Crystal], references: Sequence[Crystal], *, jobs: int = 1
) -> dict[str, Any]:
    """Return the shares of unique and of novel crystals.

    Args:
        crystals: n generated crystals.
        references: the training split.
        jobs: processes.

    Returns:
        {"unique", "novel", "unique_and_novel", "novel_formula" (reduced formula not in the
        references), "n", "n_references", "protocol"}.

    Raises:
        ValueError: if there are no crystals.
    """
    if not crystals:
        raise ValueError("there are no crystals to judge")
    formulas = reduced_formulas(crystals)
    known = defaultdict(list)
    for formula, crystal in zip(reduced_formulas(references), references):
        known[formula].append(crystal)
    rows: dict[str, list[int]] = defaultdict(list)
    for i, formula in enumerate(formulas):
        rows[formula].append(i)
    groups = [_Group([crystals[i] for i in own], known[f]) for f, own in rows.items()]
    unique, novel = np.zeros(len(crystals), bool), np.zeros(len(crystals), bool)
    for own, (first, new) in zip(rows.values(), _judged(groups, jobs)):
        unique[own], novel[own] = first, new
    return {
        "unique": float(unique.mean()),
        "novel": float(novel.mean()),
        "unique_and_novel": float((unique & novel).mean()),
        "novel_formula": float(np.mean([not known[f] for f in formulas])),
        "n": len(crystals),
        "n_references": len(references),
        "protocol": PROTOCOL,
    }


def _judged(groups: list[_Group], jobs: int) -> Iterator[tuple[list[bool], list[bool]]]:
    """Yield (unique, novel) of every crystal of each group."""
    if jobs <= 1 or len(groups) < 10:
        yield from map(_judge, groups)
        return
    # A forked copy of a process that has used torch's threads can hang: start clean ones.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(_judge, groups, chunksize=16)


def _judge(group: _Group) -> tuple[list[bool], list[bool]]:
    """Return which crystals of one formula are unique and which are novel."""
    if len(group.crystals) == 1 and not group.references:
        possible = _structure(group.crystals[0]) is not None
        return [possible], [possible]
    shapes = [_neighbour_distances(c) for c in group.crystals]
    reference_shapes = [_neighbour_distances(c) for c in group.references]
    reduced = [_reduced(c) for c in group.crystals]
    references: dict[int, Structure | None] = {}
    unique, novel = [], []
    kept: list[int] = []
    for i, structure in enumerate(reduced):
        if structure is None:
            unique.append(False)
            novel.append(False)
            continue
        near = _nearest(shapes[i], [shapes[k] for k in kept])
        repeats = any(_same(structure, reduced[kept[k]]) for k in near)
        unique.append(not repeats)
        if not repeats:
            kept.append(i)
        seen = False
        for k in _nearest(shapes[i], reference_shapes):
            if k not in references:
                references[k] = _reduced(group.references[k])
            if _same(structure, references[k]):
                seen = True
                break
        novel.append(not seen)
    return unique, novel


def _same(one: Structure, other: Structure | None) -> bool:
    """Return whether two reduced cells fit."""
    if other is None or len(one) != len(other):
        return False
    return bool(matcher(PLAIN).fit(one, other, skip_structure_reduction=True))


def _structure(crystal: Crystal) -> Structure | None:
    """Return the structure, None where there is no cell."""
    return structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)[0]


def _reduced(crystal: Crystal) -> Structure | None:
    """Return the primitive Niggli cell that the matcher would make, None if there is none."""
    structure = _structure(crystal)
    if structure is None:
        return None
    try:
        return structure.get_reduced_structure(reduction_algo="niggli").get_primitive_structure()
    except ValueError:  # pymatgen's words for a cell too skewed to be reduced
        return None


def _nearest(shape: NDArray[np.float64], others: list[NDArray[np.float64]]) -> list[int]:
    """Return the places of all others, the most similar first: there a match is found soonest."""
    if not others:
        return []
    distances = np.abs(np.array(others) - shape).max(1)
    order: list[int] = np.argsort(distances, kind="stable").tolist()
    return order


def _neighbour_distances(crystal: Crystal) -> NDArray[np.float64]:
    """Return the mean distance (shells,) to the k-th neighbour in units of (V/N)^(1/3).

    Independent of cell, origin and order of the atoms, and blind to their elements.
    """
    import torch

    volume = volumes([crystal])[0]
    if not np.isfinite(volume) or volume <= 0:
        return np.full(_SHELLS, np.inf)
    unit = (volume / len(crystal.numbers)) ** (1 / 3)
    matrix = cell_matrix(torch.from_numpy(crystal.cell[None]).double())[0].numpy()
    # Enough images that a sphere of 2.2 units, which holds about 45 atoms, fits inside.
    heights = volume / np.linalg.norm(np.cross(matrix[[1, 2, 0]], matrix[[2, 0, 1]]), axis=1)
    reach = np.ceil(2.2 * unit / heights).astype(int).clip(max=6)
    shifts = np.stack(
        np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1
    ).reshape(-1, 3)
    difference = crystal.frac[:, None] - crystal.frac[None]
    vectors = (difference - np.round(difference))[:, :, None] + shifts
    distances = np.sqrt(((vectors @ matrix) ** 2).sum(-1)).reshape(len(crystal.numbers), -1)
    nearest: NDArray[np.float64] = np.sort(distances, 1)[:, 1 : _SHELLS + 1].mean(0) / unit
    return np.pad(nearest, (0, _SHELLS - len(nearest)), mode="edge")
