"""Fingerprints of crystals that generated sets are compared by, cached on disk.

Structure: mean over the sites of matminer's CrystalNNFingerprint ("ops", Zimmermann and Jain 2020,
doi 10.1039/C9RA07755C). Composition: matminer's ElementProperty ("magpie", Ward et al. 2016,
doi 10.1038/npjcompumats.2016.28). Both as in CDVAE (Xie et al. 2022, arXiv 2110.06197).
"""

from __future__ import annotations

import hashlib
import importlib.util
import multiprocessing
import os
import uuid
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.canonical import Crystal, structure_from_arrays

N_STRUCTURE, N_COMPOSITION = 61, 132
_SAVE_EVERY = 200  # crystals: what a cut can lose


class MissingMatminer(ImportError):
    """The package that makes the fingerprints is not installed."""


class CorruptFingerprints(ValueError):
    """A file of the fingerprint cache that is not what this module wrote."""


@dataclass(frozen=True)
class Fingerprint:
    """The fingerprints of one crystal, or why it has none.

    Attributes:
        structure: (61,) mean CrystalNN site fingerprint, None after a failure.
        composition: (132,) Magpie statistics, NaN where an element lacks a property; None after a
            failure.
        reason: of the failure, else None.
    """

    structure: NDArray[np.float64] | None
    composition: NDArray[np.float64] | None
    reason: str | None = None


def crystal_hash(crystal: Crystal) -> str:
    """Return the sha256 (hex) of a crystal's arrays, coordinates and cell to 1e-6."""
    digest = hashlib.sha256()
    digest.update(crystal.numbers.astype("<i8").tobytes())
    for values in (crystal.frac, crystal.cell):
        digest.update(np.rint(np.nan_to_num(values) * 1e6).astype("<i8").tobytes())
    return digest.hexdigest()


def versions() -> str:
    """Return what the fingerprints depend on besides the crystal, as part of a file name.

    Raises:
        MissingMatminer: if the extra "metrics" is not installed.
    """
    if importlib.util.find_spec("matminer") is None:
        raise MissingMatminer("fingerprints need matminer: install discovery[metrics]")
    return f"matminer{version('matminer')}-pymatgen{version('pymatgen')}"


@lru_cache(maxsize=1)
def _featurizers() -> tuple[Any, Any]:
    """Return matminer's site and composition featurizers, made once per process."""
    from matminer.featurizers.composition.composite import ElementProperty
    from matminer.featurizers.site.fingerprint import CrystalNNFingerprint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        magpie = ElementProperty.from_preset("magpie", impute_nan=False)
        return CrystalNNFingerprint.from_preset("ops"), magpie


def fingerprint(crystal: Crystal) -> Fingerprint:
    """Compute both fingerprints of a crystal (about 22 ms a site)."""
    structure, error = structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)
    if structure is None:
        return Fingerprint(None, None, error)
    sites, magpie = _featurizers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            orbit, multiplicity = _orbits(crystal, structure.lattice.matrix)
            rows = np.array([sites.featurize(structure, int(i)) for i in orbit])
            mean = (rows * multiplicity[:, None]).sum(0) / multiplicity.sum()
            composition = np.asarray(magpie.featurize(structure.composition), dtype=np.float64)
        # Voronoi and order parameters fail in ways of their own on broken geometries; CDVAE counts
        # all of them as "no fingerprint", and so it is said here.
        except Exception as failure:  # noqa: BLE001
            return Fingerprint(None, None, f"{type(failure).__name__}: {failure}"[:200])
    if not np.isfinite(mean).all():
        return Fingerprint(None, None, "the structure fingerprint is not finite")
    return Fingerprint(np.asarray(mean, dtype=np.float64), composition)


def _orbits(
    crystal: Crystal, matrix: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return one atom of each set of equivalent atoms, and the sizes of the sets.

    Equivalent atoms (to 1e-3 Å) have the same surroundings, so one of them is enough: on MP-20 a
    third of the work, and the mean moves by less than 2e-4 (cut-offs are 0.2 and 0.4).
    """
    import spglib

    cell = (matrix.tolist(), crystal.frac.tolist(), crystal.numbers.tolist())
    symmetry = spglib.get_symmetry_dataset(cell, symprec=1e-3)
    if symmetry is None:  # no symmetry found, not even the identity: atoms too close
        alone = np.arange(len(crystal.numbers))
        return alone, np.ones_like(alone)
    atoms, counts = np.unique(symmetry.equivalent_atoms, return_counts=True)
    return atoms.astype(np.int64), counts


class FingerprintCache:
    """Fingerprints by crystal hash in a directory of npz files, safe to share between processes.

    Every process adds files of its own and never touches those of others; all are read.
    """

    def __init__(self, directory: Path) -> None:
        """Read what the directory holds for the installed versions.

        Raises:
            CorruptFingerprints: if one of its files cannot be read.
        """
        self.directory = directory
        self._stem = f"fingerprints-{versions()}"
        self._known: dict[str, Fingerprint] = {}
        self._unsaved: dict[str, Fingerprint] = {}
        directory.mkdir(parents=True, exist_ok=True)
        for path in sorted(directory.glob(f"{self._stem}-*.npz")):
            self._known.update(_read(path))

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Fingerprint | None:
        """Return the fingerprint of a crystal hash, None if it is not there."""
        return self._known.get(key)

    def add(self, key: str, value: Fingerprint) -> None:
        """Keep a fingerprint; it reaches the disk with `save` or after a few hundred more."""
        self._known[key] = self._unsaved[key] = value
        if len(self._unsaved) >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write what is new into a file of its own."""
        if not self._unsaved:
            return
        keys, values = list(self._unsaved), list(self._unsaved.values())
        path = self.directory / f"{self._stem}-{uuid.uuid4().hex}.npz"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez_compressed(
                stream,
                allow_pickle=False,
                keys=np.asarray(keys, dtype="S64"),
                structure=_stacked([v.structure for v in values], N_STRUCTURE),
                composition=_stacked([v.composition for v in values], N_COMPOSITION),
                reasons=np.char.encode([v.reason or "" for v in values], "utf-8"),
            )
        os.replace(partial, path)
        self._unsaved.clear()


def fingerprints(
    crystals: Sequence[Crystal], *, cache: Path | None = None, jobs: int = 1
) -> list[Fingerprint]:
    """Return the fingerprints of crystals, in their order, computing only what is not cached.

    Args:
        crystals: any.
        cache: directory of the cache; None keeps nothing.
        jobs: processes.
    """
    keys = [crystal_hash(crystal) for crystal in crystals]
    store = None if cache is None else FingerprintCache(cache)
    found: dict[str, Fingerprint] = {}
    missing: dict[str, Crystal] = {}
    for key, crystal in zip(keys, crystals):
        known = None if store is None else store.get(key)
        if known is None:
            missing[key] = crystal
        else:
            found[key] = known
    for key, value in zip(missing, _computed(list(missing.values()), jobs)):
        found[key] = value
        if store is not None:
            store.add(key, value)
    if store is not None:
        store.save()
    return [found[key] for key in keys]


def _computed(crystals: list[Crystal], jobs: int) -> Iterator[Fingerprint]:
    """Yield the fingerprints in order, as they come."""
    if jobs <= 1 or len(crystals) < 2 * jobs:
        yield from map(fingerprint, crystals)
        return
    # A forked copy of a process that has used torch's threads can hang: start clean ones.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(fingerprint, crystals, chunksize=8)


def _stacked(rows: list[NDArray[np.float64] | None], width: int) -> NDArray[np.float64]:
    """Return the rows as one array, failures as NaN."""
    blank = np.full(width, np.nan)
    return np.stack([blank if row is None else row for row in rows])


def _read(path: Path) -> dict[str, Fingerprint]:
    """Read one file of the cache."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys = archive["keys"].astype(str)
            structure, composition = archive["structure"], archive["composition"]
            reasons = np.char.decode(archive["reasons"], "utf-8")
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise CorruptFingerprints(f"{path} is damaged ({error}); delete it") from error
    return {
        str(key): Fingerprint(None, None, str(reason)) if reason else Fingerprint(s, c)
        for key, s, c, reason in zip(keys, structure, composition, reasons)
    }
