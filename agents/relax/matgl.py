"""Potentials saved by matgl (M3GNet, TensorNet, ...); optional, `pip install discovery[matgl]`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import units

from agents.relax.potential import Potential, PotentialResult, UnavailableDevice

if TYPE_CHECKING:
    from pymatgen.core import Structure


class MatglPotential(Potential):
    """A potential in the three-file format of matgl.

    Models saved before matgl's release 3 load without any error and are wrong; only the sanity gate
    tells (`agents.relax.gate`). The version is the hash of the weights, not the name of the folder.
    """

    def __init__(self, model: Any, name: str, version: str, device: str) -> None:
        from matgl.ext.pymatgen import Structure2Graph

        self.name = name
        self.version = version
        self.corrections: Literal["mp2020", "none"] = "none" if "matpes" in name else "mp2020"
        self.elements = frozenset(model.model.element_types)
        self._model = model.to(device).eval()
        self._converter = Structure2Graph(model.model.element_types, float(model.model.cutoff))

    @classmethod
    def load(cls, directory: Path, device: str = "cpu") -> MatglPotential:
        """Load a saved model; not yet through the gate.

        Raises:
            ImportError: matgl is not installed.
            UnavailableDevice: the device is not the CPU.
            ValueError: the directory holds no matgl potential, or a corrupt one.
        """
        if device != "cpu":
            raise UnavailableDevice(
                f"potentials of matgl run on the CPU only, not on {device!r}: set relax.device to "
                "cpu, or relax.potential to chgnet"
            )
        missing = [
            n for n in ("model.json", "model.pt", "state.pt") if not (directory / n).exists()
        ]
        if missing:
            raise ValueError(f"{directory} is no saved matgl model: {', '.join(missing)} missing")
        try:
            import matgl
        except ImportError as error:
            raise ImportError(f"{directory} needs matgl: pip install 'discovery[matgl]'") from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the gate, not a warning, decides
            try:
                model = matgl.load_model(directory)
            except (RuntimeError, ValueError) as error:
                reason = error.__cause__ or error
                raise ValueError(f"{directory} cannot be read by matgl: {reason}") from error
        if not hasattr(model, "calc_stresses"):
            raise ValueError(f"{directory} holds a {type(model).__name__}, not a matgl potential")
        version = hashlib.sha256((directory / "state.pt").read_bytes()).hexdigest()[:12]
        return cls(model, directory.name.lower(), version, device)

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        """See `Potential.evaluate`."""
        self.require_elements(structures)
        return [self._evaluate_one(structure) for structure in structures]

    def _evaluate_one(self, structure: Structure) -> PotentialResult:
        import torch

        graph, lattice, state = self._converter.get_graph(structure)
        energy, forces, stress, *_ = self._model(
            graph, lattice, torch.tensor(np.array(state), dtype=torch.float32)
        )
        return PotentialResult(
            energy=float(energy),
            forces=forces.detach().double().cpu().numpy(),
            stress=stress.detach().double().cpu().numpy().reshape(3, 3) * units.GPa,
        )
