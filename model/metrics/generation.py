"""Generated crystals judged as the field does: valid, covering, like the data, new."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from model.codes import CrystalCodes
from model.data.canonical import Crystal
from model.data.dataset import read_split
from model.generator import Generator
from model.metrics.coverage import set_distances
from model.metrics.distributions import property_distances
from model.metrics.duplicates import uniqueness_and_novelty
from model.metrics.fingerprints import fingerprints
from model.metrics.validity import compositional, reduced_formulas, structural, validity

N_PROPERTIES = 1000  # valid crystals whose properties are compared, as CDVAE does
N_ONE_FORMULA = 300  # crystals of a set of one formula whose every pair is compared

PROTOCOL = (
    "drawn from the prior, decoded, not relaxed, nothing sorted out before; validity over all; "
    "coverage and Fréchet distance over the first n_fingerprints; properties over 1,000 valid ones "
    "drawn by the seed; all against the whole test split; uniqueness and novelty over the "
    "first n_unique, novelty against the training split"
)


class MissingPrior(ValueError):
    """A checkpoint without a prior was asked for crystals of its own."""


def draw(
    generator: Generator, n: int, *, seed: int, temperature: float
) -> tuple[list[CrystalCodes], list[Crystal]]:
    """Draw codes from the generator's prior and decode them.

    Raises:
        MissingPrior: if the checkpoint has none.
    """
    prior = generator.prior
    if prior is None:
        raise MissingPrior(
            f"checkpoint {generator.name} has no prior to draw from; give --structures instead"
        )
    codes: list[CrystalCodes] = prior.sample(n, seed=seed, temperature=temperature)
    return codes, generator.decode_crystals(codes)


def read_structures(path: Path) -> list[Crystal]:
    """Read crystals from an extxyz file or a folder of CIFs, in the order of the names.

    Raises:
        ValueError: if there is nothing to read, or a crystal is not ordered.
    """
    from model.data.sources import read_source

    table = read_source(path)
    if table.skipped:
        name, why = table.skipped[0]
        raise ValueError(f"{len(table.skipped)} entries of {path} are no crystals: {name}: {why}")
    if not table.crystals:
        raise ValueError(f"{path} holds no crystals")
    return table.crystals


def evaluate_generation(
    generator: Generator,
    *,
    dataset: str,
    data_dir: Path,
    n: int = 10_000,
    n_fingerprints: int = 1000,
    n_unique: int | None = None,
    structures: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    cache: Path | None = None,
    jobs: int = 1,
) -> dict[str, Any]:
    """Draw crystals and judge them (SCIENCE §3).

    Args:
        generator: with a prior, unless `structures` is given.
        dataset: whose test and training splits count.
        data_dir: directory of the data sets.
        n: crystals to draw.
        n_fingerprints: how many of them get fingerprints (0: none, and nothing that needs them).
        n_unique: how many are judged unique and novel; None all of them, or 300 where all have
            one formula, as every pair of a formula is compared (about a second a crystal on
            Carbon-24).
        structures: extxyz file or folder of CIFs to judge instead.
        limit: only so many rows of the test split (a smaller test set is easier to be precise
            about and harder to recall: not comparable).
        seed: of the draws.
        temperature: of the prior.
        cache: directory of the fingerprint cache.
        jobs: processes.

    Returns:
        {"validity", "coverage" (None without fingerprints), "properties", "novelty", and what
        was judged: numbers, seed, versions, seconds, protocol}.
    """
    started = time.perf_counter()
    codes: list[CrystalCodes] = []
    if structures is None:
        codes, crystals = draw(generator, n, seed=seed, temperature=temperature)
    else:
        crystals = read_structures(structures)
    seconds = time.perf_counter() - started
    test = read_split(dataset, "test", data_dir=data_dir, limit=limit)
    judged = n_unique or (N_ONE_FORMULA if _one_formula(crystals) else len(crystals))
    coverage = None
    if n_fingerprints:
        truth = fingerprints(test.crystals, cache=cache, jobs=jobs)
        own = fingerprints(crystals[:n_fingerprints], cache=cache, jobs=jobs)
        coverage = set_distances(own, truth, dataset=dataset)
    return {
        "model": generator.name,
        "model_version": generator.version,
        "dataset": dataset,
        "n": len(crystals),
        "structures": None if structures is None else str(structures),
        "seed": seed,
        "temperature": temperature,
        "limit": limit,
        "validity": validity(crystals),
        "coverage": coverage,
        "properties": _properties(generator, crystals, codes, test.crystals, seed),
        "novelty": uniqueness_and_novelty(
            crystals[:judged],
            read_split(dataset, "train", data_dir=data_dir).crystals,
            jobs=jobs,
        ),
        "test_sha256": test.sha256,
        "versions": _versions(),
        "seconds_drawing": seconds,
        "seconds": time.perf_counter() - started,
        "protocol": PROTOCOL,
    }


def _one_formula(crystals: Sequence[Crystal]) -> bool:
    """Return whether all crystals have the same reduced formula."""
    return len(set(reduced_formulas(crystals))) == 1


def _properties(
    generator: Generator,
    crystals: Sequence[Crystal],
    codes: Sequence[CrystalCodes],
    truth: Sequence[Crystal],
    seed: int,
) -> dict[str, Any] | None:
    """Compare the properties of valid crystals with those of the test split."""
    neutral = [verdict.cdvae for verdict in compositional(crystals)]
    valid = np.flatnonzero(structural(crystals) & np.array(neutral))
    if not len(valid):
        return None
    if len(valid) > N_PROPERTIES:
        valid = np.sort(np.random.default_rng(seed).choice(valid, N_PROPERTIES, replace=False))
    encoded = generator.encode_crystals(truth)
    rows: list[int] = valid.tolist()
    return property_distances(
        generator,
        [crystals[i] for i in rows],
        [codes[i] for i in rows] if codes else [],
        truth,
        [c for c in encoded if isinstance(c, CrystalCodes)],
    )


def _versions() -> dict[str, str | None]:
    """Return the versions of the packages that the figures depend on."""
    found: dict[str, str | None] = {}
    for name in ("matminer", "pymatgen", "smact", "scipy", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # matminer is in the extra "metrics"
            found[name] = None
    return found
