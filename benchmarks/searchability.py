"""How much the global genes steer a crystal: local codes fixed, genes drawn three ways.

    python benchmarks/searchability.py --checkpoint perov5 --bases 50 --draws 64

Bases are held-out crystals of the code bank. Prints one JSON document; rates are fractions of 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from model.codes import CrystalCodes
from model.generator import Generator

Draw = Callable[[CrystalCodes, np.random.Generator], CrystalCodes]


def draws(generator: Generator) -> dict[str, Draw]:
    """Return the ways to draw global genes for a base."""

    def donor(base: CrystalCodes, rng: np.random.Generator) -> CrystalCodes:
        row = int(rng.choice(generator.bank.donors(base)))
        return base.with_global_genes(generator.bank.codes(row).global_genes)

    def uniform(base: CrystalCodes, rng: np.random.Generator) -> CrystalCodes:
        return base.with_global_genes(rng.integers(0, generator.gene_sizes(base)).tolist())

    def mutation(base: CrystalCodes, rng: np.random.Generator) -> CrystalCodes:
        genes, sizes = list(base.global_genes), generator.gene_sizes(base)
        place = int(rng.integers(len(genes)))
        genes[place] = int(rng.integers(sizes[place]))
        return base.with_global_genes(genes)

    return {"donors": donor, "uniform": uniform, "one gene": mutation}


def measure(generator: Generator, draw: Draw, n_bases: int, n_draws: int, seed: int) -> dict:
    """Return the figures of one way to draw genes."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(generator.bank.rows("val"), n_bases, replace=False)
    distinct, changed, apart, failed = [], [], [], 0
    for row in rows:
        base = generator.bank.codes(int(row))
        codes = [base, *(draw(base, rng) for _ in range(n_draws))]
        own, *structures = (item.structure for item in generator.decode(codes))
        formulas = [s.composition.formula for s in structures if s is not None]
        failed += n_draws - len(formulas)
        distinct.append(len(set(formulas)))
        changed.extend(own is None or f != own.composition.formula for f in formulas)
        for s in structures:
            if s is not None:
                apart.append(s.distance_matrix[~np.eye(len(s), dtype=bool)].min() > 0.5)
    return {
        "distinct_compositions": float(np.mean(distinct)),
        "distinct_compositions_min": int(min(distinct)),
        "composition_differs": float(np.mean(changed)),
        "min_distance_above_0.5": float(np.mean(apart)),
        "failed_decodes": failed,
    }


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoint", default="perov5")
    parser.add_argument("--bases", type=int, default=50)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = Generator.load(options.checkpoint)
    result: dict[str, Any] = {
        "checkpoint": generator.name,
        "model_version": generator.version,
        "bases": options.bases,
        "draws": options.draws,
    }
    for name, draw in draws(generator).items():
        result[name] = measure(generator, draw, options.bases, options.draws, options.seed)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
