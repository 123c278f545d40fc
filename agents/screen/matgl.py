"""Property models of matgl's hub by name (MEGNet, M3GNet, ...); `pip install discovery[matgl]`."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.paths import MissingFile
from agents.prediction import Prediction
from agents.relax.matgl import FILES, locate, require_own_classes
from agents.relax.potential import UnusablePotential
from agents.screen.domain import mp2018
from agents.screen.known_values import require_known_values
from agents.screen.screen import MissingModel, Refusal, Screen, UnsoundModel
from agents.screen.settings import MATGL_PREFIX
from agents.targets import UNITS

if TYPE_CHECKING:
    from pymatgen.core import Structure

PROPERTIES = {"eform": "formation_energy_per_atom", "bandgap": "band_gap"}
"""What part of a model's name says about what it predicts."""
PBE = 0
"""The state of matgl's multi-fidelity gap models that stands for PBE."""


def named_property(name: str) -> str | None:
    """Return the property that the name of a matgl model speaks of; None for a potential."""
    plain = name.lower().replace("-", "").replace("_", "")
    found = [prop for part, prop in PROPERTIES.items() if part in plain]
    return found[0] if len(found) == 1 else None


class MatglScreen(Screen):
    """One property model saved by matgl; its property is told by its name.

    Like the potentials of matgl, models saved before its release 3 load without any error and are
    wrong, so the gate decides.
    """

    def __init__(self, model: Any, name: str, digest: str, *, device: str = "cpu") -> None:
        """Take a loaded model; `load` is the way to get a checked one.

        Args:
            model: A matgl model with `predict_structure`.
            name: Its name on the hub.
            digest: sha256 of its weights.
            device: Where to compute.

        Raises:
            UnsoundModel: The name does not say what the model predicts.
        """
        self.name = f"{MATGL_PREFIX}{name}"
        self.version = digest[:12]
        self.digests = {"state.pt": digest}
        found = named_property(name)
        if found is None:
            raise UnsoundModel(
                f"{self.name}: the name of a property model must contain either Eform or BandGap"
            )
        self.property = found
        dated = re.search(r"mp-?(\d{4})", name.lower())
        self.level = f"pbe-mp{dated[1]}" if dated else f"matgl-{name.lower()}"
        inner = getattr(model, "model", model)
        self.elements = frozenset(inner.element_types)
        self._several_levels = getattr(inner, "_init_args", {}).get("ntypes_state") is not None
        self._model = model.to(device).eval()

    @classmethod
    def load(cls, name: str, *, device: str = "cpu") -> MatglScreen:
        """Load a model by its name on matgl's hub and check it on known crystals.

        Args:
            name: "MEGNet-Eform-MP-2018.6.1" or so; its folder is looked for in
                ``$DISCOVERY_MODELS/matgl`` and the user's cache.
            device: Where to compute.

        Returns:
            The screen.

        Raises:
            MissingModel: It is not here, or matgl is not installed.
            UnsoundModel: It is no property model, or is wrong about a known crystal.
        """
        try:
            folder = locate(name)
        except MissingFile as error:
            raise MissingModel(str(error)) from error
        return cls.from_folder(folder, device=device)

    @classmethod
    def from_folder(cls, folder: Path, *, device: str = "cpu") -> MatglScreen:
        """Load a saved model named after its folder; raises as `load` does."""
        missing = [file for file in FILES if not (folder / file).exists()]
        if missing:
            raise UnsoundModel(f"{folder} is no saved matgl model: {', '.join(missing)} missing")
        try:
            import matgl
        except ImportError as error:
            raise MissingModel(f"{folder} needs matgl: pip install 'discovery[matgl]'") from error
        try:
            require_own_classes(folder)
        except UnusablePotential as error:
            raise UnsoundModel(str(error)) from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the gate, not a warning, decides
            try:
                model = matgl.load_model(folder)
            except (RuntimeError, ValueError, KeyError) as error:
                reason = error.__cause__ or error
                raise UnsoundModel(f"{folder} cannot be read by matgl: {reason}") from error
        if hasattr(model, "calc_stresses"):
            raise UnsoundModel(
                f"{folder.name} is a potential, not a property model: name it in relax.potential"
            )
        digest = hashlib.sha256((folder / "state.pt").read_bytes()).hexdigest()
        screen = cls(model, folder.name, digest, device=device)
        require_known_values(screen, [screen.property])
        return screen

    def predict(
        self, structures: Sequence[Structure], on: str = "relaxed"
    ) -> list[list[Prediction] | Refusal]:
        """Predict one property; see `Screen.predict`."""
        return [self._predict_one(structure, on) for structure in structures]

    def _predict_one(self, structure: Structure, on: str) -> list[Prediction] | Refusal:
        import torch

        unknown = sorted({e.symbol for e in structure.composition.elements} - self.elements)
        if unknown:
            return Refusal(self.name, f"{', '.join(unknown)} is not among its elements")
        state = torch.tensor([PBE]) if self._several_levels else None
        try:
            value = float(self._model.predict_structure(structure, state_attr=state))
        except (ValueError, RuntimeError, IndexError) as error:  # a crystal without a bond, say
            return Refusal(self.name, f"{type(error).__name__}: {error}")
        if not math.isfinite(value):
            return Refusal(self.name, f"{self.property} is not a finite number")
        reasons = mp2018().reasons(structure, elements=False)
        return [
            Prediction(
                property=self.property,
                value=value,
                unit=UNITS[self.property],
                model=self.name,
                version=self.version,
                level=self.level,
                in_domain=not reasons,
                on=on,
                out_of_domain=reasons,
            )
        ]
