"""Deterministic physics for the chaos tests, brought to the product as any package would bring it.

The potential is Lennard-Jones in float64, one crystal at a time, so that the same crystal has the
same numbers to the last bit alone, in any batch and in any process. The DFT code is a program of
its own (`chaos_dft.py`) which needs no package. Both may be slowed down by variables of the
environment, in waiting, not in work, so that there is time to kill them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Element, Structure

from agents.relax.potential import Potential, PotentialResult
from agents.verify.backend import Availability, DFTBackend
from agents.verify.setup.presets import DFTSettings

CUTOFF = 6.0
FCC = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
OUT_OF_THE_GATE = ("Sr", "La", "N", "As")
"""Elements left out, so that the gate judges the two crystals that two pairs were fitted to."""
FITTED = {("Cl", "Na"): (0.78227706, 2.87347805), ("Mg", "O"): (0.92253656, 2.15828264)}
"""Depth (eV) and distance (Å) of the pairs that give NaCl and MgO their known formation energy and
no pressure; other pairs follow a rule."""


def pair(first: str, second: str) -> tuple[float, float]:
    """Return depth (eV) and distance (Å) of the minimum of two elements' pair energy."""
    fitted = FITTED.get((min(first, second), max(first, second)))
    if fitted is not None:
        return fitted
    polarity = abs(Element(first).X - Element(second).X)
    radii = covalent_radii[atomic_numbers[first]] + covalent_radii[atomic_numbers[second]]
    return 0.1 + 0.2 * polarity, 1.05 * float(radii)


class LennardJones(Potential):
    """Shifted-force Lennard-Jones with a depth and a distance for each pair of elements.

    ``CHAOS_EVALUATION_SECONDS`` is waited for at every call but those of the sanity gate.
    """

    name = "lennard-jones"
    version = "1"
    elements = frozenset(
        element.symbol
        for element in Element
        if element.Z <= 83 and not element.is_noble_gas and element.symbol not in OUT_OF_THE_GATE
    )

    def __init__(self, device: str = "cpu") -> None:
        self._pairs: dict[tuple[str, str], tuple[float, float]] = {}

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        """Compute every crystal on its own."""
        self.require_elements(structures)
        if not all(_of_the_gate(structure) for structure in structures):
            time.sleep(float(os.environ.get("CHAOS_EVALUATION_SECONDS", "0")))
        return [self._one(structure) for structure in structures]

    def _one(self, structure: Structure) -> PotentialResult:
        symbols = [site.specie.symbol for site in structure]
        first, second, vector = _neighbours(structure)
        distance = np.linalg.norm(vector, axis=1)
        depth, minimum = np.array([[self._pair(a, b) for b in symbols] for a in symbols])[
            first, second
        ].T
        energy, slope = _lennard_jones(distance, depth, minimum)
        at_cutoff, slope_at_cutoff = _lennard_jones(CUTOFF, depth, minimum)
        energy -= at_cutoff + (distance - CUTOFF) * slope_at_cutoff
        pull = ((slope - slope_at_cutoff) / distance)[:, None] * vector  # on the first of a pair
        forces = np.zeros((len(structure), 3))
        np.add.at(forces, first, pull)
        stress = 0.5 * np.einsum("ki,kj->ij", pull, vector) / structure.volume
        return PotentialResult(float(0.5 * energy.sum()), forces, stress)

    def _pair(self, first: str, second: str) -> tuple[float, float]:
        if (first, second) not in self._pairs:
            self._pairs[first, second] = pair(first, second)
        return self._pairs[first, second]


def _of_the_gate(structure: Structure) -> bool:
    return tuple(sorted({site.specie.symbol for site in structure})) in FITTED


def _neighbours(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs within the cut-off, both ways: two places and the vector between (Å)."""
    cell = structure.lattice.matrix
    heights = structure.volume / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    fractions = structure.frac_coords % 1.0
    most = np.ceil(CUTOFF / heights).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-n - 1, n + 2) for n in most)), axis=-1)
    between = (fractions[None, :] - fractions[:, None])[:, :, None] + shifts.reshape(-1, 3)
    vectors = between @ cell
    squares = (vectors**2).sum(axis=-1)
    first, second, image = np.nonzero((squares < CUTOFF**2) & (squares > 1e-12))
    return first, second, vectors[first, second, image]


def _lennard_jones(
    distance: np.ndarray | float, depth: np.ndarray, minimum: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pair energy (eV) and its derivative (eV/Å)."""
    sixth = (minimum / distance) ** 6
    return depth * (sixth**2 - 2 * sixth), -12 * depth * (sixth**2 - sixth) / distance


def reference_table() -> dict[str, object]:
    """Return the elemental references, each an fcc crystal of the potential's own lattice."""
    from db.crystals import structure_to_record

    potential = LennardJones()
    elements = {}
    for symbol in sorted(potential.elements):
        _, minimum = pair(symbol, symbol)
        scales = np.linspace(0.9, 1.0, 21) * minimum * np.sqrt(2)
        crystals = [Structure(a / 2 * FCC, [symbol], [[0, 0, 0]]) for a in scales]
        energies = [result.energy for result in potential.evaluate(crystals)]
        best = int(np.argmin(energies))
        elements[symbol] = {
            "energy_per_atom": energies[best] / len(crystals[best]),
            "source_id": "fcc",
            "structure": structure_to_record(crystals[best]),
            "n_atoms": len(crystals[best]),
            "criterion": "fcc of the lowest energy",
        }
    header = {"potential": potential.name, "version": potential.version}
    return {"header": header, "elements": elements}


class ToyDFT(DFTBackend[DFTSettings]):
    """A DFT code that takes ``CHAOS_DFT_SECONDS`` and no processor time; see `chaos_dft.py`."""

    name = "toy"

    @property
    def version(self) -> str:
        """Version of the program."""
        return "1"

    def available(self) -> Availability:
        """It is always there."""
        return Availability(True, "a program of the chaos tests")

    def unsupported(self, elements: Iterable[str], settings: DFTSettings) -> str | None:
        """Every element will do."""
        return None

    def estimate_core_seconds(self, structure: Structure, settings: DFTSettings) -> float:
        """Estimate by the volume, so that no two crystals cost the same."""
        return float(structure.volume) / 100

    def reference(self, element: str) -> Structure:
        """Return the element's ground state, as GPAW's backend does."""
        from agents.verify.properties.references import reference_structure

        return reference_structure(element)

    def command(self, input_file: Path, output_file: Path) -> list[str]:
        """Return the program without site packages: it starts in milliseconds."""
        program = Path(__file__).with_name("chaos_dft.py")
        return [sys.executable, "-S", str(program), str(input_file), str(output_file)]
