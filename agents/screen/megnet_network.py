"""The MEGNet network of 2018 in torch, with the quirks of its published Keras weights.

Chen et al., *Chem. Mater.* 31 (2019) 3564, doi 10.1021/acs.chemmater.9b01294. Three blocks update
bonds, atoms and the state of the crystal in that order; Set2Set pools atoms and bonds. The quirks,
without which the numbers are wrong: no activation after the last layer of an update function, hard
sigmoids in the LSTM of Set2Set, and an LSTM whose cell state is never carried to the next step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from agents.screen.megnet_graph import GraphBatch


@dataclass(frozen=True)
class MEGNetShape:
    """Sizes of a published MEGNet model.

    Attributes:
        elements: Rows of the element embedding.
        embedding: Width of the element embedding.
        widths: Widths of the layers before an update function.
        update: Widths of the layers of an update function.
        blocks: Number of blocks.
        pool: Width of Set2Set's memory.
        pool_steps: Steps of Set2Set.
        output: Widths of the hidden layers after pooling.
        centers: Centres of the Gaussians that expand a distance (Å).
        gaussian_width: Their width (Å).
        cutoff: Longest bond (Å).
        probability: True if the output goes through a sigmoid.
    """

    elements: int
    embedding: int
    widths: tuple[int, ...]
    update: tuple[int, ...]
    blocks: int
    pool: int
    pool_steps: int
    output: tuple[int, ...]
    centers: tuple[float, ...]
    gaussian_width: float
    cutoff: float
    probability: bool


def shifted_softplus(x: torch.Tensor) -> torch.Tensor:
    """Softplus moved to pass through the origin, ln(e^x / 2 + 1 / 2)."""
    return functional.softplus(x) - math.log(2.0)


def hard_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """Keras' piecewise linear sigmoid, 0.2 x + 0.5 between 0 and 1."""
    return (0.2 * x + 0.5).clamp(0.0, 1.0)


def mean_over(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    """Average the rows that share an index.

    Args:
        values: (M, F).
        index: (M,) group of each row.
        size: Number of groups.

    Returns:
        (size, F); zero for a group without rows.
    """
    total = values.new_zeros(size, values.shape[1]).index_add(0, index, values)
    return total / torch.bincount(index, minlength=size).clamp(min=1)[:, None]


class Layers(nn.Module):
    """Linear layers with shifted softplus between them, and after the last one if asked."""

    def __init__(self, width_in: int, widths: Sequence[int], *, activate_last: bool) -> None:
        super().__init__()
        sizes = [width_in, *widths]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activate_last = activate_last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (M, width_in) to (M, widths[-1])."""
        for depth, linear in enumerate(self.linears, start=1):
            x = linear(x)
            if self.activate_last or depth < len(self.linears):
                x = shifted_softplus(x)
        return x


class MEGNetBlock(nn.Module):
    """One update of bonds, then atoms, then the crystal's state; without the residual sum."""

    def __init__(self, width: int, update: Sequence[int]) -> None:
        super().__init__()
        self.bond = Layers(4 * width, update, activate_last=False)
        self.atom = Layers(3 * width, update, activate_last=False)
        self.state = Layers(3 * width, update, activate_last=False)

    def forward(
        self, atoms: torch.Tensor, bonds: torch.Tensor, state: torch.Tensor, graph: GraphBatch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Update (N, F) atoms, (E, F) bonds and (B, F) states."""
        ends = [atoms[graph.first], atoms[graph.second]]
        bonds = self.bond(torch.cat([*ends, bonds, state[graph.bond_crystal]], dim=1))
        around = mean_over(bonds, graph.first, len(atoms))
        atoms = self.atom(torch.cat([around, atoms, state[graph.atom_crystal]], dim=1))
        bond_mean = mean_over(bonds, graph.bond_crystal, graph.size)
        atom_mean = mean_over(atoms, graph.atom_crystal, graph.size)
        state = self.state(torch.cat([bond_mean, atom_mean, state], dim=1))
        return atoms, bonds, state


class Set2Set(nn.Module):
    """Order-independent pooling by an LSTM that attends to the members (arXiv 1511.06391)."""

    def __init__(self, width_in: int, memory: int, steps: int) -> None:
        super().__init__()
        self.memory = nn.Linear(width_in, memory)
        self.gates = nn.Linear(2 * memory, 4 * memory)
        self.steps = steps

    def forward(self, members: torch.Tensor, crystal: torch.Tensor, size: int) -> torch.Tensor:
        """Pool (M, width_in) members with their crystal's index (M,) to (size, 2 memory)."""
        memory = self.memory(members)
        pooled = memory.new_zeros(size, 2 * memory.shape[1])
        for _ in range(self.steps):
            enter, _forget, candidate, leave = self.gates(pooled).chunk(4, dim=1)
            cell = hard_sigmoid(enter) * torch.tanh(candidate)  # the forget gate meets a cell of 0
            query = hard_sigmoid(leave) * torch.tanh(cell)
            score = (memory * query[crystal]).sum(dim=1)
            highest = score.new_full((size,), -torch.inf).scatter_reduce(0, crystal, score, "amax")
            weight = (score - highest[crystal]).exp()
            total = weight.new_zeros(size).index_add(0, crystal, weight)
            attended = (weight / total[crystal])[:, None] * memory
            read = memory.new_zeros(size, memory.shape[1]).index_add(0, crystal, attended)
            pooled = torch.cat([query, read], dim=1)
        return pooled


class MEGNetNetwork(nn.Module):
    """One published model: a crystal graph in, one number out."""

    def __init__(self, shape: MEGNetShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.update[-1]
        self.embedding = nn.Embedding(shape.elements, shape.embedding)
        self.register_buffer("centers", torch.tensor(shape.centers), persistent=False)
        inputs = {"atoms": shape.embedding, "bonds": len(shape.centers), "state": 2}
        self.before = nn.ModuleList()
        for block in range(shape.blocks):
            self.before.append(
                nn.ModuleDict(
                    {
                        name: Layers(
                            size if block == 0 else width, shape.widths, activate_last=True
                        )
                        for name, size in inputs.items()
                    }
                )
            )
        self.blocks = nn.ModuleList(MEGNetBlock(width, shape.update) for _ in range(shape.blocks))
        self.pool_atoms = Set2Set(width, shape.pool, shape.pool_steps)
        self.pool_bonds = Set2Set(width, shape.pool, shape.pool_steps)
        self.hidden = Layers(4 * shape.pool + width, shape.output, activate_last=True)
        self.output = nn.Linear(shape.output[-1], 1)

    def forward(self, graph: GraphBatch) -> torch.Tensor:
        """Predict (B,) numbers; every crystal of the batch must have a bond."""
        spread = (graph.distances[:, None] - self.centers) / self.shape.gaussian_width
        atoms, bonds, state = self._prepare(
            0,
            self.embedding(graph.atomic_numbers),
            torch.exp(-(spread**2)),
            self.centers.new_zeros(graph.size, 2),
        )
        for index, block in enumerate(self.blocks):
            inputs = (atoms, bonds, state)
            if index > 0:
                inputs = self._prepare(index, *inputs)
            change = block(*inputs, graph)
            atoms, bonds, state = atoms + change[0], bonds + change[1], state + change[2]
        pooled = [
            self.pool_atoms(atoms, graph.atom_crystal, graph.size),
            self.pool_bonds(bonds, graph.bond_crystal, graph.size),
            state,
        ]
        result = self.output(self.hidden(torch.cat(pooled, dim=1)))[:, 0]
        return torch.sigmoid(result) if self.shape.probability else result

    def _prepare(
        self, index: int, atoms: torch.Tensor, bonds: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        layers = self.before[index]
        return layers["atoms"](atoms), layers["bonds"](bonds), layers["state"](state)
