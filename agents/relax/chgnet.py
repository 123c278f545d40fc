"""CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi 10.1038/s42256-023-00716-3)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agents.relax.potential import Potential, PotentialResult

if TYPE_CHECKING:
    from pymatgen.core import Structure

VERSION = "0.3.0"
WEIGHTS = "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"
WEIGHTS_SHA256 = "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1"
#: Elements up to Pu that its training set, MPtrj, does not contain.
UNTRAINED = frozenset({"Po", "At", "Rn", "Fr", "Ra"})
#: Crystals per forward pass: on a CPU larger batches gain nothing (measured) and cost memory.
CHUNK = {"cpu": 8, "cuda": 256}


class CHGNetPotential(Potential):
    """CHGNet with the weights of its wheel, on one thread, in single precision.

    Its energies are those of the Materials Project: PBE(+U) with the MP2020 corrections.
    """

    name = "chgnet"
    version = VERSION

    def __init__(self, model: Any, device: str) -> None:
        from pymatgen.core import Element

        self._model = model
        self._device = device
        self.elements = frozenset(Element.from_Z(z).symbol for z in range(1, 95)) - UNTRAINED

    @classmethod
    def load(cls, device: str = "cpu") -> CHGNetPotential:
        """Load the weights shipped in the chgnet wheel.

        Raises:
            ValueError: the weights in the wheel are not those this product was tested with.
        """
        import chgnet
        from chgnet.model import CHGNet

        path = Path(chgnet.__file__).parent / WEIGHTS
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != WEIGHTS_SHA256:
            raise ValueError(
                f"{path} has sha256 {digest}, expected {WEIGHTS_SHA256}: install chgnet 0.4.2"
            )
        # CHGNet makes a volume of a strained cell a plain number; torch says so once per process
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
        with contextlib.redirect_stdout(io.StringIO()):  # CHGNet announces itself
            model = CHGNet.from_dict(state, mlp_out_bias=False, version=VERSION)
        model.graph_converter.set_isolated_atom_response("ignore")
        model.requires_grad_(False)
        return cls(model.to(device).eval(), device)

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        """See `Potential.evaluate`."""
        self.require_elements(structures)
        results: list[PotentialResult] = []
        with _one_thread(self._device):
            for chunk in self._chunks(structures):
                results += self._evaluate_chunk(chunk)
        return results

    def energies(self, structures: Sequence[Structure]) -> np.ndarray:
        """See `Potential.energies`; no gradients are built."""
        self.require_elements(structures)
        energies: list[float] = []
        with _one_thread(self._device), torch.no_grad():
            for chunk in self._chunks(structures):
                per_atom = self._model(self._graphs(chunk), task="e")["e"].tolist()
                energies += [e * len(s) for e, s in zip(per_atom, chunk)]
        return np.array(energies)

    def _chunks(self, structures: Sequence[Structure]) -> Iterator[Sequence[Structure]]:
        size = CHUNK[self._device.split(":")[0]]
        for start in range(0, len(structures), size):
            yield structures[start : start + size]

    def _graphs(self, structures: Sequence[Structure]) -> list[Any]:
        return [self._model.graph_converter(s).to(self._device) for s in structures]

    def _evaluate_chunk(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        """Evaluate one batch with one backward pass for forces and stress together.

        CHGNet's own prediction differentiates twice and keeps the graph for training, which is
        what this saves; a test holds the two equal.
        """
        from chgnet.model.model import BatchedGraph

        model = self._model
        graphs = self._graphs(structures)
        batch = BatchedGraph.from_graphs(
            graphs,
            bond_basis_expansion=model.bond_basis_expansion,
            angle_basis_expansion=model.angle_basis_expansion,
            compute_stress=True,
        )
        sizes = torch.tensor([len(s) for s in structures], device=self._device)
        total = (model._compute(batch)["e"] + model.composition_model(graphs)) * sizes
        gradients = torch.autograd.grad(total.sum(), [*batch.atom_positions, *batch.strains])
        position_gradients = gradients[: len(structures)]
        strain_gradients = gradients[len(structures) :]
        return [
            PotentialResult(
                energy=float(energy),
                forces=-position.double().cpu().numpy(),
                stress=_symmetric(strain.double().cpu().numpy()) / structure.volume,
            )
            for structure, energy, position, strain in zip(
                structures, total.detach().double(), position_gradients, strain_gradients
            )
        ]


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + matrix.T)


@contextlib.contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """Run torch on one thread: workers are processes, and small crystals gain nothing from more."""
    before = torch.get_num_threads()
    if device == "cpu" and before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
