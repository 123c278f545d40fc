"""The network of package ``alignn`` (pure torch, no DGL) on batches of our own graphs.

ALIGNN: Choudhary and DeCost 2021, doi:10.1038/s41524-021-00650-1. Layers and weights are those of
``ALIGNNAtomWisePure``; what is added is a part of every property that is linear in the composition
and a scale, both fitted to the training labels, so that the layers learn what the composition
alone does not say.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from alignn.models.alignn_atomwise_pure import (
    ALIGNNAtomWisePure,
    ALIGNNAtomWisePureConfig,
    scatter_mean,
)
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from agents.screen.alignn_graph import BondBatch

MOST_PROTONS = 100
"""Elements with features: hydrogen to fermium (the table of CGCNN, as in the package)."""
_FEATURES = 92


class ALIGNNShape(BaseModel):
    """What is needed to build the network before its weights are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    properties: tuple[str, ...] = Field(
        default=("formation_energy_per_atom", "band_gap"), min_length=1
    )
    cutoff: float = Field(default=4.0, gt=0, le=8, description="longest bond (Å)")
    angle_cutoff: float = Field(
        default=3.0, gt=0, description="longest bond that takes part in an angle (Å)"
    )
    alignn_layers: int = Field(default=2, ge=0)
    gcn_layers: int = Field(default=2, ge=0)
    hidden: int = Field(default=128, ge=4)
    embedding: int = Field(default=64, ge=4)

    @model_validator(mode="after")
    def _angles_within_bonds(self) -> ALIGNNShape:
        if self.angle_cutoff > self.cutoff:
            raise ValueError(f"angle_cutoff {self.angle_cutoff} is above cutoff {self.cutoff}")
        return self

    def package_config(self) -> ALIGNNAtomWisePureConfig:
        """Return the package's own configuration: one output a property, no forces."""
        return ALIGNNAtomWisePureConfig(
            name="alignn_atomwise_pure",
            alignn_layers=self.alignn_layers,
            gcn_layers=self.gcn_layers,
            hidden_features=self.hidden,
            embedding_features=self.embedding,
            atom_input_features=_FEATURES,
            output_features=len(self.properties),
            calculate_gradient=False,
            gradwise_weight=0.0,
            energy_mult_natoms=False,
            use_penalty=False,
        )


class ALIGNNNetwork(nn.Module):
    """ALIGNN with the linear part of each property.

    Attributes:
        shape: Its sizes.
        core: The package's module.
        linear: (101, P) share of each element in a property, by atomic number (eV/atom, eV).
        scale: (P,) unit of the core's outputs (eV/atom, eV).
    """

    linear: Tensor
    scale: Tensor
    features: Tensor

    def __init__(self, shape: ALIGNNShape) -> None:
        """Create an untrained network.

        Args:
            shape: Its sizes.
        """
        super().__init__()
        self.shape = shape
        self.core = ALIGNNAtomWisePure(shape.package_config())
        outputs = len(shape.properties)
        self.register_buffer("linear", torch.zeros(MOST_PROTONS + 1, outputs))
        self.register_buffer("scale", torch.ones(outputs))
        self.register_buffer("features", element_features(), persistent=False)

    def forward(self, batch: BondBatch) -> Tensor:
        """Return (B, P): the properties in their units.

        Args:
            batch: Crystals; every atom has a bond.
        """
        crystals = len(batch.atoms)
        linear = scatter_mean(self.linear[batch.atomic_numbers], batch.crystal, crystals)
        return linear + self.scale * self.residual(batch)

    def residual(self, batch: BondBatch) -> Tensor:
        """Return (B, P): what the core says, in units of `scale`."""
        return self.core_output(*batch.tensors())

    def core_output(
        self,
        atomic_numbers: Tensor,
        vectors: Tensor,
        first: Tensor,
        second: Tensor,
        incoming: Tensor,
        outgoing: Tensor,
        crystal: Tensor,
        crystals: int,
    ) -> Tensor:
        """Do what the package's ``forward`` does, from tensors alone so that it can be compiled.

        Args:
            atomic_numbers: (N,).
            vectors: (E, 3) in Å.
            first: (E,) atom where a bond starts.
            second: (E,) atom where it ends.
            incoming: (T,) bond that ends at the atom of an angle.
            outgoing: (T,) bond that starts there.
            crystal: (N,) crystal of each atom.
            crystals: B.

        Returns:
            (B, P).
        """
        core = self.core
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        directions = vectors / lengths.unsqueeze(1)
        cosines = -(directions[incoming] * directions[outgoing]).sum(dim=1)
        atoms = core.atom_embedding(self.features[atomic_numbers])
        bonds = core.edge_embedding(lengths)
        angles = core.angle_embedding(cosines.clamp(-1.0, 1.0))
        n_atoms, n_bonds = atoms.shape[0], bonds.shape[0]
        for layer in core.alignn_layers:
            atoms, bonds, angles = layer.forward_tensors(
                first, second, n_atoms, incoming, outgoing, n_bonds, atoms, bonds, angles
            )
        for layer in core.gcn_layers:
            atoms, bonds = layer.forward_tensors(first, second, n_atoms, atoms, bonds)
        return core.fc(scatter_mean(atoms.float(), crystal, crystals))


@lru_cache(maxsize=1)
def element_features() -> Tensor:
    """Return (101, 92): the package's CGCNN features by atomic number; row 0 is unused."""
    from jarvis.core.specie import get_node_attributes
    from pymatgen.core import Element

    table = torch.zeros(MOST_PROTONS + 1, _FEATURES)
    for number in range(1, MOST_PROTONS + 1):
        symbol = Element.from_Z(number).symbol
        table[number] = torch.tensor(get_node_attributes(symbol, atom_features="cgcnn"))
    return table
