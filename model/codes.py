"""The codes of one crystal: what the generator stores and what the search moves through."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CrystalCodes:
    """A crystal as integers: global genes (chemistry and cell) and local codes (geometry).

    Species tokens are ordered by electronegativity rank of the element they stand for; local
    codes are in the canonical order of the atoms (`model.data.canonical`). Which values are allowed
    is the generator's knowledge: see `Generator.gene_sizes`.

    Attributes:
        species: (S, species levels), one token per distinct element; empty in generators whose
            global codes are not split by element (`architecture: vqcrystal`).
        crystal: (crystal levels,), the cell beyond what species and roles already say.
        local: (N, local levels) per atom: role, axis a, axis b, axis c; or the levels of one
            residual quantiser.
    """

    species: tuple[tuple[int, ...], ...]
    crystal: tuple[int, ...]
    local: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        species = tuple(tuple(int(g) for g in token) for token in self.species)
        crystal = tuple(int(g) for g in self.crystal)
        local = tuple(tuple(int(g) for g in atom) for atom in self.local)
        if not local or not (species or crystal):
            raise ValueError("crystal codes need at least one global code and one atom")
        if len({len(token) for token in species}) > 1:
            raise ValueError(f"species tokens differ in their number of levels: {species}")
        if len({len(atom) for atom in local}) != 1:
            raise ValueError(f"atoms differ in their number of local codes: {local}")
        for value in (g for group in (*species, crystal, *local) for g in group):
            if value < 0:
                raise ValueError(f"codes are indices from 0 on, got {value}")
        object.__setattr__(self, "species", species)
        object.__setattr__(self, "crystal", crystal)
        object.__setattr__(self, "local", local)

    def __hash__(self) -> int:  # computed once: a search looks the same codes up many times
        known = self.__dict__.get("_hash")
        if known is None:
            known = hash((self.species, self.crystal, self.local))
            object.__setattr__(self, "_hash", known)
        return known

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.local)

    @property
    def n_species(self) -> int:
        """Number of species tokens (distinct elements of the crystal that was encoded)."""
        return len(self.species)

    @property
    def global_genes(self) -> tuple[int, ...]:
        """The searched genes: species tokens flattened, then the crystal token."""
        return tuple(g for token in self.species for g in token) + self.crystal

    def with_global_genes(self, genes: Sequence[int]) -> CrystalCodes:
        """Return these codes with other global genes and the same local codes.

        Args:
            genes: as many integers as `global_genes` has, in the same order.

        Raises:
            ValueError: if the number of genes differs or one is negative.
        """
        expected = len(self.global_genes)
        if len(genes) != expected:
            raise ValueError(f"these codes have {expected} global genes, got {len(genes)}")
        levels = len(self.species[0]) if self.species else 0
        flat = [int(g) for g in genes]
        cut = self.n_species * levels
        species = tuple(tuple(flat[i : i + levels]) for i in range(0, cut, levels or 1))
        return CrystalCodes(species=species, crystal=tuple(flat[cut:]), local=self.local)

    def with_many_global_genes(self, genes: Sequence[Sequence[int]]) -> list[CrystalCodes]:
        """Return one copy of these codes for each row of global genes.

        What `with_global_genes` returns for each, without checking the local codes again: a search
        makes thousands of crystals that share them.

        Args:
            genes: rows of as many plain integers as `global_genes` has, in the same order.

        Raises:
            ValueError: if the number of genes differs or one is negative.
        """
        expected, levels = len(self.global_genes), len(self.species[0]) if self.species else 1
        cut = expected - len(self.crystal)
        made = []
        for row in genes:
            if len(row) != expected:
                raise ValueError(f"these codes have {expected} global genes, got {len(row)}")
            if min(row) < 0:
                raise ValueError(f"codes are indices from 0 on, got {min(row)}")
            flat = tuple(row)
            codes = object.__new__(CrystalCodes)
            tokens = tuple(flat[i : i + levels] for i in range(0, cut, levels))
            object.__setattr__(codes, "species", tokens)
            object.__setattr__(codes, "crystal", flat[cut:])
            object.__setattr__(codes, "local", self.local)
            made.append(codes)
        return made

    def record(self) -> dict[str, Any]:
        """Return plain lists, ready for JSON or a database."""
        return {
            "species": [list(token) for token in self.species],
            "crystal": list(self.crystal),
            "local": [list(atom) for atom in self.local],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CrystalCodes:
        """Rebuild codes from `record()`.

        Raises:
            ValueError: if a part is missing or malformed.
        """
        missing = {"species", "crystal", "local"} - set(record)
        if missing:
            raise ValueError(f"codes record lacks {sorted(missing)}")
        return cls(
            species=tuple(tuple(token) for token in record["species"]),
            crystal=tuple(record["crystal"]),
            local=tuple(tuple(atom) for atom in record["local"]),
        )

    def digest(self) -> str:
        """Return the sha256 (hex) of the codes, independent of process and platform."""
        text = json.dumps(self.record(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
