"""VQCrystal (doi 10.1038/s41524-025-01613-6) as a `CodeNetwork`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.data.tensors import CrystalTensors
from model.networks.indices import PAD, CodeIndices
from model.networks.lattice import raw_lattice
from model.networks.layers import atom_mean, mlp
from model.networks.network import CodeNetwork, DecodedArrays
from model.networks.quantiser import CodeQuantiser
from model.vqcrystal.decoder import PropertyOutput, VQCrystalDecoder, torus_squared_error
from model.vqcrystal.encoder import VQCrystalEncoder
from model.vqcrystal.quantiser import SharedQuantiser
from model.vqcrystal.settings import VQCrystalConfig

_PLACING = 4096  # crystals whose vectors place the codebooks
_CHUNK = 512  # crystals encoded at once when codebooks are placed
_MIN_SCALE = 0.02  # of log length per atom and angle / 180°: keeps constant angles harmless


@dataclass(frozen=True)
class _Codes:
    """Code vectors z_l (B, N, d), z_g (B, d), atoms (B, N), indices and commitment loss."""

    local: Tensor
    crystal: Tensor
    mask: Tensor
    indices: CodeIndices
    commitment: Tensor


class VQCrystalNetwork(CodeNetwork):
    """The published model: local codes that see everything, one global code for the crystal.

    Codes have no species tokens: `CodeIndices.species` is (B, 0, 0), `crystal` holds the depths
    of z_g and `local` those of each atom's z_l. The paper's model is told the number of atoms.
    `count_atoms` reads it from z_g with a classifier that is trained beside the model, on vectors
    whose gradient is cut: what z_g says of the number, it says on its own.
    """

    def __init__(self, config: VQCrystalConfig, n_targets: int) -> None:
        """Create an untrained model.

        Args:
            config: sizes.
            n_targets: number of properties learned jointly.
        """
        super().__init__()
        self.config = config
        self.n_targets = n_targets
        self.encoder = VQCrystalEncoder(config)
        self.decoder = VQCrystalDecoder(config)
        self.properties = PropertyOutput(config, n_targets)
        self.count = mlp(config.code_dim, config.width, config.max_atoms + 1)
        self.local = self._quantiser(config.local_levels, config.local_codes)
        self.crystal = self._quantiser(config.global_levels, config.global_codes)
        self.register_buffer("lattice_mean", torch.zeros(6))
        self.register_buffer("lattice_scale", torch.ones(6))

    lattice_mean: Tensor
    lattice_scale: Tensor

    def _quantiser(self, levels: int, codes: int) -> SharedQuantiser:
        """Create a quantiser with the configured behaviour."""
        return SharedQuantiser(
            self.config.code_dim,
            levels,
            codes,
            decay=self.config.codebook_decay,
            dead_code_threshold=self.config.dead_code_threshold,
            shared=self.config.shared_codebook,
            temperature=self.config.temperature,
            settle=self.config.settle,
        )

    @property
    def quantisers(self) -> dict[str, CodeQuantiser]:
        """The quantisers of atoms and crystal."""
        return {"local": self.local, "crystal": self.crystal}

    @property
    def local_sizes(self) -> tuple[int, ...]:
        """The number of values of each local code of an atom."""
        return (self.config.local_codes,) * self.config.local_levels

    def gene_sizes(self, n_species: int) -> tuple[int, ...]:
        """Return the number of values of each global gene; there are no species tokens.

        Raises:
            ValueError: if `n_species` is not 0.
        """
        if n_species:
            raise ValueError(f"VQCrystal's codes have no species tokens, got {n_species}")
        return (self.config.global_codes,) * self.config.global_levels

    def fit_scales(self, crystals: CrystalTensors) -> None:
        """Set the constants that standardise cells from the training crystals."""
        raw = raw_lattice(crystals.cell, crystals.n_atoms)
        self.lattice_mean.copy_(raw.mean(0))
        self.lattice_scale.copy_(raw.std(0).clamp(min=_MIN_SCALE))
        self.encoder.fit_scale(crystals.cell)

    @torch.no_grad()
    def place_codebooks(
        self, crystals: CrystalTensors, *, batch_size: int, random: torch.Generator
    ) -> None:
        """Place both codebooks by k-means over the vectors of many crystals.

        Args:
            crystals: all training crystals; a random part of them is used.
            batch_size: of the training, to scale the use counts.
            random: chooses the part.
        """
        was_training = self.training
        self.eval()
        chosen = torch.randperm(len(crystals), generator=random)[:_PLACING]
        local, crystal = [], []
        for rows in chosen.to(crystals.n_atoms.device).split(_CHUNK):
            part = crystals.select(rows)
            z_l, z_g = self.encoder(part, self._standardised(part))
            local.append(z_l[part.mask])
            crystal.append(z_g)
        atoms = torch.cat(local)
        typical = max(1, round(batch_size / len(chosen) * len(atoms)))
        self.local.initialise(atoms, typical_batch=typical)
        self.crystal.initialise(torch.cat(crystal), typical_batch=batch_size)
        self.train(was_training)

    def losses(
        self, crystals: CrystalTensors, labels: Tensor, *, discrete: bool = True
    ) -> dict[str, Tensor]:
        """Return the unweighted training losses by the names of `LossWeights`.

        Cross-entropy of the elements, squared errors of coordinates (on the torus), lattice and
        properties: the paper's loss. "commitment" is not part of it (weight 0 there), "count"
        trains the reader of the atom count alone.

        Args:
            crystals: B crystals.
            labels: (B, T) standardised properties, NaN where unknown; T may be 0.
            discrete: False passes the vectors on unquantised (first epoch).
        """
        mask = crystals.mask
        codes = self._encoded(crystals, discrete=discrete)
        made = self.decoder(codes.local, codes.crystal, mask)
        predicted = self.properties(codes.local, codes.crystal, mask)
        known = ~labels.isnan()
        counted = self.count(codes.crystal.detach())
        return {
            "species": F.cross_entropy(made.elements[mask], crystals.numbers[mask]),
            "coordinates": torus_squared_error(made.frac[mask], crystals.frac[mask]),
            "lattice": F.mse_loss(made.lattice, self._standardised(crystals)),
            "commitment": codes.commitment,
            "count": F.cross_entropy(counted, crystals.n_atoms),
            "properties": F.mse_loss(predicted[known], labels[known])
            if known.any()
            else predicted.sum() * 0,
        }

    def encode_to_codes(self, crystals: CrystalTensors) -> CodeIndices:
        """Return the codes of crystals (evaluation mode)."""
        return self._encoded(crystals).indices

    def decode_with_features(self, indices: CodeIndices) -> tuple[list[DecodedArrays], Tensor]:
        """See `CodeNetwork`."""
        local, crystal, mask = self._looked_up(indices)
        made = self.decoder(local, crystal, mask)
        logits = made.elements.clone()
        logits[..., 0] = -torch.inf  # 0 is padding, not an element
        numbers = logits.argmax(-1).cpu().numpy()
        frac = made.frac.double().remainder(1.0).cpu().numpy()
        counts = mask.sum(1)
        cell = self._restored(made.lattice, counts).double().cpu().numpy()
        arrays = [(numbers[i, :n], frac[i, :n], cell[i]) for i, n in enumerate(counts.tolist())]
        pooled = [
            self.properties.pooled(local, crystal, mask),
            crystal,
            atom_mean(local, mask),
            atom_mean(made.hidden, mask),
            made.lattice,
        ]
        return arrays, torch.cat(pooled, -1)

    def count_atoms(self, crystals: CrystalTensors) -> Tensor:
        """Return the atom count (B,) that the global codes alone give.

        The encoder sees the crystal, the classifier only its quantised z_g.
        """
        logits = self.count(self._encoded(crystals).crystal)
        return logits[:, 1:].argmax(-1) + 1

    def _encoded(self, crystals: CrystalTensors, *, discrete: bool = True) -> _Codes:
        """Encode crystals and quantise what comes out; indices are -1 where not discrete."""
        mask = crystals.mask
        local, crystal = self.encoder(crystals, self._standardised(crystals))
        local_index = torch.full((*mask.shape, self.local.levels), PAD, device=mask.device)
        crystal_index = torch.full((len(mask), self.crystal.levels), PAD, device=mask.device)
        commitment = crystal.new_zeros(())
        if discrete:
            atoms, atom_index, loss_local = self.local(local[mask])
            crystal, crystal_index, loss_crystal = self.crystal(crystal)
            local = torch.zeros_like(local).masked_scatter(mask[..., None], atoms)
            local_index[mask] = atom_index
            commitment = loss_local + loss_crystal
        else:
            local = local * mask[..., None]
        no_species = torch.full((len(mask), 0, 0), PAD, device=mask.device)
        indices = CodeIndices(species=no_species, crystal=crystal_index, local=local_index)
        return _Codes(local, crystal, mask, indices, commitment)

    def _looked_up(self, indices: CodeIndices) -> tuple[Tensor, Tensor, Tensor]:
        """Return z_l (B, N, d), zero for padding, z_g (B, d) and the mask (B, N) of codes."""
        mask = indices.mask
        local = torch.zeros(*mask.shape, self.config.code_dim, device=mask.device)
        local[mask] = self.local.lookup(indices.local[mask])
        return local, self.crystal.lookup(indices.crystal), mask

    def _standardised(self, crystals: CrystalTensors) -> Tensor:
        """Return the lattices of crystals (B, 6): mean 0, deviation 1."""
        raw = raw_lattice(crystals.cell, crystals.n_atoms)
        return (raw - self.lattice_mean) / self.lattice_scale

    def _restored(self, lattice: Tensor, n_atoms: Tensor) -> Tensor:
        """Return standardised lattices (B, 6) in Å and degrees; inverse of `_standardised`."""
        raw = lattice * self.lattice_scale + self.lattice_mean
        lengths = raw[:, :3].exp() * n_atoms[:, None].to(raw.dtype) ** (1 / 3)
        return torch.cat([lengths, raw[:, 3:] * 180], -1)
