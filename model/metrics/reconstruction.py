"""How well a generator reconstructs crystals, by the protocol of the published tables."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.codes import CrystalCodes
from model.data.canonical import Crystal, canonical, structure_from_arrays
from model.data.dataset import CrystalTable, read_split
from model.data.tensors import CrystalTensors
from model.generator import EncodingError, Generator
from model.metrics.code_cost import code_cost
from model.metrics.matching import Match, match_all

PROTOCOL = (
    "pymatgen StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10), strict (0.2, 0.3, 5), plain: no "
    "supercells; per structure over all rows of the split; true atom count, or (free) the count "
    "the codes give, a wrong count being no match; decoded from stored integers; a wrong "
    "composition or an unencodable crystal is no match; rms is normalised by (V/N)^(1/3) and "
    "averaged over matches"
)
_CHUNK = 1024  # crystals per forward pass


@dataclass(frozen=True)
class _Row:
    """What became of one crystal of the split."""

    codes: CrystalCodes | None
    count: int | None
    decoded: Crystal | None
    match: Match
    reason: str | None


def reconstruction(
    generator: Generator,
    *,
    dataset: str,
    split: str,
    data_dir: Path,
    limit: int | None = None,
    jobs: int = 1,
    failures: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Encode a split to integers, decode these, and compare (SCIENCE §3).

    Args:
        generator: to judge.
        dataset: e.g. "perov5".
        split: "train", "val" or "test".
        data_dir: directory of the data sets.
        limit: only the first rows.
        jobs: processes for the StructureMatcher.
        failures: filled with {"id", "formula", "n_atoms", "reason", "metrics"} of every crystal
            that is no match by at least one of the rates, which are named.

    Returns:
        "match_rate", "rms" (true atom count), "match_rate_free", "rms_free" (count from the
        codes), "match_rate_strict", "rms_strict" (true count, strict tolerance), "rms_angstrom",
        "composition_accuracy", "atom_count_accuracy", the bits of `code_cost`,
        "from_stored_codes" (codes read back from JSON are the same and decode to the same
        arrays), counts, speeds, versions and the protocol. Rates are fractions of 1 of all rows;
        an rms is None without a match.

    Raises:
        ValueError: if the split holds no crystals.
    """
    table = read_split(dataset, split, data_dir=data_dir, limit=limit)
    return reconstruction_of(
        generator, table, dataset=dataset, split=split, limit=limit, jobs=jobs, failures=failures
    )


def reconstruction_of(
    generator: Generator,
    table: CrystalTable,
    *,
    dataset: str,
    split: str,
    limit: int | None = None,
    jobs: int = 1,
    failures: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Do the same for crystals that were read already; see `reconstruction`.

    Args:
        table: the crystals.
        dataset: what to call their source.
        split: what to call their part of it.
        limit: only the first rows.

    Raises:
        ValueError: if there are no crystals.
    """
    table = _first(table, limit)
    n = len(table)
    if not n:
        raise ValueError(f"{dataset} {split} holds no crystals")
    started = time.perf_counter()
    encoded = generator.encode_crystals(table.crystals)
    seconds_encode = time.perf_counter() - started
    codes = [c for c in encoded if isinstance(c, CrystalCodes)]
    stored = [CrystalCodes.from_record(json.loads(json.dumps(c.record()))) for c in codes]
    started = time.perf_counter()
    decoded = generator.decode_crystals(stored)
    seconds_decode = time.perf_counter() - started
    same = stored == codes and all(map(_equal, decoded, generator.decode_crystals(codes)))
    rows = _judge(generator, table.crystals, encoded, decoded, jobs)
    if failures is not None:
        failures.extend(_failures(table, rows))
    plain = [r.match for r in rows if r.match.rms is not None]
    free = [r for r in rows if r.match.rms is not None and r.count == r.codes.n_atoms]  # type: ignore[union-attr]
    strict = [r.match.rms_strict for r in rows if r.match.rms_strict is not None]
    return {
        "dataset": dataset,
        "split": split,
        "n": n,
        "match_rate": len(plain) / n,
        "rms": _mean([m.rms for m in plain]),
        "match_rate_free": len(free) / n,
        "rms_free": _mean([r.match.rms for r in free]),
        "match_rate_strict": len(strict) / n,
        "rms_strict": _mean(strict),
        "rms_angstrom": _mean([m.rms_angstrom for m in plain]),
        "composition_accuracy": sum(
            r.decoded is not None and _atoms(r.decoded) == _atoms(c)
            for r, c in zip(rows, table.crystals)
        )
        / n,
        "atom_count_accuracy": sum(r.count == len(c.numbers) for r, c in zip(rows, table.crystals))
        / n,
        **(code_cost(generator, codes) if codes else {}),
        "from_stored_codes": same,
        "matched": len(plain),
        "encode_errors": n - len(codes),
        "decode_errors": sum(_cell_error(d) is not None for d in decoded),
        "unreadable_rows": len(table.skipped),
        "encode_per_second": len(codes) / seconds_encode,
        "decode_per_second": len(codes) / seconds_decode,
        "limit": limit,
        "data_sha256": table.sha256,
        "model": generator.name,
        "model_version": generator.version,
        "protocol": PROTOCOL,
    }


def _first(table: CrystalTable, limit: int | None) -> CrystalTable:
    """Return the first rows of a table."""
    return replace(
        table,
        ids=table.ids[:limit],
        formulas=table.formulas[:limit],
        crystals=table.crystals[:limit],
        labels={name: values[:limit] for name, values in table.labels.items()},
    )


@torch.inference_mode()
def count_atoms(generator: Generator, crystals: Sequence[Crystal]) -> list[int]:
    """Return the atom counts that the codes of encodable crystals give on their own."""
    counts: list[int] = []
    for start in range(0, len(crystals), _CHUNK):
        part = [canonical(c) for c in crystals[start : start + _CHUNK]]
        counts += generator.model.count_atoms(CrystalTensors.from_canonical(part)).tolist()
    return counts


def _judge(
    generator: Generator,
    crystals: Sequence[Crystal],
    encoded: Sequence[CrystalCodes | EncodingError],
    decoded: Sequence[Crystal],
    jobs: int,
) -> list[_Row]:
    """Put the outcome of every crystal together."""
    accepted = [c for c, own in zip(crystals, encoded) if isinstance(own, CrystalCodes)]
    outcomes = zip(
        decoded, count_atoms(generator, accepted), match_all(decoded, accepted, jobs=jobs)
    )
    rows = []
    for crystal, own in zip(crystals, encoded):
        if isinstance(own, EncodingError):
            rows.append(_Row(None, None, None, Match(), f"not encoded: {own.reason}"))
            continue
        back, count, found = next(outcomes)
        rows.append(_Row(own, count, back, found, _reason(crystal, back, count, found)))
    return rows


def _reason(crystal: Crystal, decoded: Crystal, count: int, found: Match) -> str | None:
    """Say why a crystal fails one of the rates, the first cause only."""
    error = _cell_error(decoded)
    if error is not None:
        return f"not decoded: {error}"
    if _atoms(decoded) != _atoms(crystal):
        return f"composition: {_formula(decoded)}"
    if found.rms is None:
        return "no match at the plain tolerance"
    if count != len(crystal.numbers):
        return f"atom count: {count}"
    if found.rms_strict is None:
        return f"no match at the strict tolerance (rms {found.rms:.4f})"
    return None


def _failures(table: CrystalTable, rows: Sequence[_Row]) -> list[dict[str, Any]]:
    """Return the crystals that fail, with the rates they fail."""
    result = []
    for name, formula, crystal, row in zip(table.ids, table.formulas, table.crystals, rows):
        if row.reason is None:
            continue
        plain = row.match.rms is not None
        passed = {
            "match_rate": plain,
            "match_rate_free": plain and row.count == len(crystal.numbers),
            "match_rate_strict": row.match.rms_strict is not None,
        }
        failed = [metric for metric, good in passed.items() if not good]
        result.append(
            {
                "id": name,
                "formula": formula,
                "n_atoms": len(crystal.numbers),
                "reason": row.reason,
                "metrics": failed,
            }
        )
    return result


def _cell_error(decoded: Crystal) -> str | None:
    """Return why no cell can be built from a decoded crystal."""
    return structure_from_arrays(decoded.numbers, decoded.frac, decoded.cell)[1]


def _atoms(crystal: Crystal) -> list[int]:
    """Return the sorted atomic numbers."""
    atoms: list[int] = sorted(crystal.numbers.tolist())
    return atoms


def _formula(crystal: Crystal) -> str:
    """Return the cell's formula by element symbols."""
    from pymatgen.core import Composition, Element

    symbols = (Element.from_Z(z).symbol for z in crystal.numbers.tolist())
    formula: str = Composition("".join(symbols)).formula
    return formula


def _equal(one: Crystal, other: Crystal) -> bool:
    """Return whether two crystals are the same bit for bit (NaN equals NaN)."""
    return (
        np.array_equal(one.numbers, other.numbers)
        and np.array_equal(one.frac, other.frac, equal_nan=True)
        and np.array_equal(one.cell, other.cell, equal_nan=True)
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, None of nothing."""
    numbers = [v for v in values if v is not None]
    return float(np.mean(numbers)) if numbers else None
