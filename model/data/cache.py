"""Canonical crystals and their tensors, computed once and kept in files named by their content."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.data.canonical import CanonicalCrystal, Crystal, canonical
from model.data.table import CrystalTable, crystals_hash
from model.data.tensors import CrystalTensors

CANONICAL_VERSION = 2
"""Version of the canonical form and of the distances; a new one makes every cached file stale."""

_log = logging.getLogger(__name__)
_TENSORS = tuple(field.name for field in fields(CrystalTensors))


def cached_tensors(
    table: CrystalTable, rows: Sequence[int], cache_dir: Path | None
) -> CrystalTensors:
    """Return the canonical tensors of some rows of a table.

    Args:
        table: crystals as read.
        rows: row numbers, in the order wanted.
        cache_dir: folder of cached files, made if needed; None computes without a cache.

    Returns:
        Tensors of len(rows) crystals, on the CPU; the same bits with and without a cache.

    Raises:
        ValueError: if `rows` is empty.
        OSError: if the folder cannot be made or written.
    """
    return cached_crystals([table.crystals[i] for i in rows], cache_dir)[1]


def cached_crystals(
    crystals: Sequence[Crystal], cache_dir: Path | None
) -> tuple[list[CanonicalCrystal], CrystalTensors]:
    """Return crystals in canonical form, and as tensors.

    A file is named by the SHA-256 of the crystals' arrays and `CANONICAL_VERSION`, so whatever
    source the same crystals come from, they share it; a damaged file is rebuilt with a warning.
    Files are written under another name and moved, so processes may do this at the same time.

    Args:
        crystals: in the order wanted, at least one.
        cache_dir: see `cached_tensors`.

    Raises:
        ValueError: if there are no crystals.
        OSError: if the folder cannot be made or written.
    """
    if not crystals:
        raise ValueError("no crystals to make tensors of")
    if cache_dir is None:
        return _compute(crystals)
    key = content_hash(crystals)
    path = cache_dir / f"{key}.safetensors"
    if path.is_file():
        try:
            return _load(path, key, crystals)
        except (SafetensorError, ValueError, OSError) as error:
            _log.warning("cached tensors %s are damaged (%s) and are made anew", path, error)
    forms, tensors = _compute(crystals)
    _store(path, key, forms, tensors)
    return forms, tensors


def content_hash(crystals: Sequence[Crystal]) -> str:
    """Return the SHA-256 of crystals' atoms, coordinates, cells and order, and of the version."""
    text = f"canonical {CANONICAL_VERSION} {crystals_hash(crystals)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _compute(crystals: Sequence[Crystal]) -> tuple[list[CanonicalCrystal], CrystalTensors]:
    forms = [canonical(crystal) for crystal in crystals]
    return forms, CrystalTensors.from_canonical(forms)


def _checksum(arrays: dict[str, NDArray[np.generic]]) -> str:
    """Return the SHA-256 of a file's arrays: a flipped bit must not become training data."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _store(
    path: Path, key: str, forms: Sequence[CanonicalCrystal], tensors: CrystalTensors
) -> None:
    """Write a cache file in one step."""
    arrays = {name: getattr(tensors, name).numpy() for name in _TENSORS}
    # Tensors hold float32 coordinates and pad them; the crystals themselves are float64.
    arrays["crystal_frac"] = np.concatenate([form.frac for form in forms])
    metadata = {"key": key, "checksum": _checksum(arrays)}
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(save(arrays, metadata))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _load(
    path: Path, key: str, crystals: Sequence[Crystal]
) -> tuple[list[CanonicalCrystal], CrystalTensors]:
    """Read a cache file.

    Raises:
        SafetensorError, ValueError, OSError: if it is not what was written for these crystals.
    """
    with safe_open(path, framework="numpy") as stream:
        metadata = stream.metadata() or {}
        if metadata.get("key") != key:
            raise ValueError("it belongs to other crystals")
        if set(stream.keys()) != {*_TENSORS, "crystal_frac"}:
            raise ValueError(f"it holds {sorted(stream.keys())}")
        arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    if metadata.get("checksum") != _checksum(arrays):
        raise ValueError("its content does not fit its checksum")
    tensors = CrystalTensors(**{name: torch.from_numpy(arrays[name]) for name in _TENSORS})
    forms = []
    start = 0
    for crystal, numbers, ranks in zip(crystals, arrays["numbers"], arrays["ranks"]):
        n = len(crystal.numbers)
        forms.append(
            CanonicalCrystal(
                numbers=numbers[:n],
                frac=arrays["crystal_frac"][start : start + n],
                cell=crystal.cell,
                ranks=ranks[:n],
            )
        )
        start += n
    return forms, tensors
