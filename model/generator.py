"""A trained generator: crystals to codes, codes to crystals, codes to property features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from model.bank import CodeBank
from model.checkpoint import load_checkpoint, resolve_checkpoint
from model.codes import CrystalCodes
from model.data.canonical import Crystal, canonical, crystal_from_structure, structure_from_arrays
from model.data.tensors import CrystalTensors
from model.errors import UnencodableCrystal
from model.networks.indices import CodeIndices
from model.networks.network import CodeNetwork
from model.prior.code_prior import CodePrior
from model.property.descriptors import property_inputs
from model.property.head import PropertyHead

if TYPE_CHECKING:
    from pymatgen.core import Structure

_CHUNK = 1024  # crystals per forward pass: bounds the memory of the pair features


@dataclass(frozen=True)
class EncodingError:
    """Why one crystal of a batch could not be encoded."""

    reason: str


@dataclass(frozen=True)
class Decoded:
    """A decoded crystal, or why its cell cannot be built (exactly one of the two is None)."""

    structure: Structure | None
    error: str | None = None


class Generator:
    """A loaded, frozen checkpoint.

    Life: `load` once per process; then `encode`, `decode`, `features` any number of times with
    batches of any size. Nothing here changes the weights; a new property head is a new object
    (`PropertyHead.with_target`, `model.property.head_training.fit_head`).

    Attributes:
        name: name of the checkpoint, e.g. "perov5".
        version: 12 hex digits over weights, bank and configuration, without the head
            (`model.checkpoint.generator_version`).
        card: configuration, data hashes, metrics, seed, versions.
        bank: codes of the training (and held-out validation) crystals.
        head: the shipped property head.
        prior: over the codes; None where the checkpoint has none.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        card: dict[str, Any],
        model: CodeNetwork,
        bank: CodeBank,
        head: PropertyHead,
        prior: CodePrior | None = None,
    ) -> None:
        """Wrap the parts of a checkpoint; use `Generator.load`."""
        self.name, self.version, self.card = name, version, card
        self.bank, self.head, self.prior = bank, head, prior
        self.model = model.eval().requires_grad_(False)
        self.elements = frozenset(card["elements"])
        self.min_atoms, self.max_atoms = card["atom_counts"]

    @classmethod
    def load(cls, name_or_path: str | Path) -> Generator:
        """Load a checkpoint by name ("perov5") or by directory.

        Raises:
            MissingCheckpoint: if there is none; the message lists the names that exist.
            CorruptCheckpoint: if its files are damaged or do not belong together.
        """
        checkpoint = load_checkpoint(resolve_checkpoint(name_or_path))
        return cls(
            name=checkpoint.card["name"],
            version=checkpoint.version,
            card=checkpoint.card,
            model=checkpoint.model,
            bank=checkpoint.bank,
            head=checkpoint.head,
            prior=checkpoint.prior,
        )

    def encode(self, structures: Sequence[Structure]) -> list[CrystalCodes | EncodingError]:
        """Turn structures into codes, in the order given.

        Args:
            structures: ordered pymatgen structures (no partial occupancies).

        Returns:
            Per structure its codes, or an `EncodingError` saying why it cannot be encoded; the
            others of the batch are not affected.
        """
        crystals: list[Crystal | EncodingError] = []
        for structure in structures:
            try:
                crystals.append(crystal_from_structure(structure))
            except UnencodableCrystal as error:
                crystals.append(EncodingError(str(error)))
        return self.encode_crystals(crystals)

    @torch.inference_mode()
    def encode_crystals(
        self, crystals: Sequence[Crystal | EncodingError]
    ) -> list[CrystalCodes | EncodingError]:
        """Turn crystals into codes; errors among them are passed through.

        See `encode` for the return value.
        """
        result: list[CrystalCodes | EncodingError] = []
        accepted: list[Crystal] = []
        where: list[int] = []
        for i, crystal in enumerate(crystals):
            error = crystal if isinstance(crystal, EncodingError) else self._refusal(crystal)
            if error is None:
                accepted.append(crystal)  # type: ignore[arg-type]
                where.append(i)
            result.append(error or EncodingError("not encoded"))
        for start in range(0, len(accepted), _CHUNK):
            part = accepted[start : start + _CHUNK]
            tensors = CrystalTensors.from_canonical([canonical(c) for c in part])
            codes = self.model.encode_to_codes(tensors).to_codes()
            for i, c in zip(where[start : start + _CHUNK], codes):
                result[i] = c
        return result

    def _refusal(self, crystal: Crystal) -> EncodingError | None:
        """Return why this checkpoint cannot encode the crystal, or None."""
        n, kinds = len(crystal.numbers), set(crystal.numbers.tolist())
        if not self.min_atoms <= n <= self.max_atoms:
            return EncodingError(
                f"{n} atoms in the cell: {self.name} was trained on {self.min_atoms} to "
                f"{self.max_atoms}"
            )
        slots = self.model.species_slots
        if slots and len(kinds) > slots:
            return EncodingError(
                f"{len(kinds)} distinct elements: {self.name} has {slots} species slots"
            )
        unknown = sorted(kinds - self.elements)
        if unknown:
            return EncodingError(f"atomic numbers {unknown} never occur in the data of {self.name}")
        return None

    @torch.inference_mode()
    def decode(self, codes: Sequence[CrystalCodes]) -> list[Decoded]:
        """Turn codes into structures, in the order given.

        Args:
            codes: of any sizes; they are batched together.

        Returns:
            Per item a structure, or the reason why no cell can be built from what was decoded.

        Raises:
            ValueError: if a code is outside its codebook (see `gene_sizes`).
        """
        return [
            Decoded(*structure_from_arrays(c.numbers, c.frac, c.cell))
            for c in self.decode_crystals(codes)
        ]

    @torch.inference_mode()
    def decode_crystals(self, codes: Sequence[CrystalCodes]) -> list[Crystal]:
        """Turn codes into arrays, in the order given, without asking whether the cells exist.

        Raises:
            ValueError: if a code is outside its codebook (see `gene_sizes`).
        """
        result: list[Crystal] = []
        for start in range(0, len(codes), _CHUNK):
            quantised = self._quantised(codes[start : start + _CHUNK])
            result.extend(Crystal(*arrays) for arrays in self.model.decode_to_arrays(quantised))
        return result

    @torch.inference_mode()
    def decode_with_features(self, codes: Sequence[CrystalCodes]) -> tuple[list[Crystal], Tensor]:
        """Turn codes into arrays and into what the network knows of them, in one forward pass.

        Args:
            codes: B codes.

        Returns:
            The crystals, and the first columns (B, F - `n_descriptors()`) of `features`.

        Raises:
            ValueError: if a code is outside its codebook.
        """
        arrays, learned = self.model.decode_with_features(self._quantised(codes))
        return [Crystal(*found) for found in arrays], learned.cpu()

    @torch.inference_mode()
    def features(self, codes: Sequence[CrystalCodes]) -> Tensor:
        """Return the frozen input of the property head.

        Args:
            codes: B codes.

        Returns:
            (B, F) float32.

        Raises:
            ValueError: if a code is outside its codebook.
        """
        parts = [
            property_inputs(self.model, self._quantised(codes[start : start + _CHUNK]))
            for start in range(0, len(codes), _CHUNK)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, self.head.n_features)

    def gene_sizes(self, codes: CrystalCodes) -> tuple[int, ...]:
        """Return the number of values of each global gene of `codes`, in their order."""
        return self.model.gene_sizes(codes.n_species)

    def _quantised(self, codes: Sequence[CrystalCodes]) -> CodeIndices:
        """Check codes against the codebooks and pad them into tensors."""
        max_species, local_sizes = self.model.species_slots, self.model.local_sizes
        genes = {n: len(self.model.gene_sizes(n)) for n in {c.n_species for c in codes}}
        for i, c in enumerate(codes):
            if c.n_species > max_species or c.n_atoms > self.max_atoms:
                raise ValueError(
                    f"codes {i}: {c.n_species} species and {c.n_atoms} atoms, {self.name} allows "
                    f"{max_species} and {self.max_atoms}"
                )
            if len(c.local[0]) != len(local_sizes):
                raise ValueError(
                    f"codes {i}: {len(c.local[0])} local codes an atom, {self.name} has "
                    f"{len(local_sizes)}"
                )
            found = sum(map(len, c.species)) + len(c.crystal)
            if found != genes[c.n_species]:
                raise ValueError(
                    f"codes {i}: {found} global genes, {self.name} has {genes[c.n_species]}"
                )
        indices = CodeIndices.from_codes(codes, max_species)
        self._require_in_codebooks(codes, indices)
        return indices

    def _require_in_codebooks(self, codes: Sequence[CrystalCodes], indices: CodeIndices) -> None:
        """Raise for the first gene that is too large; all are compared at once."""
        slots, levels = indices.species.shape[1:]
        sizes = torch.tensor(self.model.gene_sizes(slots))
        local_sizes = self.model.local_sizes
        rows = (
            (indices.species >= sizes[: slots * levels].view(slots, levels)).flatten(1).any(1)
            | (indices.crystal >= sizes[slots * levels :]).any(1)
            | (indices.local >= torch.tensor(local_sizes)).flatten(1).any(1)
        )
        for i in rows.nonzero().flatten().tolist():
            c = codes[i]
            allowed = (*self.gene_sizes(c), *local_sizes * c.n_atoms)
            genes = (*c.global_genes, *(g for atom in c.local for g in atom))
            for position, (gene, size) in enumerate(zip(genes, allowed, strict=True)):
                if gene >= size:
                    raise ValueError(
                        f"codes {i}: gene {position} is {gene}, allowed are 0 to {size - 1}"
                    )
