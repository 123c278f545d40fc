"""A property model without weights: the formation energy of the nearest known composition.

It knows the training crystals of the generator `mp20` (the Materials Project's, up to 20 atoms in
the cell), of each composition the one lowest in energy. A model with weights of its own looks the
same: `load` reads them, `predict` runs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from pymatgen.core import Composition, Structure

from agents.prediction import Prediction
from agents.screen.screen import Refusal, Screen
from model.bank import CodeBank
from model.checkpoint import resolve_checkpoint

LABEL = "formation_energy_per_atom@mp20"
FARTHEST = 0.2
"""Distance up to which a composition counts as known: one atom in ten is another element."""
HEAVIEST = 100


def load(*, batch: int, device: str) -> Screen:
    """Build the model; `discovery` then holds it to known crystals, once per process."""
    path = resolve_checkpoint("mp20") / "bank.npz"
    bank = CodeBank.load(path)
    lowest: dict[str, float] = {}
    for formula, energy in zip(bank.formulas.tolist(), bank.properties[LABEL].tolist()):
        lowest[formula] = min(energy, lowest.get(formula, np.inf))
    return NearestComposition(lowest, hashlib.sha256(path.read_bytes()).hexdigest())


class NearestComposition(Screen):
    """Answers with the label of the training composition that is nearest."""

    name = "nearest-composition"  # as the entry point: `discovery` refuses another one

    def __init__(self, energies: dict[str, float], sha256: str) -> None:
        self.version = sha256[:12]  # recorded with every number
        self.digests = {"bank.npz": sha256}  # compared by every worker of a campaign
        self._formulas = list(energies)
        self._energies = np.array(list(energies.values()))
        self._fractions = np.stack([_fractions(Composition(one)) for one in energies])

    def predict(
        self, structures: Sequence[Structure], on: str = "relaxed"
    ) -> list[list[Prediction] | Refusal]:
        """See `Screen.predict`."""
        return [self._predict_one(structure, on) for structure in structures]

    def _predict_one(self, structure: Structure, on: str) -> list[Prediction] | Refusal:
        if max(structure.atomic_numbers) > HEAVIEST:
            return Refusal(self.name, f"it knows no element beyond number {HEAVIEST}")
        # The sum of all differences of atomic fractions: 0 for the same, 2 for no common element.
        distances = np.abs(self._fractions - _fractions(structure.composition)).sum(axis=1)
        best = int(distances.argmin())
        far = float(distances[best]) > FARTHEST
        reason = f"composition: {self._formulas[best]}, the nearest, is {distances[best]:.2f} away"
        return [
            Prediction(
                property="formation_energy_per_atom",
                value=float(self._energies[best]),
                unit="eV/atom",
                model=self.name,
                version=self.version,
                level="mp20",
                in_domain=not far,
                on=on,
                out_of_domain=(reason,) if far else (),
            )
        ]


def _fractions(composition: Composition) -> np.ndarray:
    """Return the atomic fraction of every element, (100,)."""
    fractions = np.zeros(HEAVIEST, dtype=np.float32)
    for element, amount in composition.fractional_composition.items():
        fractions[element.Z - 1] = amount
    return fractions
