"""CHGNet's network over a flat batch: the same numbers as the `chgnet` package, fewer operations.

Three identities save the work. A linear layer on concatenated features is a sum of linear layers on
the parts, so what belongs to atoms or bonds is multiplied once per atom or bond and not once per
message. Both ends of a bond share its features. And forces and stress follow from the derivative of
the energy by the bond vectors, the only leaves of the backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from agents.relax.chgnet_graph import BatchGraph


@dataclass(frozen=True)
class Derivatives:
    """Energies of a batch and what they change with.

    Attributes:
        energies: shape (B,), eV per cell.
        forces: shape (N, 3), eV/Å.
        virials: dE/d(strain), shape (B, 3, 3), eV; symmetric.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray


class CHGNetNetwork:
    """The weights of a CHGNet, arranged for flat batches."""

    def __init__(self, model: Any) -> None:
        """Take over the weights of a loaded `chgnet.model.CHGNet`.

        Raises:
            ValueError: its architecture is not one this code reproduces.
        """
        args: Mapping[str, Any] = model.model_args
        if not model.mlp_first or not model.is_intensive or args.get("conv_norm") is not None:
            raise ValueError("this CHGNet has an architecture the flat network does not know")
        self.atom_cutoff = float(args["atom_graph_cutoff"])
        self.bond_cutoff = float(args["bond_graph_cutoff"])
        self.embedding = model.atom_embedding.embedding.weight
        self.composition = model.composition_model.fc.weight[0]
        self.bond_embedding = model.bond_embedding.weight
        self.atom_weights = model.bond_weights_ag.weight
        self.bond_weights = model.bond_weights_bg.weight
        self.atom_radial = model.bond_basis_expansion.rbf_expansion_ag
        self.bond_radial = model.bond_basis_expansion.rbf_expansion_bg
        self.angular = model.angle_basis_expansion.fourier_expansion.frequencies
        self.angle_embedding = model.angle_embedding.weight
        self.atom_layers = [_Message(layer, "twoBody_atom") for layer in model.atom_conv_layers]
        self.bond_layers = [_Message(layer, "twoBody_bond") for layer in model.bond_conv_layers]
        self.angle_layers = [_Message(layer, "twoBody_bond") for layer in model.angle_layers]
        self.readout_norm, self.readout = model.readout_norm, model.mlp
        self.device = self.embedding.device

    def energies(self, graph: BatchGraph) -> np.ndarray:
        """Return the energies of a batch, shape (B,), eV per cell."""
        with torch.no_grad():
            return self._energies(graph, self._tensor(graph.vectors)).double().cpu().numpy()

    def derivatives(self, graph: BatchGraph) -> Derivatives:
        """Return energies, forces and virials of a batch."""
        vectors = self._tensor(graph.vectors).requires_grad_()
        energies = self._energies(graph, vectors)
        if len(graph.vectors):
            (gradient,) = torch.autograd.grad(energies.sum(), vectors)
        else:  # isolated atoms only
            gradient = torch.zeros_like(vectors)
        pull = gradient.double().cpu().numpy()
        forces = np.zeros((len(graph.numbers), 3))
        np.add.at(forces, graph.second, pull)
        np.add.at(forces, graph.first, -pull)
        virials = np.zeros((graph.n_crystals, 3, 3))
        np.add.at(virials, graph.owners[graph.first], graph.vectors[:, :, None] * pull[:, None, :])
        return Derivatives(
            energies=energies.detach().double().cpu().numpy(),
            forces=forces,
            virials=0.5 * (virials + virials.transpose(0, 2, 1)),
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    def _indices(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=self.device)

    def _energies(self, graph: BatchGraph, vectors: Tensor) -> Tensor:
        first, second = self._indices(graph.first), self._indices(graph.second)
        short, numbers = self._indices(graph.short), self._indices(graph.numbers) - 1
        tips = self._indices(graph.angle_atoms)
        left, right = self._indices(graph.angle_bonds)
        lengths = vectors.norm(dim=1)

        radial = _radial_basis(self.atom_radial, lengths)
        bonds = radial @ self.bond_embedding.T  # (U, d)
        atom_weights = radial @ self.atom_weights.T
        atoms = self.embedding[numbers]  # (N, d)
        has_angles = len(graph.angle_atoms) > 0
        if has_angles:
            bond_weights = (
                _radial_basis(self.bond_radial, _rows(lengths, short)) @ self.bond_weights.T
            )
            angle_weights = _rows(bond_weights, left) * _rows(bond_weights, right)
            angles = self._angle_basis(graph, _rows(vectors / lengths[:, None], short))
            angles = angles @ self.angle_embedding.T  # (A, d)

        for index, layer in enumerate(self.atom_layers):
            atoms = atoms + layer.out(_to_atoms(layer, atoms, bonds, atom_weights, first, second))
            if index == len(self.bond_layers) or not has_angles:
                continue
            near = _rows(bonds, short)
            layer = self.bond_layers[index]
            message = layer.gated(_at_angles(layer, near, angles, atoms, tips, left, right))
            total = torch.zeros_like(near).index_add_(0, left, message * angle_weights)
            near = near + layer.out(total)
            bonds = self._longer(layer, bonds, graph).index_copy(0, short, near)
            if index + 1 < len(self.bond_layers):  # nothing reads the angles of the last layer
                layer = self.angle_layers[index]
                hidden = _at_angles(layer, near, angles, atoms, tips, left, right)
                angles = angles + layer.gated(hidden)

        if self.readout_norm is not None:
            atoms = self.readout_norm(atoms)
        site = self.readout(atoms)[:, 0] + self.composition[numbers]
        energies = site.new_zeros(graph.n_crystals)
        return energies.index_add_(0, self._indices(graph.owners), site)

    def _longer(self, layer: _Message, bonds: Tensor, graph: BatchGraph) -> Tensor:
        """Update the bonds that have no angles: they meet the bias of the layer alone, if any.

        The package skips the layer for crystals without any angle, bias and all.
        """
        bias = None if layer.mlp_out is None else layer.mlp_out.layers[-1].bias
        if bias is None:
            return bonds
        with_angles = np.zeros(graph.n_crystals, dtype=np.float32)
        with_angles[graph.owners[graph.angle_atoms]] = 1.0
        return bonds + self._tensor(with_angles[graph.owners[graph.first]])[:, None] * bias

    def _angle_basis(self, graph: BatchGraph, directions: Tensor) -> Tensor:
        """Fourier basis of the angles, shape (A, 2 K + 1)."""
        ends = torch.cat([directions, -directions])
        left, right = self._indices(graph.angle_ends)
        # 1 - 1e-6: the derivative of acos is infinite at 1
        cosines = (_rows(ends, left) * _rows(ends, right)).sum(1) * (1 - 1e-6)
        phases = torch.outer(torch.acos(cosines), self.angular)
        constant = phases.new_full((len(phases), 1), 1 / sqrt(2))
        return torch.cat([constant, phases.sin(), phases.cos()], dim=1) / sqrt(pi)


class _Message:
    """One gated layer: silu(norm(MLP(x))) * sigmoid(norm(MLP(x))), both MLPs side by side."""

    def __init__(self, layer: Any, name: str) -> None:
        gated = getattr(layer, name)
        core = [m for m in gated.mlp_core.layers if isinstance(m, torch.nn.Linear)]
        gate = [m for m in gated.mlp_gate.layers if isinstance(m, torch.nn.Linear)]
        if gated.norm not in (None, "layer"):
            raise ValueError(f"unknown norm {gated.norm!r} of a gated layer of CHGNet")
        weight = torch.cat([core[0].weight, gate[0].weight])  # (2 d, inputs)
        width = core[0].out_features
        self.parts = [block.T.contiguous() for block in weight.split(width, dim=1)]
        self.bias = torch.cat([core[0].bias, gate[0].bias])
        self.second = (core[1], gate[1]) if len(core) > 1 else None
        self.norms = (gated.bn1, gated.bn2)
        self.mlp_out = getattr(layer, "mlp_out", None)
        self.width = core[0].out_features

    def part(self, index: int) -> Tensor:
        """Weights of the `index`-th block of the concatenated input, shape (d, 2 d)."""
        return self.parts[index]

    def gated(self, hidden: Tensor) -> Tensor:
        """Finish the layer from the sum of its first linear maps, shape (M, 2 d)."""
        if self.second is not None:
            core, gate = functional.silu(hidden).split(self.width, dim=1)
            core, gate = self.second[0](core), self.second[1](gate)
        else:
            core, gate = hidden.split(self.width, dim=1)
        if self.norms[0] is not None:
            core, gate = self.norms[0](core), self.norms[1](gate)
        return functional.silu(core) * torch.sigmoid(gate)

    def out(self, total: Tensor) -> Tensor:
        """Map the summed messages."""
        return total if self.mlp_out is None else self.mlp_out(total)


def _to_atoms(
    layer: _Message, atoms: Tensor, bonds: Tensor, weights: Tensor, first: Tensor, second: Tensor
) -> Tensor:
    """Sum the messages along both directions of every bond, shape (N, d)."""
    centre = atoms @ layer.part(0) + layer.bias
    along = bonds @ layer.part(1)
    neighbour = atoms @ layer.part(2)
    hidden = torch.cat(
        [
            _rows(centre, first) + _rows(neighbour, second) + along,
            _rows(centre, second) + _rows(neighbour, first) + along,
        ]
    )
    message = layer.gated(hidden)
    total = torch.zeros_like(atoms)
    total.index_add_(0, first, message[: len(first)] * weights)
    total.index_add_(0, second, message[len(first) :] * weights)
    return total


def _at_angles(
    layer: _Message,
    bonds: Tensor,
    angles: Tensor,
    atoms: Tensor,
    tips: Tensor,
    left: Tensor,
    right: Tensor,
) -> Tensor:
    """Return the first linear map of [left bond, right bond, angle, tip atom], shape (A, 2 d)."""
    return (
        angles @ layer.part(2)
        + _rows(bonds @ layer.part(0) + layer.bias, left)
        + _rows(bonds @ layer.part(1), right)
        + _rows(atoms @ layer.part(3), tips)
    )


def _rows(table: Tensor, indices: Tensor) -> Tensor:
    """Gather rows; its derivative is far cheaper on a CPU than that of `table[indices]`."""
    return table.index_select(0, indices)


def _radial_basis(radial: Any, lengths: Tensor) -> Tensor:
    """Sine Bessel functions times the smooth cutoff, shape (U, K)."""
    scaled = lengths[:, None] * radial.inv_cutoff
    waves = torch.sin(scaled * radial.frequencies) * (radial.norm_const / lengths[:, None])
    return waves * radial.smooth_cutoff(lengths)[:, None]
