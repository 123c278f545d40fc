"""Dividing labels into what a challenger learns and what judges it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from agents.learn.labels import Label
from agents.learn.samples import Samples, from_codes

if TYPE_CHECKING:
    from model.codes import CrystalCodes
    from model.generator import Generator


def split_in_time(
    labels: Sequence[Label], gate_fraction: float, learned: Collection[str] = ()
) -> tuple[list[Label], list[Label]]:
    """Divide new labels into an earlier part to learn from and a later part that judges.

    Each kind of label (target; decoded or relaxed) is divided at its own time, so that rare ones
    such as DFT are on both sides; a kind with a single label only judges. Nothing judges that was
    learned: a label judges only if neither its candidate nor its codes are among those a head has
    learned, and the earlier part has no label of a candidate or of codes that judge. (Two
    candidates may have equal codes, and one candidate has two crystals.) So labels of candidates
    that a head knows from an earlier event, as DFT labels often are, are learned and judge nothing.

    Args:
        labels: New labels in the order in which they became known.
        gate_fraction: Share of each kind that judges, rounded up; the latest that may judge.
        learned: `identities` of what the live head has learned, in the campaign or before it.

    Returns:
        The earlier part and the judging part, each in the order given. Either may be empty.
    """
    kinds: dict[tuple[str, str], list[Label]] = defaultdict(list)
    for label in labels:
        kinds[label.target, label.on].append(label)
    late: set[str] = set()
    known = frozenset(learned)
    for kind in kinds.values():
        unknown = [label for label in kind if not identities([label]) & known]
        late.update(label.key for label in unknown[-math.ceil(len(kind) * gate_fraction) :])
    gate = [label for label in labels if label.key in late]
    judges = identities(gate)
    return [label for label in labels if not identities([label]) & judges], gate


def identities(labels: Iterable[Label]) -> set[str]:
    """Return what makes labels belong together: candidates' ids and digests of codes."""
    return {name for label in labels for name in (label.candidate_id, label.codes.digest())}


def to_samples(generator: Generator, labels: Sequence[Label]) -> Samples:
    """Return labels as arrays, one row per crystal.

    Args:
        generator: The generator whose features the head reads.
        labels: Any labels; those of equal codes share a row unless they disagree about a target
            (two candidates may relax to the same codes), which gives another row.
    """
    rows: dict[tuple[str, int], int] = {}
    codes: list[CrystalCodes] = []
    cells: list[tuple[int, str, float]] = []
    repeats: dict[tuple[str, str], int] = defaultdict(int)
    for label in labels:
        digest = label.codes.digest()
        place = (digest, repeats[digest, label.target])
        repeats[digest, label.target] += 1
        if place not in rows:
            rows[place] = len(codes)
            codes.append(label.codes)
        cells.append((rows[place], label.target, label.value))
    targets = sorted({label.target for label in labels})
    values = {target: np.full(len(codes), np.nan) for target in targets}
    for row, target, value in cells:
        values[target][row] = value
    return from_codes(generator, codes, values)
