"""MEGNet mp-2018.6.1: formation energy, band gap and the probability of a gap.

The three original models, trained on the Materials Project of 2018-06-01 (PBE and PBE+U, its own
corrections). Published mean absolute errors: 0.028 eV/atom and 0.33 eV; the classifier finds 78.9 %
of the metals and 90.6 % of the others. Which crystals were held out was not published; the errors
measured here, and what they mean, are in docs/screens.md. The gap model was trained on crystals
with a gap only: for a metal its number means nothing, which is what ``p_gap`` is for, and it can be
slightly negative. It is stored as it comes out of the network; whoever compares it with a window
takes max(0, gap).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from agents.paths import MissingFile, models_path
from agents.prediction import Prediction
from agents.screen.domain import mp2018
from agents.screen.megnet_golden import GOLDEN, TOLERANCE, golden_crystals
from agents.screen.megnet_graph import CrystalGraph, batch_graphs, build_graph
from agents.screen.megnet_network import MEGNetNetwork
from agents.screen.megnet_weights import read_network
from agents.screen.screen import (
    MissingModel,
    Refusal,
    Screen,
    UnsoundModel,
    evaluate_in_batches,
)
from agents.targets import UNITS

if TYPE_CHECKING:
    from pymatgen.core import Structure

FOLDER = "megnet-mp-2018.6.1"
SOURCE = "https://github.com/materialsvirtuallab/megnet/tree/master/mvl_models/mp-2018.6.1"
FILES = {
    "formation_energy_per_atom": "formation_energy.hdf5",
    "band_gap": "band_gap_regression.hdf5",
    "p_gap": "band_classification.hdf5",
}
VERSION = "mp-2018.6.1"
LEVEL = "pbe-mp2018"

_UNTRAINED_NORM = 0.3
"""Rows of the embedding that training never touched keep a norm near 0.1; the smallest touched one
has 0.5."""
_RARE = frozenset({2, 10, 18, 36})
"""He, Ne, Ar, Kr: eight crystals or fewer in the training data."""
_MOST_NEIGHBOURS = 1000
"""Real crystals have 10 to 60 within 4 Å; a collapsed cell would fill the memory with bonds."""


class MEGNet(Screen):
    """The three published networks behind one `predict`."""

    name = "megnet"
    version = VERSION

    def __init__(
        self, networks: dict[str, MEGNetNetwork], *, batch: int = 64, device: str = "cpu"
    ) -> None:
        """Take loaded networks; `load` is the way to get checked ones.

        Args:
            networks: Property name to network.
            batch: Crystals in one pass.
            device: Where to compute.
        """
        self.networks = {name: network.to(device) for name, network in networks.items()}
        self.batch = batch
        self.device = device
        self.digests: dict[str, str] = {}

    @classmethod
    def load(cls, directory: Path | None = None, *, batch: int = 64, device: str = "cpu") -> MEGNet:
        """Read the original files and check them on crystals with known values.

        Args:
            directory: Folder with the hdf5 and JSON files; default: ``megnet-mp-2018.6.1`` in
                ``$DISCOVERY_MODELS`` or the user's cache.
            batch: Crystals in one pass.
            device: Where to compute.

        Returns:
            The screen.

        Raises:
            MissingModel: The folder or one of its six files is not there.
            UnsoundModel: The files cannot be read, or the golden values are not met.
        """
        if directory is None:
            try:
                directory = models_path(FOLDER)
            except MissingFile as error:
                raise MissingModel(f"MEGNet's weights: {error}; they come from {SOURCE}") from error
        paths = {name: directory / file for name, file in FILES.items()}
        missing = [
            path.name
            for file in paths.values()
            for path in (file, file.with_name(file.name + ".json"))
            if not path.is_file()
        ]
        if missing:
            raise MissingModel(
                f"MEGNet's weights are incomplete: {', '.join(missing)} missing in {directory}; "
                f"they come from {SOURCE}"
            )
        screen = cls(
            {name: read_network(path) for name, path in paths.items()}, batch=batch, device=device
        )
        screen.digests = {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()
        }
        screen.check()
        return screen

    def check(self) -> None:
        """Compare with the golden values.

        Raises:
            UnsoundModel: One is missed by more than 0.005.
        """
        crystals = golden_crystals()
        for formula, found in zip(crystals, self.predict(list(crystals.values()))):
            if isinstance(found, Refusal):
                raise UnsoundModel(f"MEGNet gives no number for {formula}: {found.reason}")
            for prediction in found:
                expected = GOLDEN[formula][prediction.property]
                if not abs(prediction.value - expected) <= TOLERANCE:
                    raise UnsoundModel(
                        f"MEGNet says {prediction.property} = {prediction.value:.3f} for "
                        f"{formula}, but {expected:.3f} is known: these are not the weights of "
                        f"{VERSION}"
                    )

    def predict(
        self, structures: Sequence[Structure], on: str = "relaxed"
    ) -> list[list[Prediction] | Refusal]:
        """Predict formation energy (eV/atom), band gap (eV) and probability of a gap (1).

        Like the original code it gives no number for a crystal with an isolated atom (nothing
        within 4 Å); a prediction is out of domain where an element was not trained (Po, At, Rn, Fr,
        Ra) or hardly (He, Ne, Ar, Kr), and for the other reasons of `agents.screen.domain`.

        Args:
            structures: Crystals, any mixture of sizes.
            on: ``relaxed`` or ``decoded``.

        Returns:
            Three predictions for each crystal, or the reason why there are none.
        """
        graphs = [self._graph(structure) for structure in structures]
        values = evaluate_in_batches(graphs, self._evaluate, self.batch)
        return [
            found if isinstance(found, Refusal) else self._answer(structure, found, on)
            for structure, found in zip(structures, values)
        ]

    def out_of_domain(self, structure: Structure) -> tuple[str, ...]:
        """Say why a crystal is unlike those that the networks learned from."""
        reasons = mp2018().reasons(structure, elements=False)
        untrained = self._untrained(structure)
        if untrained:
            reasons = (f"elements: MEGNet was not trained on {', '.join(untrained)}", *reasons)
        return reasons

    def _untrained(self, structure: Structure) -> list[str]:
        """Return the elements whose embedding one of the networks hardly changed in training."""
        elements = sorted(structure.composition.elements)
        numbers = [element.Z for element in elements]
        rows = [network.embedding.weight[numbers] for network in self.networks.values()]
        least = torch.stack(rows).norm(dim=-1).amin(dim=0).tolist()
        return [
            element.symbol
            for element, norm in zip(elements, least)
            if norm <= _UNTRAINED_NORM or element.Z in _RARE
        ]

    def _graph(self, structure: Structure) -> CrystalGraph | Refusal:
        network = next(iter(self.networks.values()))
        heaviest = max(structure.atomic_numbers)
        if heaviest >= network.shape.elements:
            return Refusal(self.name, f"element {heaviest} is not in MEGNet's table of 94")
        crowd = 4 / 3 * math.pi * network.shape.cutoff**3 * len(structure) / structure.volume
        if crowd > _MOST_NEIGHBOURS:
            return Refusal(
                self.name, f"about {crowd:.0f} neighbours an atom: the cell is far too small"
            )
        graph = build_graph(structure, network.shape.cutoff)
        if graph.isolated:
            return Refusal(
                self.name,
                f"{len(graph.isolated)} of {len(structure)} atoms have no neighbour within "
                f"{network.shape.cutoff:g} Å",
            )
        return graph

    def _evaluate(self, graphs: Sequence[CrystalGraph]) -> list[dict[str, float]]:
        batch = batch_graphs(graphs, self.device)
        with torch.inference_mode():
            columns = {name: network(batch).tolist() for name, network in self.networks.items()}
        return [{name: column[i] for name, column in columns.items()} for i in range(len(graphs))]

    def _answer(
        self, structure: Structure, values: dict[str, float], on: str
    ) -> list[Prediction] | Refusal:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            return Refusal(self.name, f"{', '.join(bad)} is not a finite number")
        reasons = self.out_of_domain(structure)
        return [
            Prediction(
                property=name,
                value=value,
                unit=UNITS[name],
                model=self.name,
                version=self.version,
                level=LEVEL,
                in_domain=not reasons,
                on=on,
                out_of_domain=reasons,
            )
            for name, value in values.items()
        ]
