"""Interatomic potentials: the one interface every potential of the product has."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from agents.extensions import POTENTIALS as BROUGHT
from agents.extensions import extensions, load_extension
from db.suggestion import did_you_mean

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure

#: CHGNet, whose weights are in its package.
CHGNET = ("chgnet", "chgnet-0.3.0", "chgnet-0.2.0")
#: OpenLAM's models, by the names DeePMD-kit publishes them under.
OPENLAM_MODELS = (
    "DPA-2.4-7M",
    "DPA-3.1-3M",
    "DPA-3.2-5M",
    "DPA-3.3-1M",
    "DPA3-Omol-Large",
    "DPA4-Nano-OMat24-v20260805",
    "DPA4-Mini-OMat24-v20260805",
    "DPA4-Neo-OMat24-v20260805",
    "DPA4-Air-OMat24-v20260805",
    "DPA4-Plus-OMat24-v20260805",
)
#: The project's own small DPA-3, shipped to test the DeePMD path; no campaign may use it.
OPENLAM_TEST = "openlam-test"
#: "matgl:NAME" is a model of matgl's current hub.
MATGL_PREFIX = "matgl:"
#: Every name `load_potential` understands, besides heads, files and folders.
POTENTIALS = (*CHGNET, *OPENLAM_MODELS, OPENLAM_TEST)
#: Kinds of torch devices potentials run on; Apple's mps lacks the double precision they need.
DEVICES = ("cpu", "cuda")


class UnsupportedElements(ValueError):
    """A crystal contains elements the potential was not trained on."""


class MissingPackage(ImportError):
    """The optional package a potential needs is not installed."""


class UnusablePotential(ValueError):
    """A name is no potential, or its file is corrupt or of another kind."""


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
            "none" (raw PBE); decides which known values the sanity gate expects. None: unknown, the
            gate takes the set that fits better, and still refuses what fits neither.
        test_model: it exists to test this product; campaigns refuse it.
        learned_slabs: whether slabs are a good part of its training data; else its numbers of slabs
            are flagged as out of domain.
        golden_values: of a test model, its own numbers, which the gate expects instead of the known
            ones: {crystal: {"formation_energy_per_atom": eV/atom, "pressure": GPa}}.
    """

    name: str
    version: str
    elements: frozenset[str]
    corrections: Literal["mp2020", "none"] | None = "mp2020"
    test_model: bool = False
    learned_slabs: bool = False
    golden_values: Mapping[str, Mapping[str, float]] | None = None

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

    def in_flight(self, structures: Sequence[Structure]) -> int:
        """Return how many crystals like these are best relaxed at once; 32 fill a CPU's batches."""
        return 32

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
        name: "chgnet" (the newest weights shipped with CHGNet), "chgnet-0.3.0", "auto" (CHGNet);
            a model of OpenLAM and its head, "DPA-3.1-3M:HEAD"; "openlam-test"; a `.pt` or `.pth`
            file of DeePMD-kit, "model.pt:HEAD" where it has several heads; "matgl:NAME"; the
            directory of a model saved by matgl; or a name that an installed package brings
            (`agents.extensions`).
        device: torch device, "cpu" or "cuda".

    Returns:
        The potential, ready to be asked; the same object for the same arguments.

    Raises:
        UnusablePotential: the name is no potential, or its file is corrupt or of another kind.
        agents.paths.MissingFile: the weights are not on this machine.
        MissingPackage: the optional package of the potential is not installed.
        UnavailableDevice: the device is not on this machine, or the potential does not run on it.
        agents.relax.gate.GateFailure: the potential is wrong about a known crystal.
    """
    from agents.relax.gate import check

    potential = _load(name, device)
    check(potential)
    return potential


def _load(name: str, device: str) -> Potential:
    require_device(device)
    if name in ("auto", *CHGNET):
        from agents.relax.chgnet import CHGNetPotential

        version = name.partition("-")[2] or "0.3.0"
        return CHGNetPotential.load(device=device, version=version)
    if name.startswith(MATGL_PREFIX):
        from agents.relax.matgl import MatglPotential, locate

        return MatglPotential.load(locate(name.removeprefix(MATGL_PREFIX)), device=device)
    if _is_openlam(name):
        from agents.relax.openlam import OpenLAMPotential

        return OpenLAMPotential.load(name, device=device)
    if Path(name).is_dir():
        from agents.relax.matgl import MatglPotential

        return MatglPotential.load(Path(name), device=device)
    load = load_extension(BROUGHT, name)
    if load is not None:
        brought: Potential = load(device)
        return brought
    known = (*POTENTIALS, *extensions(BROUGHT))
    raise UnusablePotential(
        f"unknown potential {name!r}.{did_you_mean(name, known)} Known are {', '.join(known)} "
        "(with :HEAD where a model has heads), matgl:NAME, a .pt or .pth file of DeePMD-kit, or "
        "the directory of a saved matgl model"
    )


def _is_openlam(name: str) -> bool:
    """Say whether a name is OpenLAM's to load or to refuse: a built-in one or a file."""
    from agents.relax.openlam_weights import parse_name

    return parse_name(name) is not None or Path(name).is_file()


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
