"""Structure prediction: what the prior makes of a formula, judged on held-out crystals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.data.canonical import Crystal
from model.data.dataset import read_split
from model.generator import Generator
from model.metrics.matching import match
from model.prior.code_prior import CodePrior
from model.prior.conditions import ImpossibleConditions
from model.prior.ranking import distance_profiles, ranked
from model.prior.settings import Temperatures

_CELLS = 64  # formulas sampled together

PROTOCOL = (
    "for each crystal of the split its cell content (elements and counts) is given, as DiffCSP "
    "gets it; no relaxation, no energies; StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10); "
    "match@1 is the structure ranked first, match@k any of the k ranked first, rms of the best "
    "of them averaged over matches; @random is one draw, unranked"
)


@dataclass(frozen=True)
class Prediction:
    """The structures predicted for one cell content, best first.

    Attributes:
        crystals: one for each rank.
        unranked: the first one drawn.
    """

    crystals: list[Crystal]
    unranked: Crystal


def predict(
    generator: Generator,
    prior: CodePrior,
    cells: Sequence[Counter[int]],
    *,
    samples: int,
    draws: int,
    seed: int,
    temperature: float | Temperatures,
) -> list[Prediction | None]:
    """Predict the structures of cell contents.

    Args:
        generator: decodes.
        prior: of this generator.
        cells: atomic number → number of atoms.
        samples: structures kept for each.
        draws: structures drawn for each, at least `samples`.
        seed: of all draws.
        temperature: of the prior.

    Returns:
        For each cell its prediction, or None where the generator has no room or no elements
        for it.
    """
    result: list[Prediction | None] = []
    for start in range(0, len(cells), _CELLS):
        part = cells[start : start + _CELLS]
        possible = [i for i, cell in enumerate(part) if _possible(prior, cell)]
        asked = [part[i] for i in possible for _ in range(draws)]
        found: dict[int, Prediction] = {}
        if asked:
            codes = prior.sample_cells(asked, seed=seed + start, temperature=temperature)
            nats = prior.log_likelihood(codes).double().numpy()
            crystals = generator.decode_crystals(codes)
            for k, i in enumerate(possible):
                own = slice(k * draws, (k + 1) * draws)
                order = ranked(distance_profiles(crystals[own]), nats[own])[:samples]
                found[i] = Prediction([crystals[own][j] for j in order], crystals[own][0])
        result.extend(found.get(i) for i in range(len(part)))
    return result


def structure_prediction(
    generator: Generator,
    *,
    dataset: str,
    split: str,
    data_dir: Path,
    limit: int | None = None,
    samples: int = 20,
    draws: int | None = None,
    seed: int = 0,
    temperature: float | Temperatures = 1.0,
) -> dict[str, Any]:
    """Predict the structures of a split from their cell contents, and compare.

    Args:
        generator: with a prior.
        dataset: for instance "mp20".
        split: "train", "val" or "test".
        data_dir: directory of the data sets.
        limit: only the first rows.
        samples: structures for each formula.
        draws: drawn for each, of which the `samples` ranked first are kept; default: `samples`.
        seed: of all draws.
        temperature: of the prior.

    Returns:
        "match_at_1", "match_at_k", "match_random" (fractions of all rows), "rms_at_1", "rms_at_k"
        (normalised by (V/N)^(1/3), over matches), "n", "samples", "draws", "impossible" (rows
        the generator cannot represent, no match), seconds, versions, protocol.

    Raises:
        ValueError: if the generator has no prior, or `draws` is smaller than `samples`.
    """
    prior: CodePrior | None = getattr(generator, "prior", None)
    if prior is None:
        raise ValueError(f"checkpoint {generator.name} has no prior to predict structures with")
    n_draws = samples if draws is None else draws
    if n_draws < samples:
        raise ValueError(f"{samples} samples cannot be kept of {n_draws} draws")
    started = time.perf_counter()
    table = read_split(dataset, split, data_dir=data_dir, limit=limit)
    cells = [Counter(c.numbers.tolist()) for c in table.crystals]
    predictions = predict(
        generator,
        prior,
        cells,
        samples=samples,
        draws=n_draws,
        seed=seed,
        temperature=temperature,
    )
    drawn = time.perf_counter() - started
    first, best, random = [], [], 0
    for prediction, truth in zip(predictions, table.crystals):
        if prediction is None:
            continue
        rms = [match(c, truth).rms for c in prediction.crystals]
        known = [value for value in rms if value is not None]
        first += [rms[0]] if rms[0] is not None else []
        best += [min(known)] if known else []
        random += match(prediction.unranked, truth).rms is not None
    n = len(table)
    return {
        "dataset": dataset,
        "split": split,
        "n": n,
        "samples": samples,
        "draws": n_draws,
        "match_at_1": len(first) / n,
        "match_at_k": len(best) / n,
        "match_random": random / n,
        "rms_at_1": float(np.mean(first)) if first else None,
        "rms_at_k": float(np.mean(best)) if best else None,
        "impossible": sum(p is None for p in predictions),
        "temperature": prior.temperatures(temperature).model_dump(),
        "seed": seed,
        "seconds_drawing": round(drawn, 1),
        "seconds": round(time.perf_counter() - started, 1),
        "generator_version": generator.version,
        "prior_version": prior.version,
        "protocol": PROTOCOL,
    }


def _possible(prior: CodePrior, cell: Counter[int]) -> bool:
    """Return whether the generator has room and elements for a cell."""
    try:
        prior.check_cell(cell)
    except ImpossibleConditions:
        return False
    return True
