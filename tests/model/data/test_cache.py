"""The cache of canonical tensors: the same bits as computing, and no trust in damaged files."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data import cache
from model.data.cache import cached_crystals, cached_tensors, content_hash
from model.data.canonical import CanonicalCrystal, Crystal, canonical
from model.data.dataset import CrystalTable
from model.data.tensors import CrystalTensors


def _crystals(count: int, seed: int = 0) -> list[Crystal]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, count)
    return [
        Crystal(
            numbers=rng.choice([8, 22, 38], n),
            frac=rng.random((n, 3)),
            cell=np.concatenate([rng.uniform(3, 8, 3), rng.uniform(70, 110, 3)]),
        )
        for n in sizes
    ]


def _table(crystals: list[Crystal]) -> CrystalTable:
    names = [str(i) for i in range(len(crystals))]
    return CrystalTable(names, names, crystals, labels={}, sha256="", skipped=[])


def _assert_same(
    result: tuple[list[CanonicalCrystal], CrystalTensors], crystals: list[Crystal]
) -> None:
    forms = [canonical(crystal) for crystal in crystals]
    tensors = CrystalTensors.from_canonical(forms)
    for field in fields(CrystalTensors):
        assert torch.equal(getattr(result[1], field.name), getattr(tensors, field.name))
    assert len(result[0]) == len(forms)
    for form, expected in zip(result[0], forms):
        for field in fields(CanonicalCrystal):
            value, wanted = getattr(form, field.name), getattr(expected, field.name)
            assert value.dtype == wanted.dtype
            np.testing.assert_array_equal(value, wanted)


def _no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(crystal: Crystal) -> CanonicalCrystal:
        raise AssertionError(f"computed {crystal} again")

    monkeypatch.setattr(cache, "canonical", refuse)


def test_second_read_gives_the_same_bits_without_computing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crystals = _crystals(9)
    _assert_same(cached_crystals(crystals, tmp_path / "new"), crystals)
    _no_computing(monkeypatch)
    result = cached_crystals(crystals, tmp_path / "new")
    monkeypatch.undo()
    _assert_same(result, crystals)


def test_rows_are_chosen_in_their_order(tmp_path: Path) -> None:
    crystals = _crystals(5)
    for folder in (None, tmp_path, tmp_path):
        tensors = cached_tensors(_table(crystals), [3, 1], folder)
        expected = CrystalTensors.from_canonical([canonical(crystals[i]) for i in (3, 1)])
        assert torch.equal(tensors.distances, expected.distances)
    with pytest.raises(ValueError, match="no crystals"):
        cached_tensors(_table(crystals), [], tmp_path)


def test_any_change_of_the_crystals_is_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _crystals(2)
    moved = Crystal(first.numbers, first.frac + 1e-12, first.cell)
    other = Crystal(first.numbers + 1, first.frac, first.cell)
    wider = Crystal(first.numbers, first.frac, first.cell + 1e-9)
    lists = [[first], [moved], [other], [wider], [first, second], [second, first]]
    hashes = {content_hash(crystals) for crystals in lists}
    monkeypatch.setattr(cache, "CANONICAL_VERSION", cache.CANONICAL_VERSION + 1)
    hashes |= {content_hash(crystals) for crystals in lists}
    assert len(hashes) == 2 * len(lists)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other", "text"])
def test_a_damaged_file_is_rebuilt_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    crystals, others = _crystals(4), _crystals(4, seed=1)
    cached_crystals(crystals, tmp_path)
    path = tmp_path / f"{content_hash(crystals)}.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
    elif damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    elif damage == "other":  # a valid file of other crystals under this name
        cached_crystals(others, tmp_path)
        content = bytearray((tmp_path / f"{content_hash(others)}.safetensors").read_bytes())
    else:
        content = bytearray(b"not safetensors at all")
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        _assert_same(cached_crystals(crystals, tmp_path), crystals)
    assert "made anew" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        _assert_same(cached_crystals(crystals, tmp_path), crystals)
    assert not caplog.text


def test_concurrent_writers_leave_one_good_file(tmp_path: Path) -> None:
    crystals = _crystals(30)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: cached_crystals(crystals, tmp_path), range(8)))
    for result in results:
        _assert_same(result, crystals)
    assert [path.name for path in tmp_path.iterdir()] == [f"{content_hash(crystals)}.safetensors"]


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(cache.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        cached_crystals(_crystals(3), tmp_path)
    assert list(tmp_path.iterdir()) == []
