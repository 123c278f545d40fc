"""CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi 10.1038/s42256-023-00716-3)."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agents.relax.chgnet_graph import BatchGraph, batch_graph, crystal_bonds, pack
from agents.relax.chgnet_network import CHGNetNetwork
from agents.relax.potential import Potential, PotentialResult

if TYPE_CHECKING:
    from pymatgen.core import Structure

VERSION = "0.3.0"
WEIGHTS = {
    "0.3.0": "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "0.2.0": "pretrained/0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
}
WEIGHTS_SHA256 = {
    "0.3.0": "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
    "0.2.0": "ef624f78b6db9d315b4ef256f1bb3207449924191b91720dc17d3f60c5df980e",
}
#: Elements up to Pu that its training set, MPtrj, does not contain.
UNTRAINED = frozenset({"Po", "At", "Rn", "Fr", "Ra"})
#: Bonds and angles per pass on a CPU (some ten crystals of five atoms): beyond that it is slower.
CPU_MESSAGES = 8_000
#: What the backward pass keeps of one bond or angle (a test measures it), and the share of the free
#: memory of a GPU that a batch may fill.
BYTES_PER_MESSAGE = 16_000
MEMORY_SHARE = 0.7


class CHGNetPotential(Potential):
    """CHGNet with the weights of its wheel, on one thread, in single precision.

    Its energies are those of the Materials Project: PBE(+U) with the MP2020 corrections. 0.2.0 is
    the release before, with another architecture and cut-off: a second opinion on what 0.3.0 says.
    The r2SCAN weights of the wheel are left out: the sanity gate, which knows PBE, refuses them.
    """

    name = "chgnet"

    def __init__(self, model: Any, device: str, version: str = VERSION) -> None:
        from pymatgen.core import Element

        self.version = version
        self._network = CHGNetNetwork(model)
        self._device = device
        self.elements = frozenset(Element.from_Z(z).symbol for z in range(1, 95)) - UNTRAINED

    @classmethod
    def load(cls, device: str = "cpu", version: str = VERSION) -> CHGNetPotential:
        """Load weights shipped in the chgnet wheel, "0.3.0" or "0.2.0".

        Raises:
            ValueError: the weights in the wheel are not those this product was tested with.
        """
        import chgnet
        from chgnet.model import CHGNet

        path = Path(chgnet.__file__).parent / WEIGHTS[version]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != WEIGHTS_SHA256[version]:
            raise ValueError(
                f"{path} has sha256 {digest}, expected {WEIGHTS_SHA256[version]}: "
                "install chgnet 0.4.2"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
        with contextlib.redirect_stdout(io.StringIO()):  # CHGNet announces itself
            model = CHGNet.from_dict(state, mlp_out_bias=version == "0.2.0", version=version)
        model.requires_grad_(False)
        return cls(model.to(device).eval(), device, version)

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        """See `Potential.evaluate`; one backward pass gives forces and stress of a batch."""
        results: list[PotentialResult] = []
        with _one_thread(self._device):
            for graph in self._graphs(structures):
                found = self._network.derivatives(graph)
                atoms = np.cumsum(np.bincount(graph.owners))[:-1]
                for energy, forces, virial in zip(
                    found.energies, np.split(found.forces, atoms), found.virials
                ):
                    volume = structures[len(results)].volume
                    results.append(PotentialResult(float(energy), forces, virial / volume))
        return results

    def energies(self, structures: Sequence[Structure]) -> np.ndarray:
        """See `Potential.energies`; no gradients are built."""
        with _one_thread(self._device):
            parts = [self._network.energies(graph) for graph in self._graphs(structures)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def in_flight(self, structures: Sequence[Structure]) -> int:
        """See `Potential.in_flight`; on a GPU as many as fill its memory in one pass."""
        least = super().in_flight(structures)
        if self._device == "cpu" or not structures:
            return least
        network = self._network
        sample = [s for s in structures[:least] if len(s)]
        messages = [
            crystal_bonds(s, network.atom_cutoff, network.bond_cutoff).messages for s in sample
        ]
        mean = max(float(np.mean(messages)), 1.0)
        return max(least, int(messages_at_once(self._device) / mean))

    def _graphs(self, structures: Sequence[Structure]) -> Iterator[BatchGraph]:
        """Yield the graphs of batches that suit the device."""
        self.require_elements(structures)
        network = self._network
        crystals = [crystal_bonds(s, network.atom_cutoff, network.bond_cutoff) for s in structures]
        for batch in pack(crystals, messages_at_once(self._device)):
            yield batch_graph(batch)


def messages_at_once(device: str, free_memory: Callable[[str], int] | None = None) -> int:
    """Return how many bonds and angles one pass may work on.

    On a CPU a batch beyond the cache gains nothing; on a GPU it fills most of the free memory.

    Args:
        device: torch device.
        free_memory: bytes free on a GPU; asks the driver where it is not given.
    """
    if device.split(":")[0] == "cpu":
        return CPU_MESSAGES
    free = (free_memory or _free_memory)(device)
    return max(1, int(MEMORY_SHARE * free / BYTES_PER_MESSAGE))


def _free_memory(device: str) -> int:
    """Bytes that tensors can still take on a GPU: free, or held by torch but not in use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


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
