"""Potentials saved by matgl (M3GNet, TensorNet, ...); optional, `pip install discovery[matgl]`."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import units

from agents.download import DownloadFailed
from agents.paths import MissingFile, cache_path, models_path
from agents.relax.potential import (
    MissingPackage,
    Potential,
    PotentialResult,
    UnavailableDevice,
    UnusablePotential,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure


#: The three files of a saved model.
FILES = ("model.json", "model.pt", "state.pt")


def locate(name: str) -> Path:
    """Find the folder of a model by its name on matgl's hub; nothing is downloaded.

    Args:
        name: "TensorNet-PES-MatPES-PBE-2025.2" or so.

    Raises:
        MissingFile: it is neither in `$DISCOVERY_MODELS/matgl` nor in this product's cache; the
            message says how to fetch it.
        UnusablePotential: the name is a path.
    """
    _require_plain(name)
    try:
        return models_path(f"matgl/{name}")
    except MissingFile as error:
        raise MissingFile(
            f"the matgl model {name} is not here ({error}): fetch it with "
            f"`discovery models fetch matgl:{name}`"
        ) from error


def fetch(name: str) -> Path:
    """Download a model of matgl's hub into this product's cache.

    Its files carry no published checksum; the sanity gate decides when it is loaded.

    Raises:
        MissingPackage: matgl is not installed.
        agents.download.DownloadFailed: the hub has no such model, or cannot be reached.
    """
    _require_plain(name)
    try:
        from huggingface_hub import hf_hub_download
        from matgl.utils.io import HF_MATGL_ORG
    except ImportError as error:
        raise MissingPackage(f"matgl:{name} needs matgl: pip install 'discovery[matgl]'") from error
    repository, folder = f"{HF_MATGL_ORG}/{name}", cache_path("models") / "matgl" / name
    try:
        for file in FILES:
            hf_hub_download(repository, file, local_dir=folder)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DownloadFailed(
            f"{repository} could not be fetched from its hub: {reason}; the names it has are "
            "printed by matgl.get_available_pretrained_models()"
        ) from error
    return folder


def _require_plain(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UnusablePotential(
            f"{name!r} is no name of a matgl model: give matgl:NAME, or its folder"
        )


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
            MissingPackage: matgl is not installed.
            UnavailableDevice: the device is not the CPU.
            ValueError: the directory holds no matgl potential, or a corrupt one.
        """
        if device != "cpu":
            raise UnavailableDevice(
                f"potentials of matgl run on the CPU only, not on {device!r}: set relax.device to "
                "cpu, or relax.potential to chgnet"
            )
        missing = [name for name in FILES if not (directory / name).exists()]
        if missing:
            raise UnusablePotential(
                f"{directory} is no saved matgl model: {', '.join(missing)} missing"
            )
        try:
            import matgl
        except ImportError as error:
            raise MissingPackage(
                f"{directory} needs matgl: pip install 'discovery[matgl]'"
            ) from error
        require_own_classes(directory)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the gate, not a warning, decides
            try:
                model = matgl.load_model(directory)
            except (RuntimeError, ValueError) as error:
                reason = error.__cause__ or error
                raise UnusablePotential(f"{directory} cannot be read by matgl: {reason}") from error
        if not hasattr(model, "calc_stresses"):
            raise UnusablePotential(
                f"{directory} holds a {type(model).__name__}, not a matgl potential"
            )
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


def require_own_classes(directory: Path) -> None:
    """Refuse a `model.json` that names a module outside matgl, which matgl would import."""
    try:
        module = json.loads((directory / "model.json").read_text())["@module"]
    except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise UnusablePotential(
            f"{directory} cannot be read by matgl: {error!r} in model.json"
        ) from error
    if not str(module).startswith("matgl."):
        raise UnusablePotential(f"{directory} cannot be read by matgl: it is a model of {module}")
