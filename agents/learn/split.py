"""Dividing labels into what a challenger learns and what judges it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agents.learn.labels import Label
from agents.learn.samples import Samples, from_codes

if TYPE_CHECKING:
    from model.codes import CrystalCodes
    from model.generator import Generator


def split_in_time(labels: Sequence[Label], gate_fraction: float) -> tuple[list[Label], list[Label]]:
    """Divide new labels into an earlier part to learn from and a later part that judges.

    Each kind of label (target; decoded or relaxed) is divided at its own time, so that rare ones
    such as DFT are on both sides; a kind with a single label only judges. A crystal is never on
    both sides: what is known of a candidate that judges is not learned, neither from its decoded
    nor from its relaxed codes.

    Args:
        labels: In the order in which they became known.
        gate_fraction: Share of each kind that judges, rounded up.

    Returns:
        The earlier part and the later part, each in the order given.
    """
    kinds: dict[tuple[str, str], list[Label]] = defaultdict(list)
    for label in labels:
        kinds[label.target, label.on].append(label)
    late: set[str] = set()
    for kind in kinds.values():
        late.update(label.key for label in kind[-math.ceil(len(kind) * gate_fraction) :])
    gate = [label for label in labels if label.key in late]
    judges = {label.candidate_id for label in gate}
    return [label for label in labels if label.candidate_id not in judges], gate


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
