"""Interatomic potentials: the one interface every potential of the product has."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure

#: Names `load_potential` understands besides the directory of a saved model.
POTENTIALS = ("chgnet", "chgnet-0.3.0")
#: Kinds of torch devices potentials run on; Apple's mps lacks the double precision they need.
DEVICES = ("cpu", "cuda")


class UnsupportedElements(ValueError):
    """A crystal contains elements the potential was not trained on."""


class UnavailableDevice(ValueError):
    """The torch device asked for is not on this machine, or the potential does not run on it."""


@dataclass(frozen=True)
class PotentialResult:
    """Energy, forces and stress of one crystal.

    Attributes:
        energy: total energy of the cell, eV.
        forces: shape (N, 3), eV/Å.
        stress: shape (3, 3), eV/Å^3, ASE's sign (dE/d(strain) / V; negative under compression).
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray

    @property
    def max_force(self) -> float:
        """Largest norm of the force on an atom, eV/Å."""
        return float(np.linalg.norm(self.forces, axis=1).max())

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        return bool(
            np.isfinite(self.energy)
            and np.isfinite(self.forces).all()
            and np.isfinite(self.stress).all()
        )


class Potential(ABC):
    """An interatomic potential, loaded once per process and then only asked.

    Life of a potential: `load_potential` builds it, passes it through the sanity gate
    (`agents.relax.gate.check`) and hands it out; from then on it is immutable. A worker keeps one
    for as long as it lives. The evaluation stage calls `evaluate` with whole batches of decoded
    crystals; the relaxation calls it again and again with the crystal it moves, through the
    calculator that `calculator` returns; the reference table calls `energies`. Nothing may change
    the weights after loading, and no call may depend on the calls before it: the same crystal gives
    the same numbers alone and in any batch.

    A new potential sets `name`, `version` and `elements` and implements `evaluate`. It raises
    `UnsupportedElements` (by calling `require_elements`) before it computes anything, never prints
    to standard output, and lets errors of its library out unchanged: the stages record them.

    Attributes:
        name: short lower-case name, "chgnet".
        version: version of the *weights*, "0.3.0"; numbers of two versions are never mixed.
        elements: symbols of the elements the potential was trained on.
        corrections: energy corrections contained in its labels: "mp2020" (Materials Project) or
            "none" (raw PBE); decides which known values the sanity gate expects.
    """

    name: str
    version: str
    elements: frozenset[str]
    corrections: Literal["mp2020", "none"] = "mp2020"

    @property
    def level(self) -> str:
        """Level of theory under which this potential's numbers are stored, "chgnet-0.3.0"."""
        return f"{self.name}-{self.version}"

    @abstractmethod
    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        """Compute energy, forces and stress of a batch of crystals.

        Args:
            structures: ordered crystals; left unchanged.

        Returns:
            One result per crystal, in the order given.

        Raises:
            UnsupportedElements: for the first crystal outside the element domain.
        """

    def energies(self, structures: Sequence[Structure]) -> np.ndarray:
        """Compute total energies only; a potential overrides this where that is cheaper.

        Returns:
            Shape (B,), eV per cell.
        """
        return np.array([result.energy for result in self.evaluate(structures)])

    def calculator(self) -> Calculator:
        """Return a new ASE calculator that asks this potential."""
        from agents.relax.calculator import PotentialCalculator

        return PotentialCalculator(self)

    def require_elements(self, structures: Sequence[Structure]) -> None:
        """Raise `UnsupportedElements` when a crystal is outside the element domain."""
        for index, structure in enumerate(structures):
            unknown = {str(e) for e in structure.composition.element_composition} - self.elements
            if unknown:
                raise UnsupportedElements(
                    f"{self.level} was not trained on {', '.join(sorted(unknown))} "
                    f"(crystal {index}, {structure.composition.reduced_formula}); "
                    f"it knows {len(self.elements)} elements"
                )


@functools.lru_cache(maxsize=4)
def load_potential(name: str, device: str = "cpu") -> Potential:
    """Load a potential and let it through the sanity gate, once per process.

    Args:
        name: "chgnet" (the newest weights shipped with CHGNet), "chgnet-0.3.0", "auto" (CHGNet), or
            the directory of a model saved by matgl.
        device: torch device, "cpu" or "cuda".

    Returns:
        The potential, ready to be asked; the same object for the same arguments.

    Raises:
        ValueError: the name is neither a known potential nor the directory of one.
        UnavailableDevice: the device is not on this machine, or the potential does not run on it.
        agents.relax.gate.GateFailure: the potential is wrong about a known crystal.
    """
    from agents.relax.gate import check

    potential = _load(name, device)
    check(potential)
    return potential


def _load(name: str, device: str) -> Potential:
    require_device(device)
    if name in ("auto", *POTENTIALS):
        from agents.relax.chgnet import CHGNetPotential

        return CHGNetPotential.load(device=device)
    if Path(name).is_dir():
        from agents.relax.matgl import MatglPotential

        return MatglPotential.load(Path(name), device=device)
    raise ValueError(
        f"unknown potential {name!r}; known are {', '.join(POTENTIALS)} "
        "or the directory of a saved matgl model"
    )


def require_device(device: str) -> None:
    """Raise `UnavailableDevice` unless potentials can be computed on a device of this machine.

    Args:
        device: "cpu", "cuda" or "cuda:N".
    """
    import torch

    kind, _, index = device.partition(":")
    if kind not in DEVICES or (":" in device and not (kind == "cuda" and index.isdecimal())):
        raise UnavailableDevice(
            f"potentials do not run on the device {device!r}: set relax.device to cpu, cuda or "
            "cuda:N"
        )
    if kind == "cpu":
        return
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found == 0:
        raise UnavailableDevice(
            f"relax.device is {device!r}, but torch {torch.__version__} finds no CUDA device here: "
            "set relax.device to cpu, or install a CUDA build of torch and its driver"
        )
    if index and int(index) >= found:
        raise UnavailableDevice(
            f"relax.device is {device!r}, but this machine has {found} CUDA device(s), numbered "
            f"from 0: choose cuda:0 to cuda:{found - 1}, or cpu"
        )
