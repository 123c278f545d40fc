"""Fingerprints: matminer's own numbers, failures with reasons, a cache that can be cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matminer.featurizers.site.fingerprint import CrystalNNFingerprint

from model.data.canonical import Crystal, structure_from_arrays
from model.metrics import fingerprints as module
from model.metrics.fingerprints import (
    CorruptFingerprints,
    FingerprintCache,
    crystal_hash,
    fingerprint,
    fingerprints,
)

_CELL = np.array([3.9, 3.9, 4.1, 90.0, 90.0, 90.0])
_PEROVSKITE = Crystal(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0.02], [0.5, 0, 0.52], [0, 0.5, 0.52]]),
    _CELL,
)


def test_the_structure_fingerprint_is_the_mean_over_all_sites() -> None:
    structure, _ = structure_from_arrays(_PEROVSKITE.numbers, _PEROVSKITE.frac, _PEROVSKITE.cell)
    sites = CrystalNNFingerprint.from_preset("ops")
    expected = np.mean([sites.featurize(structure, i) for i in range(5)], axis=0)
    found = fingerprint(_PEROVSKITE)
    assert found.reason is None
    assert found.structure == pytest.approx(expected, abs=1e-6)
    assert found.composition is not None
    assert found.composition[:3] == pytest.approx([8, 38, 30])  # least, largest Z, range


def test_what_has_no_fingerprint_says_why() -> None:
    no_cell = Crystal(np.array([6]), np.zeros((1, 3)), np.array([4, 4, 4, 20, 20, 160.0]))
    assert "no cell" in (fingerprint(no_cell).reason or "")


def test_the_hash_is_that_of_the_content() -> None:
    moved = Crystal(_PEROVSKITE.numbers, _PEROVSKITE.frac + 1e-4, _CELL)
    jittered = Crystal(_PEROVSKITE.numbers, _PEROVSKITE.frac + 1e-9, _CELL)
    assert crystal_hash(jittered) == crystal_hash(_PEROVSKITE) != crystal_hash(moved)


def test_nothing_is_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Crystal] = []

    def counted(crystal: Crystal) -> module.Fingerprint:
        calls.append(crystal)
        if crystal.numbers[0] == 1:
            return module.Fingerprint(None, None, "hydrogen")
        return module.Fingerprint(np.full(61, float(crystal.numbers[0])), np.full(132, np.nan))

    monkeypatch.setattr(module, "fingerprint", counted)
    crystals = [Crystal(np.array([z]), np.zeros((1, 3)), _CELL) for z in (1, 2, 3, 2)]
    first = fingerprints(crystals, cache=tmp_path)
    again = fingerprints(crystals[::-1], cache=tmp_path)
    assert len(calls) == 3
    assert [f.reason for f in first] == ["hydrogen", None, None, None]
    assert [f.reason for f in again] == [None, None, None, "hydrogen"]
    assert again[1].structure == pytest.approx(np.full(61, 3.0))
    assert np.isnan(again[1].composition).all()  # type: ignore[arg-type]


def test_a_cut_loses_only_what_was_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAVE_EVERY", 2)
    cache = FingerprintCache(tmp_path)
    for key in ("a" * 64, "b" * 64, "c" * 64):
        cache.add(key, module.Fingerprint(np.zeros(61), np.zeros(132)))
    assert len(FingerprintCache(tmp_path)) == 2
    assert list(tmp_path.glob("*.partial")) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    fingerprints([_PEROVSKITE], cache=tmp_path)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(CorruptFingerprints, match=file.name):
        FingerprintCache(tmp_path)
