"""Figures and spreads against brute-force versions."""

from __future__ import annotations

import random

import numpy as np
import pytest

from agents.compare.figures import figures_of, hits_along, spread


def _record(seed: int, n: int = 300) -> dict:
    rng = random.Random(seed)
    energies = [None if rng.random() < 0.1 else round(rng.uniform(-2, 2), 6) for _ in range(n)]
    return {
        "formulas": [None if e is None else f"X{rng.randrange(80)}" for e in energies],
        "formation_energies": energies,
        "neutral": [int(e is not None and rng.random() < 0.7) for e in energies],
        "refused": {"volume": sum(e is None for e in energies)},
        "crystals": [None if e is None or e >= 0 else rng.randrange(90) for e in energies],
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "seconds_without_potential": 0.5,
        "cpu_seconds_without_potential": 0.5,
    }


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_a_loop_over_the_evaluations(seed: int) -> None:
    record = _record(seed)
    found: dict[float, set[str]] = {0.0: set(), -0.5: set()}
    along, best = [], 99.0
    for i, energy in enumerate(record["formation_energies"]):
        for limit, formulas in found.items():
            if record["neutral"][i] and energy is not None and energy < limit:
                formulas.add(record["formulas"][i])
        if record["neutral"][i] and energy is not None:
            best = min(best, energy)
        along.append(len(found[0.0]))
    figures = figures_of(record)
    assert figures["hits"] == len(found[0.0])
    assert figures["hits_below_-0.5"] == len(found[-0.5])
    assert figures["best"] == best
    assert hits_along(record) == along
    assert figures["distinct_crystals"] == len(set(record["crystals"]) - {None})


def test_an_empty_harvest_has_no_best() -> None:
    record = _record(0) | {"neutral": [0] * 300}
    figures = figures_of(record)
    assert (figures["hits"], figures["best"]) == (0, None)


def test_deviations_are_over_seeds_of_the_means_over_bases_and_the_other_way() -> None:
    hits = np.array([[10.0, 14.0, 12.0], [30.0, 31.0, 20.0]])  # base, seed
    runs = {(b, s): {"hits": hits[b, s], "best": None} for b in range(2) for s in range(3)}
    found = spread(runs)["hits"]
    assert found["mean"] == pytest.approx(hits.mean())
    assert found["sd"] == pytest.approx(hits.mean(0).std(ddof=1))
    assert found["sd_bases"] == pytest.approx(hits.mean(1).std(ddof=1))
    assert spread(runs)["best"] == {"mean": None, "sd": None, "sd_bases": None}
    one = spread({(0, 0): {"hits": 3.0}})["hits"]
    assert one == {"mean": 3.0, "sd": None, "sd_bases": None}
