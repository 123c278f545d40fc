"""The vectors that global codes stand for, read from a checkpoint without its network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from model.cards import WEIGHTS, load_card, verified_file
from model.errors import CorruptCheckpoint

_EMBEDDING = re.compile(r"(crystal|species)\.residual\.layers\.(\d+)\._codebook\.embed")

Token = Sequence[int]


@dataclass(frozen=True)
class GlobalCodebooks:
    """The codebooks of species tokens and crystal token.

    A token's vector is the sum of its codes' vectors over the levels of the residual quantiser.

    Attributes:
        crystal: (levels, codes, dim); one level where all levels share one codebook.
        species: The same for species tokens; None where global codes are not split by element.
    """

    crystal: NDArray[np.float32]
    species: NDArray[np.float32] | None

    @classmethod
    def read(cls, directory: Path) -> GlobalCodebooks:
        """Read them from a checkpoint directory; 0.1 s, and no torch.

        Raises:
            MissingCheckpoint: if it has no card.
            CorruptCheckpoint: if the weights are missing, damaged, or hold no codebook.
        """
        path = verified_file(directory, load_card(directory), WEIGHTS)
        levels: dict[str, dict[int, NDArray[np.float32]]] = {"crystal": {}, "species": {}}
        try:
            with safe_open(path, framework="np") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (it is no mapping)
                    if match := _EMBEDDING.fullmatch(name):
                        levels[match[1]][int(match[2])] = tensors.get_tensor(name)[0]
        except SafetensorError as error:
            raise CorruptCheckpoint(f"{path} is not a safetensors file: {error}") from error
        if not levels["crystal"]:
            raise CorruptCheckpoint(f"{path} holds no codebook of crystal tokens")
        books = {
            kind: np.stack([found[level] for level in sorted(found)])
            for kind, found in levels.items()
            if found
        }
        return cls(crystal=books["crystal"], species=books.get("species"))

    def vectors(
        self, species: Sequence[Sequence[Token]], crystal: Sequence[Token]
    ) -> NDArray[np.float32]:
        """Return the vectors of the global codes of n crystals.

        Args:
            species: Species tokens of each, any number of them.
            crystal: Crystal token of each.

        Returns:
            (n, G): the vectors of the species tokens, one slot after the other (zero where a
            crystal has fewer than the most of these), then that of the crystal token.
        """
        parts = [_summed(self.crystal, np.asarray(crystal, dtype=np.int64))]
        slots = max(map(len, species), default=0)
        if self.species is not None and slots:
            vectors = np.zeros((len(species), slots, self.species.shape[-1]), dtype=np.float32)
            counts = np.array([len(tokens) for tokens in species])
            tokens = np.array([token for one in species for token in one], dtype=np.int64)
            vectors[np.arange(slots) < counts[:, None]] = _summed(self.species, tokens)
            parts.insert(0, vectors.reshape(len(species), -1))
        return np.concatenate(parts, axis=1)

    def balanced(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centre vectors (n, G) and give species tokens and crystal token the same spread.

        Each of the two parts is divided by its root mean square distance from its mean. Dividing
        every column by its own would blow up the slots that few crystals use. A part without
        any spread is left out: the species tokens of crystals of one element.
        """
        shifted = vectors - vectors[:1]  # what is equal in all is zero, whatever is rounded below
        centred = shifted - shifted.mean(axis=0, dtype=np.float64).astype(np.float32)
        width = self.crystal.shape[-1]
        parts = [centred[:, :-width], centred[:, -width:]]
        spreads = [np.sqrt((part**2).sum(axis=1).mean()) for part in parts]
        kept = [part / spread for part, spread in zip(parts, spreads) if spread > 0]
        return np.concatenate(kept, axis=1)


def _summed(book: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the vectors (m, dim) of tokens (m, levels)."""
    levels = np.arange(tokens.shape[1]) if len(book) > 1 else np.zeros(tokens.shape[1], np.int64)
    found: NDArray[np.float32] = book[levels, tokens].sum(axis=1)
    return found
