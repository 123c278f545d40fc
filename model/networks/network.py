"""The interface of a trainable generator network: crystals to codes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.data.tensors import CrystalTensors
from model.networks.indices import CodeIndices
from model.networks.quantiser import CodeQuantiser

DecodedArrays = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Atomic numbers (N,), fractional coordinates (N, 3), cell (6,) in Å and degrees."""


class CodeNetwork(nn.Module, ABC):
    """What the trainer, the checkpoint and `Generator` need of a network.

    Life: created from its configuration with untrained weights; `fit_scales` once on the training
    crystals; a first epoch of `losses(discrete=False)`; `place_codebooks` once; then epochs of
    `losses(discrete=True)` in training mode, the quantisers moving with them until
    `stop_revival`. In evaluation mode nothing moves: `encode_to_codes` gives integers, and
    `decode_to_arrays` of these integers is all that a stored crystal needs.
    """

    @property
    @abstractmethod
    def quantisers(self) -> dict[str, CodeQuantiser]:
        """The quantisers by name, for perplexities, revival and dead codes."""

    @property
    def dense_modules(self) -> tuple[nn.Module, ...]:
        """The modules that may be compiled and run in bfloat16.

        No quantiser, no loss and nothing of the lattice may be among them.
        """
        return ()

    @abstractmethod
    def fit_scales(self, crystals: CrystalTensors) -> None:
        """Set the constants that standardise cells from the training crystals."""

    @abstractmethod
    def place_codebooks(
        self, crystals: CrystalTensors, *, batch_size: int, random: torch.Generator
    ) -> None:
        """Initialise every codebook on many crystals, so that batch order does not matter.

        Args:
            crystals: all training crystals; a random part of them is used.
            batch_size: of the training, to scale the use counts.
            random: chooses the part.
        """

    @abstractmethod
    def losses(
        self, crystals: CrystalTensors, labels: Tensor, *, discrete: bool = True
    ) -> dict[str, Tensor]:
        """Return the unweighted training losses by the names of `LossWeights`.

        Args:
            crystals: B crystals.
            labels: (B, T) standardised properties, NaN where unknown; T may be 0.
            discrete: False passes the vectors on unquantised (first epoch).
        """

    @abstractmethod
    def encode_to_codes(self, crystals: CrystalTensors) -> CodeIndices:
        """Return the codes of crystals (evaluation mode)."""

    @abstractmethod
    def decode_with_features(self, indices: CodeIndices) -> tuple[list[DecodedArrays], Tensor]:
        """Decode codes once, for both things there are to know of them.

        Returns:
            Atoms and cells, with the atom count the codes have, and the features (B, F) that a
            property head sees.
        """

    def decode_to_arrays(self, indices: CodeIndices) -> list[DecodedArrays]:
        """Decode codes into atoms and cells, with the atom count the codes have."""
        return self.decode_with_features(indices)[0]

    @abstractmethod
    def count_atoms(self, crystals: CrystalTensors) -> Tensor:
        """Return the atom count (B,) that the codes alone give, without being told the true one."""

    def property_features(self, indices: CodeIndices) -> Tensor:
        """Return what a property head sees of codes (B, F)."""
        return self.decode_with_features(indices)[1]

    @abstractmethod
    def gene_sizes(self, n_species: int) -> tuple[int, ...]:
        """Return the number of values of each global gene of a crystal with that many tokens."""

    @property
    def species_slots(self) -> int:
        """Most species tokens a crystal can have; 0 if global codes are not split by element."""
        return 0

    @property
    @abstractmethod
    def local_sizes(self) -> tuple[int, ...]:
        """The number of values of each local code of an atom."""

    def stop_revival(self) -> None:
        """Stop moving unused codes, so that late training settles."""
        for quantiser in self.quantisers.values():
            quantiser.stop_revival()
