"""ALIGNN, trained here: formation energy and band gap, the second word beside MEGNet's.

The layers are those of package ``alignn``; the weights that come with this product were trained by
``discovery train-screen`` on the Materials Project of 2018-06-01 (PBE and PBE+U), from which MEGNet
learned. The paper's ALIGNN was trained on JARVIS-DFT (OptB88vdW): another functional and other
crystals. Ours shares its data with MEGNet, so the two agree more often than two independent models
would; `DEPENDENCE` says so in every record. How much their errors are correlated is in
docs/screens.md. Weights published by JARVIS are read by `agents.screen.alignn_jarvis`.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from agents.prediction import Prediction
from agents.screen.alignn_checkpoint import SHIPPED, ModelCard, read_checkpoint
from agents.screen.alignn_graph import BondGraph, batch_graphs, build_graph
from agents.screen.alignn_network import MOST_PROTONS, ALIGNNNetwork
from agents.screen.domain import TrainingSet
from agents.screen.megnet_golden import golden_crystals
from agents.screen.screen import Refusal, Screen, UnsoundModel, evaluate_in_batches
from agents.targets import UNITS

if TYPE_CHECKING:
    from pymatgen.core import Structure

TOLERANCE = 0.002
"""Largest accepted deviation from the golden values, in the unit of the property."""

DEPENDENCE = (
    "trained on the labels that MEGNet learned from (MP 2018.6.1, PBE and PBE+U): not an "
    "independent word; the paper's ALIGNN was trained on JARVIS-DFT (OptB88vdW)"
)
"""Must stand in the record of every consensus that counts this model beside MEGNet."""

_MOST_ATOMS = 1000
_MOST_NEIGHBOURS = 200
"""Crystals of the Materials Project have 15 on average and up to 59 within 4 Å."""


class ALIGNN(Screen):
    """The trained network behind `predict`.

    Attributes:
        card: All that is known of the weights.
        digests: File name to sha256, for the record of a campaign.
        training_data: Table, split and rows.
        functional: Of the training labels.
        dependence: What it shares with the other models.
    """

    name = "alignn"

    def __init__(
        self,
        network: ALIGNNNetwork,
        domain: TrainingSet,
        card: ModelCard,
        *,
        batch: int = 64,
        device: str = "cpu",
    ) -> None:
        """Take a loaded checkpoint; `load` is the way to get a checked one.

        Args:
            network: Trained.
            domain: What it was trained on.
            card: Its card.
            batch: Crystals in one pass.
            device: Where to compute.
        """
        self.network, self.domain, self.card = network.to(device), domain, card
        self.batch, self.device = batch, device
        self.version = card.version
        self.digests = dict(card.sha256)
        self.training_data, self.functional = card.training_data, card.functional
        self.dependence = DEPENDENCE if card.level == "pbe-mp2018" else ""

    @classmethod
    def load(cls, directory: Path | None = None, *, batch: int = 64, device: str = "cpu") -> ALIGNN:
        """Read a checkpoint and check it on crystals with known values.

        Args:
            directory: Folder of a checkpoint; default: the one that comes with the package.
            batch: Crystals in one pass.
            device: Where to compute.

        Returns:
            The screen.

        Raises:
            MissingModel: The folder or one of its files is not there.
            UnsoundModel: A file was changed, or the golden values are not met.
        """
        network, domain, card = read_checkpoint(SHIPPED if directory is None else directory)
        screen = cls(network, domain, card, batch=batch, device=device)
        screen.check()
        return screen

    def check(self) -> None:
        """Compare with the golden values.

        Raises:
            UnsoundModel: One is missed by more than 0.002, or there are none.
        """
        crystals = golden_crystals()
        if set(self.card.golden) != set(crystals):
            raise UnsoundModel(f"the card of {self.version} lacks golden values")
        for formula, found in zip(crystals, self.predict(list(crystals.values()))):
            if isinstance(found, Refusal):
                raise UnsoundModel(f"ALIGNN gives no number for {formula}: {found.reason}")
            for prediction in found:
                expected = self.card.golden[formula][prediction.property]
                if not abs(prediction.value - expected) <= TOLERANCE:
                    raise UnsoundModel(
                        f"ALIGNN says {prediction.property} = {prediction.value:.4f} for "
                        f"{formula}, but {expected:.4f} is known of {self.version}"
                    )

    def predict(
        self, structures: Sequence[Structure], on: str = "relaxed"
    ) -> list[list[Prediction] | Refusal]:
        """Predict formation energy (eV/atom) and band gap (eV), each with its usual error.

        The gap is stored as it comes out of the network, also where it is slightly negative;
        whoever compares it with a window takes max(0, gap). ``std`` is the half-width that held
        68.3 % of the errors of validation crystals with predictions of that size.

        No number is given for a crystal with an isolated atom (nothing within the network's
        radius), an element beyond fermium, more than 1,000 atoms, or a collapsed cell.

        Args:
            structures: Crystals, any mixture of sizes.
            on: ``relaxed``, ``decoded`` or ``given``.

        Returns:
            Two predictions for each crystal, or the reason why there are none.
        """
        graphs = [self._graph(structure) for structure in structures]
        values = evaluate_in_batches(graphs, self._evaluate, self.batch)
        return [
            found if isinstance(found, Refusal) else self._answer(structure, found, on)
            for structure, found in zip(structures, values)
        ]

    def std(self, property_name: str, value: float) -> float:
        """Return the usual error of a predicted value, in its unit."""
        calibration = self.card.calibration[property_name]
        return calibration.std[bisect(calibration.edges, value)]

    def _graph(self, structure: Structure) -> BondGraph | Refusal:
        cutoff = self.network.shape.cutoff
        heaviest = max(structure.atomic_numbers)
        if heaviest > MOST_PROTONS:
            return Refusal(self.name, f"element {heaviest} is not in ALIGNN's table of 100")
        if len(structure) > _MOST_ATOMS:
            return Refusal(self.name, f"{len(structure)} atoms, at most {_MOST_ATOMS} are taken")
        crowd = 4 / 3 * math.pi * cutoff**3 * len(structure) / structure.volume
        if crowd > _MOST_NEIGHBOURS:
            return Refusal(
                self.name, f"about {crowd:.0f} neighbours an atom: the cell is far too small"
            )
        graph = build_graph(structure, cutoff)
        if graph.isolated:
            return Refusal(
                self.name,
                f"{len(graph.isolated)} of {len(structure)} atoms have no neighbour within "
                f"{cutoff:g} Å",
            )
        return graph

    def _evaluate(self, graphs: Sequence[BondGraph]) -> list[list[float]]:
        batch = batch_graphs(graphs, self.network.shape.angle_cutoff, self.device)
        with torch.inference_mode():
            rows: list[list[float]] = self.network(batch).tolist()
        return rows

    def _answer(
        self, structure: Structure, values: list[float], on: str
    ) -> list[Prediction] | Refusal:
        properties = self.network.shape.properties
        bad = [name for name, value in zip(properties, values) if not math.isfinite(value)]
        if bad:
            return Refusal(self.name, f"{', '.join(bad)} is not a finite number")
        reasons = self.domain.reasons(structure)
        return [
            Prediction(
                property=name,
                value=value,
                unit=UNITS[name],
                model=self.name,
                version=self.version,
                level=self.card.level,
                in_domain=not reasons,
                std=self.std(name, value),
                on=on,
                out_of_domain=reasons,
            )
            for name, value in zip(properties, values)
        ]
