"""The VQ-VAE: encoder, quantisers, decoder, lattice and joint property output in one module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.data.tensors import CrystalTensors
from model.networks.coordinates import periodic_cross_entropy, periodic_mean
from model.networks.decoder import CodeVectors, CrystalDecoder
from model.networks.encoder import CrystalEncoder
from model.networks.indices import CodeIndices
from model.networks.lattice import RelativeLattice
from model.networks.layers import atom_mean, mlp
from model.networks.network import CodeNetwork, DecodedArrays
from model.networks.quantiser import CodeQuantiser, look_up_kept, quantise_kept
from model.settings import LossWeights, ModelConfig

_KMEANS_CRYSTALS = 4096  # crystals whose vectors place the codebooks
_SMOOTH = 0.1  # beta of the smooth L1 loss on standardised lattices


@dataclass(frozen=True)
class Quantised:
    """Code vectors with their indices, the lattice base and the commitment loss.

    `end` (B, local_dim) is the quantised "no more atoms".
    """

    vectors: CodeVectors
    indices: CodeIndices
    end: Tensor
    slot_logits: Tensor
    lattice_base: Tensor
    commitment: Tensor


class CrystalVQVAE(CodeNetwork):
    """Crystals to codes and back (design and measurements: docs of the generator).

    Four quantisers: roles and axes per atom, species tokens, crystal token. The crystal token is
    quantised last because it describes the lattice relative to what the other codes suggest.
    """

    def __init__(self, config: ModelConfig, n_targets: int) -> None:
        """Create an untrained model.

        Args:
            config: sizes.
            n_targets: number of properties learned jointly.
        """
        super().__init__()
        self.config = config
        self.n_targets = n_targets
        self.encoder = CrystalEncoder(config)
        self.decoder = CrystalDecoder(config)
        self.lattice = RelativeLattice(
            width=config.width,
            species_dim=config.species_dim,
            local_dim=4 * config.local_dim,
            crystal_dim=config.crystal_dim,
            max_atoms=config.max_atoms,
        )
        self.roles = self._quantiser(config.local_dim, 1, config.role_codes)
        self.axes = self._quantiser(config.local_dim, 1, config.axis_codes)
        self.species = self._quantiser(
            config.species_dim, config.species_levels, config.species_codes
        )
        self.crystal = self._quantiser(
            config.crystal_dim, config.crystal_levels, config.crystal_codes
        )
        self.species_summary = mlp(config.species_dim, config.width, config.width)
        joint = config.crystal_dim + config.width + 4 * config.local_dim
        self.properties = mlp(joint, config.width, n_targets)

    def _quantiser(self, dim: int, levels: int, codes: int) -> CodeQuantiser:
        """Create a quantiser with the configured behaviour."""
        return CodeQuantiser(
            dim,
            levels,
            codes,
            decay=self.config.codebook_decay,
            dead_code_threshold=self.config.dead_code_threshold,
            rotation_trick=self.config.rotation_trick,
        )

    @property
    def quantisers(self) -> dict[str, CodeQuantiser]:
        """The four quantisers by name."""
        return {
            "role": self.roles,
            "axis": self.axes,
            "species": self.species,
            "crystal": self.crystal,
        }

    def gene_sizes(self, n_species: int) -> tuple[int, ...]:
        """See `CodeNetwork`."""
        config = self.config
        tokens = (config.species_codes,) * (n_species * config.species_levels)
        return tokens + (config.crystal_codes,) * config.crystal_levels

    @property
    def dense_modules(self) -> tuple[nn.Module, ...]:
        """See `CodeNetwork`: the transformers over the atoms."""
        return (*self.encoder.blocks, *self.decoder.blocks)

    @property
    def species_slots(self) -> int:
        """See `CodeNetwork`."""
        return self.config.max_species

    @property
    def local_sizes(self) -> tuple[int, ...]:
        """See `CodeNetwork`: role and the three axes."""
        return (self.config.role_codes, *(self.config.axis_codes,) * 3)

    def fit_scales(self, crystals: CrystalTensors) -> None:
        """See `CodeNetwork`."""
        self.lattice.fit_scale(crystals.cell, crystals.n_atoms)

    @torch.no_grad()
    def place_codebooks(
        self, crystals: CrystalTensors, *, batch_size: int, random: torch.Generator
    ) -> None:
        """See `CodeNetwork`: k-means on 4,096 crystals."""
        self.eval()
        chosen = torch.randperm(len(crystals), generator=random)[:_KMEANS_CRYSTALS]
        sample = crystals.select(chosen.to(crystals.n_atoms.device))
        share = batch_size / len(sample)
        lattice = self.lattice.standardise(sample.cell, sample.n_atoms)
        encoding = self.encoder(sample, lattice)
        ends = self.encoder.end.expand(len(sample), -1)
        for quantiser, vectors in (
            (self.roles, torch.cat([encoding.role[sample.mask], ends])),
            (self.axes, encoding.axes[sample.mask].flatten(0, 1)),
            (self.species, encoding.species[encoding.present]),
        ):
            quantiser.initialise(vectors, typical_batch=max(1, round(share * len(vectors))))
        # The crystal token depends on what the other codebooks now say about the lattice.
        base = self.quantise(sample, discrete=False).lattice_base
        token = self.encoder.crystal_token(encoding.pooled, lattice - base)
        self.crystal.initialise(token, typical_batch=batch_size)

    def quantise(self, crystals: CrystalTensors, *, discrete: bool = True) -> Quantised:
        """Encode crystals and quantise what comes out.

        Args:
            crystals: B crystals.
            discrete: False passes the vectors on unquantised (first epoch); indices are then -1.
        """
        mask = crystals.mask
        lattice = self.lattice.standardise(crystals.cell, crystals.n_atoms)
        encoding = self.encoder(crystals, lattice)
        present = encoding.present
        role, end, role_index, loss_role = self._roles(encoding.role, mask, discrete)
        axis_mask = mask[..., None].expand(*mask.shape, 3)
        axes, axis_index, loss_axis = quantise_kept(self.axes, encoding.axes, axis_mask, discrete)
        species, species_index, loss_species = quantise_kept(
            self.species, encoding.species, present, discrete
        )
        slot_logits = self.decoder.slot_logits(role, present)
        local = torch.cat([role, axes.flatten(-2)], -1)
        base = self.lattice.expected(species, present, slot_logits.softmax(-1), local, mask)
        token = self.encoder.crystal_token(encoding.pooled, lattice - base.detach())
        every = torch.ones(len(token), dtype=torch.bool, device=token.device)
        crystal, crystal_index, loss_crystal = quantise_kept(self.crystal, token, every, discrete)
        return Quantised(
            vectors=CodeVectors(
                role=role, axes=axes, species=species, present=present, crystal=crystal, mask=mask
            ),
            indices=CodeIndices(
                species=species_index,
                crystal=crystal_index,
                local=torch.cat([role_index, axis_index[..., 0]], -1),
            ),
            end=end,
            slot_logits=slot_logits,
            lattice_base=base,
            commitment=(loss_role + loss_axis) / 2 + loss_species + loss_crystal,
        )

    def _roles(
        self, role: Tensor, mask: Tensor, discrete: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Quantise the atoms' roles (B, N, d) together with one end per crystal.

        Returns:
            Role vectors (B, N, d), end vectors (B, d), role indices (B, N, 1), commitment loss.
        """
        end = self.encoder.end.to(role.dtype).expand(len(role), 1, -1)
        both = torch.cat([role, end], 1)
        keep = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        vectors, indices, loss = quantise_kept(self.roles, both, keep, discrete)
        return vectors[:, :-1], vectors[:, -1], indices[:, :-1], loss

    def losses(
        self, crystals: CrystalTensors, labels: Tensor, *, discrete: bool = True
    ) -> dict[str, Tensor]:
        """Return the unweighted training losses by the names of `LossWeights`.

        Args:
            crystals: B crystals.
            labels: (B, T) standardised properties, NaN where unknown.
            discrete: see `quantise`.
        """
        mask = crystals.mask
        quantised = self.quantise(crystals, discrete=discrete)
        atoms = self.decoder(quantised.vectors, quantised.slot_logits.softmax(-1))
        target = self.lattice.standardise(crystals.cell, crystals.n_atoms)
        base = quantised.lattice_base
        lattice = base + self.lattice.correction(quantised.vectors.crystal)
        known = ~labels.isnan()
        predicted = self.properties(self._joint(quantised.vectors))
        numbers, ranks = crystals.numbers[mask], crystals.ranks[mask]
        atom = self.decoder.presence_logits(quantised.vectors.role[mask])
        end = self.decoder.presence_logits(quantised.end)
        return {
            "species": F.cross_entropy(atoms.elements[mask], numbers),
            "coordinates": periodic_cross_entropy(
                atoms.coordinates[mask], crystals.frac[mask]
            ).mean(),
            "lattice": F.smooth_l1_loss(lattice, target, beta=_SMOOTH),
            "lattice_base": F.smooth_l1_loss(base, target, beta=_SMOOTH),
            "role": F.cross_entropy(quantised.slot_logits[mask], ranks),
            "presence": F.softplus(-atom).mean() + F.softplus(end).mean(),
            "commitment": quantised.commitment,
            "properties": F.smooth_l1_loss(predicted[known], labels[known])
            if known.any()
            else predicted.sum() * 0,
        }

    def encode_to_codes(self, crystals: CrystalTensors) -> CodeIndices:
        """Return the codes of crystals (evaluation mode)."""
        return self.quantise(crystals).indices

    def vectors(self, indices: CodeIndices) -> CodeVectors:
        """Look codes up in the codebooks."""
        mask, present = indices.mask, indices.present
        role = look_up_kept(self.roles, indices.local[..., :1], mask)
        axis_mask = mask[..., None].expand(*mask.shape, 3)
        axes = look_up_kept(self.axes, indices.local[..., 1:, None], axis_mask)
        return CodeVectors(
            role=role,
            axes=axes,
            species=look_up_kept(self.species, indices.species, present),
            present=present,
            crystal=self.crystal.lookup(indices.crystal),
            mask=mask,
        )

    def count_atoms(self, crystals: CrystalTensors) -> Tensor:
        """Return how many atoms (B,) the quantised roles say there are.

        The codes of a crystal are read as one row of `max_atoms` roles, those behind the last atom
        quantised from "no more atoms"; the count is where the decoder sees the first of these.
        """
        lattice = self.lattice.standardise(crystals.cell, crystals.n_atoms)
        role = self.encoder(crystals, lattice).role
        row = self.encoder.end.repeat(len(crystals), self.config.max_atoms + 1, 1)
        row[:, : role.shape[1]] = torch.where(crystals.mask[..., None], role, self.encoder.end)
        vectors = self.roles.lookup(self.roles.nearest(row.flatten(0, 1)))
        atom = (self.decoder.presence_logits(vectors) > 0).view(row.shape[:2])
        return atom.long().cumprod(1).sum(1)

    def decode_with_features(self, indices: CodeIndices) -> tuple[list[DecodedArrays], Tensor]:
        """See `CodeNetwork`; the features are the pooled code vectors and the lattice."""
        codes = self.vectors(indices)
        slots = self.decoder.slot_logits(codes.role, codes.present).softmax(-1)
        base = self.lattice.expected(codes.species, codes.present, slots, codes.local, codes.mask)
        atoms = self.decoder(codes, slots)
        lattice = base + self.lattice.correction(codes.crystal)
        logits = atoms.elements.clone()
        logits[..., 0] = -torch.inf  # 0 is padding, not an element
        numbers = logits.argmax(-1).cpu().numpy()
        frac = periodic_mean(atoms.coordinates).double().cpu().numpy()
        cell = self.lattice.restore(lattice, codes.mask.sum(1)).double().cpu().numpy()
        counts = codes.mask.sum(1).tolist()
        arrays = [(numbers[i, :n], frac[i, :n], cell[i]) for i, n in enumerate(counts)]
        pooled = [self._joint(codes), atom_mean(atoms.hidden, codes.mask), lattice]
        return arrays, torch.cat(pooled, -1)

    def _joint(self, codes: CodeVectors) -> Tensor:
        """Return the input of the joint property output."""
        tokens = F.gelu(self.species_summary(codes.species)) * codes.present[..., None]
        chemistry = tokens.sum(1) / codes.present.sum(1, keepdim=True)
        return torch.cat([codes.crystal, chemistry, atom_mean(codes.local, codes.mask)], -1)


def weighted_sum(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Return the total loss."""
    return torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
