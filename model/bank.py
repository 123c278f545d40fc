"""The code bank: every training crystal as codes, from which bases and donors are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.codes import CrystalCodes
from model.zip_files import FAULTS

_PAD = -1
_PROPERTY_PREFIX = "property:"
_ARRAYS = ("ids", "formulas", "roles", "species", "crystal", "local")


class CorruptBank(ValueError):
    """A code bank file that cannot be what `CodeBank.save` wrote."""


class CodeBank:
    """Codes, formulas and properties of the crystals a generator was built from.

    Rows with role "train" were trained on; rows with role "val" never were: they are the
    held-out set against which new property heads are judged.

    Attributes:
        ids: (n,) identifiers of the data set.
        formulas: (n,) reduced formulas (pymatgen's).
        role: (n,) "train" or "val".
        properties: {"property@level": (n,) float array, NaN where there is no label}.
        n_species: (n,) number of species tokens.
        n_atoms: (n,) number of atoms.
    """

    def __init__(
        self,
        *,
        ids: Sequence[str],
        formulas: Sequence[str],
        role: Sequence[str],
        species: NDArray[np.integer],
        crystal: NDArray[np.integer],
        local: NDArray[np.integer],
        properties: Mapping[str, NDArray[np.floating]],
    ) -> None:
        """Wrap padded code arrays.

        Args:
            ids: (n,).
            formulas: (n,).
            role: (n,) of "train" | "val".
            species: (n, S, species levels), -1 where a crystal has fewer species.
            crystal: (n, crystal levels).
            local: (n, N, local levels), -1 where a crystal has fewer atoms.
            properties: name → (n,) values, NaN where missing.

        Raises:
            CorruptBank: if lengths differ or a role is unknown.
        """
        self.ids = np.asarray(ids, dtype=np.str_)
        self.formulas = np.asarray(formulas, dtype=np.str_)
        self.role = np.asarray(role, dtype=np.str_)
        self._species, self._crystal, self._local = species, crystal, local
        self.properties = {k: np.asarray(v, dtype=np.float64) for k, v in properties.items()}
        n = len(self.ids)
        columns = (self.formulas, self.role, species, crystal, local, *self.properties.values())
        if any(len(column) != n for column in columns):
            raise CorruptBank(f"code bank columns differ in length (ids: {n})")
        if species.ndim != 3 or crystal.ndim != 2 or local.ndim != 3:
            raise CorruptBank("code bank arrays do not have the shapes (n,S,l), (n,l), (n,N,l)")
        unknown = set(self.role.tolist()) - {"train", "val"}
        if unknown:
            raise CorruptBank(f"code bank roles must be train or val, got {sorted(unknown)}")
        self.n_species = (species[:, :, :1] != _PAD).any(axis=2).sum(axis=1)
        self.n_atoms = (local[:, :, 0] != _PAD).sum(axis=1)

    @classmethod
    def from_codes(
        cls,
        codes: Sequence[CrystalCodes],
        *,
        ids: Sequence[str],
        formulas: Sequence[str],
        role: Sequence[str],
        properties: Mapping[str, NDArray[np.floating]],
    ) -> CodeBank:
        """Build a bank from codes, padding them to the largest crystal."""
        if not codes:
            raise ValueError("a code bank needs at least one crystal")
        slots = max(c.n_species for c in codes)
        atoms = max(c.n_atoms for c in codes)
        levels = len(codes[0].species[0]) if slots else 0
        species = np.full((len(codes), slots, levels), _PAD, dtype=np.int16)
        crystal = np.zeros((len(codes), len(codes[0].crystal)), dtype=np.int16)
        local = np.full((len(codes), atoms, len(codes[0].local[0])), _PAD, dtype=np.int16)
        for i, c in enumerate(codes):
            species[i, : c.n_species] = c.species
            crystal[i] = c.crystal
            local[i, : c.n_atoms] = c.local
        return cls(
            ids=ids,
            formulas=formulas,
            role=role,
            species=species,
            crystal=crystal,
            local=local,
            properties=properties,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, index: int) -> CrystalCodes:
        """Return the codes of row `index`."""
        slots, atoms = int(self.n_species[index]), int(self.n_atoms[index])
        return CrystalCodes(
            species=tuple(map(tuple, self._species[index, :slots].tolist())),
            crystal=tuple(self._crystal[index].tolist()),
            local=tuple(map(tuple, self._local[index, :atoms].tolist())),
        )

    def global_genes(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return the global genes (n, G) of rows that have equally many species.

        Raises:
            ValueError: if their numbers of species differ.
        """
        slots = set(self.n_species[rows].tolist())
        if len(slots) > 1:
            raise ValueError(f"rows of {sorted(slots)} species have different numbers of genes")
        species = self._species[rows, : max(slots, default=0)].reshape(len(rows), -1)
        return np.concatenate([species, self._crystal[rows]], axis=1).astype(np.int64)

    def rows(self, role: str) -> NDArray[np.intp]:
        """Return the row numbers with a role ("train" or "val")."""
        return np.flatnonzero(self.role == role)

    def donors(self, codes: CrystalCodes) -> NDArray[np.intp]:
        """Return the training rows whose global genes fit on `codes`.

        A donor has as many species tokens as the base, so its genes can replace the base's one
        for one.
        """
        return np.flatnonzero((self.role == "train") & (self.n_species == codes.n_species))

    def save(self, path: Path) -> None:
        """Write a compressed npz without pickles."""
        columns = {
            "ids": np.char.encode(self.ids, "utf-8"),
            "formulas": np.char.encode(self.formulas, "utf-8"),
            "roles": np.char.encode(self.role, "utf-8"),
            "species": self._species.astype(np.int16),
            "crystal": self._crystal.astype(np.int16),
            "local": self._local.astype(np.int16),
        }
        for name, values in self.properties.items():
            columns[_PROPERTY_PREFIX + name] = values.astype(np.float32)
        with path.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **columns)

    @classmethod
    def load(cls, path: Path) -> CodeBank:
        """Read a bank written by `save`.

        Raises:
            CorruptBank: if the file is not a bank, lacks an array, or holds pickled objects.
        """
        try:
            return cls._read(path)
        except CorruptBank:
            raise
        except (*FAULTS, TypeError, AttributeError, MemoryError) as error:
            raise CorruptBank(f"{path} is not a readable code bank: {error!s:.300}") from error

    @classmethod
    def _read(cls, path: Path) -> CodeBank:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise CorruptBank(f"{path} lacks the arrays {missing}")
        properties = {
            name.removeprefix(_PROPERTY_PREFIX): values
            for name, values in arrays.items()
            if name.startswith(_PROPERTY_PREFIX)
        }
        return cls(
            ids=np.char.decode(arrays["ids"], "utf-8").tolist(),
            formulas=np.char.decode(arrays["formulas"], "utf-8").tolist(),
            role=np.char.decode(arrays["roles"], "utf-8").tolist(),
            species=arrays["species"],
            crystal=arrays["crystal"],
            local=arrays["local"],
            properties=properties,
        )
