"""Validation by matching, against networks whose reconstructions are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from model.data.canonical import canonical, crystal_from_structure
from model.training.validation import ValidationSet


class _Memory:
    """Stands for a network: decodes to arrays it was given, whatever it is asked."""

    def __init__(self, arrays: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        self.arrays = arrays

    def encode_to_codes(self, crystals: object) -> None:
        return None

    def decode_to_arrays(self, codes: None) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return self.arrays


def test_match_rate_and_rms_are_those_of_the_matcher(perovskites: list[Structure]) -> None:
    crystals = [crystal_from_structure(s) for s in perovskites[:4]]
    exact, moved, swapped, broken = (canonical(c) for c in crystals)
    shift = np.random.default_rng(0).normal(0, 0.02, moved.frac.shape)
    network = _Memory(
        [
            (exact.numbers, exact.frac, exact.cell),
            (moved.numbers, moved.frac + shift, moved.cell),
            (swapped.numbers + 1, swapped.frac, swapped.cell),
            (broken.numbers, broken.frac, np.array([4.0, 4.0, 4.0, 170.0, 170.0, 10.0])),
        ]
    )
    result = ValidationSet(crystals, torch.device("cpu")).measure(network)  # type: ignore[arg-type]
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    decoded = Structure(perovskites[1].lattice, moved.numbers, moved.frac + shift)
    expected, _ = matcher.get_rms_dist(decoded, perovskites[1])
    assert expected > 0.005
    assert (result.n, result.match_rate) == (4, 0.5)
    assert result.rms == pytest.approx(expected / 2, rel=1e-3)


def test_no_match_has_no_rms(perovskites: list[Structure]) -> None:
    crystal = crystal_from_structure(perovskites[0])
    network = _Memory([(crystal.numbers + 1, crystal.frac, crystal.cell)])
    result = ValidationSet([crystal], torch.device("cpu")).measure(network)  # type: ignore[arg-type]
    assert (result.match_rate, result.rms) == (0.0, None)
