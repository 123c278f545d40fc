"""Codes of a batch as padded index tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.codes import CrystalCodes

PAD = -1


@dataclass(frozen=True)
class CodeIndices:
    """Codes of B crystals.

    Attributes:
        species: (B, S, species levels), -1 in unused slots.
        crystal: (B, crystal levels).
        local: (B, N, local levels), -1 for padding.
    """

    species: Tensor
    crystal: Tensor
    local: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, N) bool, True for atoms."""
        return self.local[:, :, 0] != PAD

    @property
    def present(self) -> Tensor:
        """(B, S) bool, True for used species slots."""
        return (self.species[:, :, :1] != PAD).any(-1)

    @classmethod
    def from_codes(cls, codes: Sequence[CrystalCodes], max_species: int) -> CodeIndices:
        """Pad codes to `max_species` slots and to the largest cell among them."""
        levels = len(codes[0].species[0]) if codes[0].species else 0
        atoms = max(c.n_atoms for c in codes)
        no_token, no_atom = ((PAD,) * levels,), ((PAD,) * len(codes[0].local[0]),)
        return cls(
            species=torch.tensor(
                [c.species + no_token * (max_species - c.n_species) for c in codes],
                dtype=torch.int64,
            ).view(len(codes), max_species, levels),
            crystal=torch.tensor([c.crystal for c in codes]),
            local=torch.tensor([c.local + no_atom * (atoms - c.n_atoms) for c in codes]),
        )

    def to_codes(self) -> list[CrystalCodes]:
        """Return one `CrystalCodes` per row, without the padding."""
        slots, atoms = self.present.sum(1).tolist(), self.mask.sum(1).tolist()
        rows = zip(self.species.tolist(), self.crystal.tolist(), self.local.tolist(), slots, atoms)
        return [
            CrystalCodes(
                species=tuple(map(tuple, species[:n_slots])),
                crystal=tuple(crystal),
                local=tuple(map(tuple, local[:n_atoms])),
            )
            for species, crystal, local, n_slots, n_atoms in rows
        ]
