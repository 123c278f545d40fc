"""Codes of a batch as the prior reads them: counts, slots and elements made explicit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from model.codes import CrystalCodes
from model.prior.tables import LOCAL_CODES, NO_SLOT, SPECIES_LEVELS, NetworkTables, two_levels


@dataclass(frozen=True)
class CodeArrays:
    """Codes of B crystals, padded with zeros to S species and N atoms.

    Attributes:
        n_species: (B,).
        counts: (B, S) atoms that take each species token.
        tokens: (B, S, 2) species tokens.
        elements: (B, S) atomic number of each token.
        slots: (B, N) species slot of each atom, ascending along the atoms.
        local: (B, N, 4) role and axis codes, in that order of atoms.
        crystal: (B, crystal levels).
    """

    n_species: Tensor
    counts: Tensor
    tokens: Tensor
    elements: Tensor
    slots: Tensor
    local: Tensor
    crystal: Tensor

    @classmethod
    def from_codes(cls, codes: Sequence[CrystalCodes], tables: NetworkTables) -> CodeArrays:
        """Read codes.

        Atoms are a set to the decoder: those whose role does not stand in the order of the
        species are brought into it.

        Raises:
            ValueError: if codes do not fit on the tables.
        """
        slots_max = max(c.n_species for c in codes)
        atoms_max = max(c.n_atoms for c in codes)
        _check_sizes(codes, tables)
        role_slot = tables.role_slot.tolist()
        zero_token, zero_atom = (0,) * SPECIES_LEVELS, (0,) * LOCAL_CODES
        tokens, local, slots = [], [], []
        for c in codes:
            table = role_slot[c.n_species - 1]
            taken = [table[atom[0]] for atom in c.local]
            order = sorted(range(c.n_atoms), key=taken.__getitem__)
            if taken[order[0]] == NO_SLOT:
                raise ValueError(f"an atom has a role code that stands for no atom: {c}")
            padding = atoms_max - c.n_atoms
            slots.append([taken[i] for i in order] + [0] * padding)
            local.append([c.local[i] for i in order] + [zero_atom] * padding)
            tokens.append([*map(two_levels, c.species)] + [zero_token] * (slots_max - c.n_species))
        n_species = torch.tensor([c.n_species for c in codes])
        n_atoms = torch.tensor([c.n_atoms for c in codes])
        slot = torch.tensor(slots)
        token = torch.tensor(tokens)
        real = torch.arange(atoms_max) < n_atoms[:, None]
        counts = torch.zeros(len(codes), slots_max, dtype=torch.int64)
        counts.scatter_add_(1, slot, real.long())
        used = torch.arange(slots_max) < n_species[:, None]
        element = tables.token_element[token[..., 0], token[..., 1]] * used
        return cls(
            n_species=n_species,
            counts=counts,
            tokens=token,
            elements=element,
            slots=slot,
            local=torch.tensor(local),
            crystal=torch.tensor([c.crystal for c in codes]),
        )

    def __len__(self) -> int:
        return len(self.n_species)

    @property
    def n_atoms(self) -> Tensor:
        """(B,) number of atoms."""
        return self.counts.sum(1)

    @property
    def present(self) -> Tensor:
        """(B, S) bool, True for used species slots."""
        return torch.arange(self.counts.shape[1]) < self.n_species[:, None]

    @property
    def mask(self) -> Tensor:
        """(B, N) bool, True for atoms."""
        return torch.arange(self.slots.shape[1]) < self.n_atoms[:, None]

    @property
    def complete(self) -> Tensor:
        """(B,) bool, True where every species token has an atom."""
        return ((self.counts > 0) | ~self.present).all(1)

    def select(self, rows: Tensor) -> CodeArrays:
        """Return some crystals, padded only as far as these need."""
        chosen = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        slots, atoms = int(chosen["n_species"].max()), int(chosen["counts"].sum(1).max())
        for name in ("counts", "tokens", "elements"):
            chosen[name] = chosen[name][:, :slots]
        for name in ("slots", "local"):
            chosen[name] = chosen[name][:, :atoms]
        return CodeArrays(**chosen)

    def with_species(self, tokens: Tensor, elements: Tensor) -> CodeArrays:
        """Return these crystals with other species tokens (B, S, 2) and their elements (B, S)."""
        return replace(self, tokens=tokens, elements=elements)

    def with_crystal(self, crystal: Tensor) -> CodeArrays:
        """Return these crystals with other crystal tokens (B, levels)."""
        return replace(self, crystal=crystal)

    def to_codes(self, species_levels: int = SPECIES_LEVELS) -> list[CrystalCodes]:
        """Return one `CrystalCodes` per row, without the padding.

        Args:
            species_levels: of the generator's species tokens.
        """
        rows = zip(
            self.tokens.tolist(),
            self.crystal.tolist(),
            self.local.tolist(),
            self.n_species.tolist(),
            self.n_atoms.tolist(),
        )
        return [
            CrystalCodes(
                species=tuple(tuple(token[:species_levels]) for token in tokens[:slots]),
                crystal=tuple(crystal),
                local=tuple(map(tuple, local[:atoms])),
            )
            for tokens, crystal, local, slots, atoms in rows
        ]


def _check_sizes(codes: Sequence[CrystalCodes], tables: NetworkTables) -> None:
    """Refuse codes that the tables have no entry for."""
    token_limit, second_limit = tables.token_element.shape
    roles = tables.role_slot.shape[1]
    axes, crystal = len(tables.axis_coordinate), int(tables.crystal_codes)
    for i, c in enumerate(codes):
        shape = (
            1 <= c.n_species <= tables.max_species
            and c.n_atoms <= int(tables.max_atoms)
            and len(c.species[0]) == tables.species_levels
            and len(c.local[0]) == LOCAL_CODES
            and len(c.crystal) == int(tables.crystal_levels)
        )
        if (
            not shape
            or max(token[0] for token in c.species) >= token_limit
            or max(two_levels(token)[1] for token in c.species) >= second_limit
            or max(atom[0] for atom in c.local) >= roles
            or max(max(atom[1:]) for atom in c.local) >= axes
            or max(c.crystal) >= crystal
        ):
            raise ValueError(f"codes {i} are not codes of the generator this prior belongs to: {c}")
