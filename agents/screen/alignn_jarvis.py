"""ALIGNN models published by JARVIS, for a person who has downloaded them.

The official weights (https://figshare.com/projects/ALIGNN2/279395, and the older ones listed in
``alignn.deprecated.pretrained``) are zip files with a ``config.json`` and a PyTorch checkpoint, one
for each property. Put the zips, or the folders they unpack to, into ``alignn-jarvis`` in
``$DISCOVERY_MODELS``. Two generations are read:

- ``alignn_atomwise`` and ``alignn_atomwise_pure``: layer normalisation;
- ``alignn`` of 2021: batch normalisation, otherwise the same layers.

Graphs are built by the package's own functions, as the model's configuration says. No official file
was at hand when this was written: it was tested with files of the same format made with the
package. So a model is believed only after it has passed `check`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from alignn.torch_graph_builder import TorchGraph, batch_torch_graph_pairs

from agents.paths import MissingFile, models_path
from agents.prediction import Prediction
from agents.screen.alignn_jarvis_files import (
    TARGETS,
    JarvisModel,
    build_graphs,
    read_jarvis_model,
)
from agents.screen.alignn_network import MOST_PROTONS
from agents.screen.domain import mp2018
from agents.screen.megnet_golden import golden_crystals
from agents.screen.screen import MissingModel, Refusal, Screen, UnsoundModel
from agents.targets import UNITS

if TYPE_CHECKING:
    from pymatgen.core import Structure

FOLDER = "alignn-jarvis"
DEPENDENCE = "trained on JARVIS-DFT: other crystals and another functional than MEGNet's"

PLAUSIBLE: dict[str, dict[str, tuple[float, float]]] = {
    "formation_energy_peratom": {
        "NaCl": (-2.3, -1.6),
        "Si": (-0.2, 0.2),
        "SrTiO3": (-3.8, -2.8),
        "GaAs": (-0.7, -0.15),
        "TiO2": (-3.7, -2.6),
    },
    "optb88vdw_bandgap": {
        "NaCl": (4.0, 6.5),
        "Si": (0.2, 1.4),
        "SrTiO3": (1.0, 2.7),
        "GaAs": (-0.1, 1.2),
        "TiO2": (1.0, 2.7),
    },
    "mbj_bandgap": {
        "NaCl": (6.0, 10.0),
        "Si": (0.6, 1.9),
        "SrTiO3": (1.5, 4.0),
        "GaAs": (0.5, 2.4),
        "TiO2": (1.3, 3.8),
    },
}
"""Where any sound model of the property must be for the crystals of `golden_crystals`: around the
values of semi-local functionals, with and without corrections (mBJ: around experiment)."""

_MOST_ATOMS = 500
_MOST_NEIGHBOURS = 400


class ALIGNNJarvis(Screen):
    """Official models behind one `predict`.

    Attributes:
        models: By JARVIS' name of the property.
        digests: The same to sha256 of the weights.
        training_data: Of the models.
        functional: Of the labels.
        dependence: What they share with the other models.
    """

    name = "alignn-jarvis"
    training_data = "JARVIS-DFT"
    functional = "OptB88vdW (mBJ for mbj_bandgap)"
    dependence = DEPENDENCE

    def __init__(
        self, models: Sequence[JarvisModel], *, batch: int = 16, device: str = "cpu"
    ) -> None:
        """Take read models; `load` is the way to get checked ones.

        Args:
            models: One for each property.
            batch: Crystals in one pass.
            device: Where to compute.
        """
        self.models = {model.target: model for model in models}
        self.batch, self.device = batch, device
        for model in models:
            model.network.to(device)
        self.digests = {target: model.sha256 for target, model in self.models.items()}
        together = hashlib.sha256("".join(sorted(self.digests.values())).encode()).hexdigest()
        self.version = f"jarvis-{together[:8]}"

    @classmethod
    def load(
        cls, directory: Path | None = None, *, batch: int = 16, device: str = "cpu"
    ) -> ALIGNNJarvis:
        """Read every zip file and folder of a directory and check them on known crystals.

        Args:
            directory: Default: ``alignn-jarvis`` in ``$DISCOVERY_MODELS`` or the user's cache.
            batch: Crystals in one pass.
            device: Where to compute.

        Returns:
            The screen.

        Raises:
            MissingModel: The directory is not there, or empty.
            UnsoundModel: A file is no model, two are of one property, or a value is implausible.
        """
        if directory is None:
            try:
                directory = models_path(FOLDER)
            except MissingFile as error:
                raise MissingModel(f"JARVIS' ALIGNN models: {error}") from error
        paths = sorted(p for p in directory.iterdir() if p.suffix == ".zip" or p.is_dir())
        if not paths:
            raise MissingModel(f"{directory} has no zip file or folder of an ALIGNN model")
        models = [read_jarvis_model(path) for path in paths]
        targets = [TARGETS[model.target] for model in models]
        twice = {target for target in targets if targets.count(target) > 1}
        if twice:
            raise UnsoundModel(f"{directory} has several models of {', '.join(sorted(twice)[0])}")
        screen = cls(models, batch=batch, device=device)
        screen.check()
        return screen

    def check(self) -> None:
        """Ask about crystals with known properties.

        Raises:
            UnsoundModel: A value is where no sound model can be.
        """
        crystals = golden_crystals()
        for target, model in self.models.items():
            values = self._evaluate(
                model, [build_graphs(s, model.config) for s in crystals.values()]
            )
            for formula, value in zip(crystals, values):
                low, high = PLAUSIBLE[target][formula]
                if not low <= value <= high:
                    raise UnsoundModel(
                        f"the model of {target} says {value:.3f} for {formula}, outside {low:g} to "
                        f"{high:g}: it is not what its name says"
                    )

    def predict(
        self, structures: Sequence[Structure], on: str = "relaxed"
    ) -> list[list[Prediction] | Refusal]:
        """Predict every property of which there is a model.

        Whether a crystal is in the domain is judged by MP 2018.6.1, as a stand-in for JARVIS-DFT.

        Args:
            structures: Crystals, any mixture of sizes.
            on: ``relaxed``, ``decoded`` or ``given``.

        Returns:
            One prediction a property for each crystal, or the reason why there are none.
        """
        refusals = {i: self._refusal(structure) for i, structure in enumerate(structures)}
        fit = [i for i, refusal in refusals.items() if refusal is None]
        values: dict[int, dict[str, float]] = {i: {} for i in fit}
        for target, model in self.models.items():
            for start in range(0, len(fit), self.batch):
                part = fit[start : start + self.batch]
                graphs = [build_graphs(structures[i], model.config) for i in part]
                for i, value in zip(part, self._evaluate(model, graphs)):
                    values[i][target] = value
        return [
            refusals[i] or self._answer(structure, values[i], on)
            for i, structure in enumerate(structures)
        ]

    def _refusal(self, structure: Structure) -> Refusal | None:
        heaviest = max(structure.atomic_numbers)
        if heaviest > MOST_PROTONS:
            return Refusal(self.name, f"element {heaviest} is not in ALIGNN's table of 100")
        if len(structure) > _MOST_ATOMS:
            return Refusal(self.name, f"{len(structure)} atoms, at most {_MOST_ATOMS} are taken")
        radius = min(5.0, *(float(model.config.get("cutoff", 8)) for model in self.models.values()))
        crowd = 4 / 3 * math.pi * radius**3 * len(structure) / structure.volume
        if crowd > _MOST_NEIGHBOURS:
            return Refusal(
                self.name, f"about {crowd:.0f} neighbours an atom: the cell is far too small"
            )
        radii = [
            float(model.config["cutoff"])
            for model in self.models.values()
            if model.config.get("neighbor_strategy") in ("pure_torch", "radius_graph")
        ]
        if radii:
            first = structure.get_neighbor_list(min(radii), exclude_self=True)[0]
            lonely = len(structure) - len(set(first.tolist()))
            if lonely:
                return Refusal(
                    self.name,
                    f"{lonely} of {len(structure)} atoms have no neighbour within {min(radii):g} Å",
                )
        return None

    def _evaluate(
        self, model: JarvisModel, graphs: Sequence[tuple[TorchGraph, TorchGraph]]
    ) -> list[float]:
        bonds, angles = batch_torch_graph_pairs(list(graphs))
        with torch.inference_mode():
            inputs = (bonds.to(self.device), angles.to(self.device), None)
            values: list[float] = model.network(inputs)["out"].tolist()
        factor = model.config.get("target_multiplication_factor") or 1.0
        return [value / factor for value in values]

    def _answer(
        self, structure: Structure, values: dict[str, float], on: str
    ) -> list[Prediction] | Refusal:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            return Refusal(self.name, f"{', '.join(bad)} is not a finite number")
        reasons = mp2018().reasons(structure)
        return [
            Prediction(
                property=TARGETS[target][0],
                value=value,
                unit=UNITS[TARGETS[target][0]],
                model=self.name,
                version=self.version,
                level=TARGETS[target][1],
                in_domain=not reasons,
                on=on,
                out_of_domain=reasons,
            )
            for target, value in values.items()
        ]
