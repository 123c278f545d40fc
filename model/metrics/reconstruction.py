"""How well a generator reconstructs crystals, by the protocol of the published tables."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from model.codes import CrystalCodes
from model.data.canonical import Crystal, structure_from_arrays
from model.data.dataset import read_split
from model.generator import Decoded, Generator

PROTOCOL = (
    "pymatgen StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10), per structure, true atom count, "
    "decoded from stored codes; a wrong composition or an unencodable crystal is no match; "
    "rms is normalised by (V/N)^(1/3) and averaged over matches"
)


def reconstruction(
    generator: Generator,
    *,
    dataset: str,
    split: str,
    data_dir: Path,
    limit: int | None = None,
) -> dict[str, Any]:
    """Encode a split to integers, decode these, and compare (SCIENCE §3).

    Args:
        generator: to judge.
        dataset: e.g. "perov5".
        split: "train", "val" or "test".
        data_dir: directory of the data sets.
        limit: only the first rows.

    Returns:
        {"dataset", "split", "n", "match_rate", "rms", "composition_accuracy", "protocol",
        "matched", "encode_errors", "decode_errors", "encode_per_second", "decode_per_second",
        "model", "model_version"}; rates are fractions of 1, `rms` is None without a match.
    """
    table = read_split(dataset, split, data_dir=data_dir, limit=limit)
    if not len(table):
        raise ValueError(f"{dataset} {split} holds no crystals")
    started = time.perf_counter()
    encoded = generator.encode_crystals(table.crystals)
    seconds_encode = time.perf_counter() - started
    codes = [c for c in encoded if isinstance(c, CrystalCodes)]
    started = time.perf_counter()
    decoded = iter(generator.decode(codes))
    seconds_decode = time.perf_counter() - started
    distances, same_composition, failed_decodes = [], 0, 0
    for crystal, own in zip(table.crystals, encoded):
        if not isinstance(own, CrystalCodes):
            continue
        other = next(decoded)
        failed_decodes += other.structure is None
        if not _same_composition(crystal, other):
            continue
        same_composition += 1
        distance = _match(crystal, other)
        if distance is not None:
            distances.append(distance)
    n = len(table)
    return {
        "dataset": dataset,
        "split": split,
        "n": n,
        "match_rate": len(distances) / n,
        "rms": float(np.mean(distances)) if distances else None,
        "composition_accuracy": same_composition / n,
        "protocol": PROTOCOL,
        "matched": len(distances),
        "encode_errors": n - len(codes),
        "decode_errors": failed_decodes,
        "encode_per_second": len(codes) / seconds_encode,
        "decode_per_second": len(codes) / seconds_decode,
        "model": generator.name,
        "model_version": generator.version,
    }


def _same_composition(crystal: Crystal, decoded: Decoded) -> bool:
    """Return whether the decoded structure has the crystal's atoms."""
    if decoded.structure is None:
        return False
    return sorted(crystal.numbers.tolist()) == sorted(decoded.structure.atomic_numbers)


def _match(crystal: Crystal, decoded: Decoded) -> float | None:
    """Return the normalised RMS distance where the matcher finds a match."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    truth, _ = structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)
    if truth is None or decoded.structure is None:
        return None
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    result = matcher.get_rms_dist(decoded.structure, truth)
    return None if result is None else float(result[0])
