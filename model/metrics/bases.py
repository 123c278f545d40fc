"""Crystals whose local codes a search keeps."""

from __future__ import annotations

import numpy as np

from model.codes import CrystalCodes
from model.generator import Generator


def draw_bases(generator: Generator, n: int, seed: int) -> list[CrystalCodes]:
    """Draw different held-out crystals of the bank.

    Raises:
        ValueError: if the bank holds fewer.
    """
    rows = generator.bank.rows("val")
    if len(rows) < n:
        raise ValueError(f"the code bank has {len(rows)} held-out crystals, {n} bases were asked")
    chosen = np.random.default_rng(seed).choice(rows, n, replace=False)
    return [generator.bank.codes(int(row)) for row in chosen]
