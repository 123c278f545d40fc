"""Crystals per second on one thread: encode and decode, to tensors and to pymatgen structures.

    python benchmarks/decode.py perov5 mp20 --batches 1 64 1024

The crystals are training crystals of the code bank, decoded once to have something to encode.
Prints a table, or with `--json` one JSON document. Each figure is the best of several runs of at
least half a second: the machine's other work can only slow it down.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from model.codes import CrystalCodes
from model.data.canonical import Crystal, canonical
from model.data.tensors import CrystalTensors
from model.generator import Generator

_LEAST = 0.5  # seconds of one run
_RUNS = 3


def rate(work: Callable[[], object], crystals: int) -> float:
    """Return crystals per second of a piece of work, warmed up, best of several runs."""
    work()
    best = 0.0
    for _ in range(_RUNS):
        started, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < _LEAST:
            work()
            done += crystals
        best = max(best, done / elapsed)
    return best


@torch.inference_mode()
def measure(generator: Generator, batch: int, seed: int) -> dict[str, float]:
    """Return the rates of one batch size.

    Returns:
        {"encode_tensors": canonical tensors to code indices, "encode_structures": pymatgen
        structures to stored codes, "decode_arrays": stored codes to arrays,
        "decode_structures": stored codes to pymatgen structures, "mean_atoms"}.
    """
    rows = np.random.default_rng(seed).choice(generator.bank.rows("train"), batch)
    drawn = [generator.bank.codes(int(row)) for row in rows]
    crystals, structures = _decoded(generator, drawn)
    codes = [c for c in generator.encode(structures) if isinstance(c, CrystalCodes)]
    tensors = CrystalTensors.from_canonical([canonical(c) for c in crystals])
    return {
        "encode_tensors": rate(lambda: generator.model.encode_to_codes(tensors), len(crystals)),
        "encode_structures": rate(lambda: generator.encode(structures), len(structures)),
        "decode_arrays": rate(lambda: generator.decode_crystals(codes), len(codes)),
        "decode_structures": rate(lambda: generator.decode(codes), len(codes)),
        "mean_atoms": float(np.mean([c.n_atoms for c in codes])),
    }


def _decoded(generator: Generator, codes: Sequence[CrystalCodes]) -> tuple[list[Crystal], list]:
    """Return decoded crystals that have a cell, as arrays and as structures."""
    structures = [item.structure for item in generator.decode(codes)]
    crystals = generator.decode_crystals(codes)
    kept = [i for i, structure in enumerate(structures) if structure is not None]
    return [crystals[i] for i in kept], [structures[i] for i in kept]


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoints", nargs="+", help="names or folders")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 1024])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "threads": 1,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "seed": options.seed,
        "checkpoints": {},
    }
    for name in options.checkpoints:
        generator = Generator.load(name)
        report["checkpoints"][generator.name] = {
            "model_version": generator.version,
            "batches": {n: measure(generator, n, options.seed) for n in options.batches},
        }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print("crystals per second, one thread\n")
    print("| checkpoint | batch | atoms | encode tensors | encode structures | ", end="")
    print("decode arrays | decode structures |\n" + "|---" * 7 + "|")
    for name, figures in report["checkpoints"].items():
        for n, row in figures["batches"].items():
            keys = ("encode_tensors", "encode_structures", "decode_arrays", "decode_structures")
            cells = " | ".join(f"{row[key]:,.0f}" for key in keys)
            print(f"| {name} | {n} | {row['mean_atoms']:.1f} | {cells} |")


if __name__ == "__main__":
    main()
