"""A DFT code: how a campaign chooses, identifies and starts its calculations.

The program that is started is `example_dft_program`; put your code's in its place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from pymatgen.core import Element, Structure

from agents.verify.backend import Availability, DFTBackend
from agents.verify.properties.references import reference_structure
from agents.verify.setup.presets import DFTSettings


class ExampleBackend(DFTBackend[DFTSettings]):
    """A code without open f shells that takes the presets of GPAW's settings."""

    name = "example-code"

    @property
    def version(self) -> str:
        """Version of the code: part of the identity of every calculation."""
        return version("example-dft-code")

    def available(self) -> Availability:
        """Say whether it can run here: look for its executable, its licence, its data sets."""
        return Availability(True, "the example's program, a pair potential, is always there")

    def unsupported(self, elements: Iterable[str], settings: DFTSettings) -> str | None:
        """Say why a crystal is not for this code; asked before a candidate is chosen."""
        for symbol in sorted(set(elements)):
            if Element(symbol).is_lanthanoid or Element(symbol).is_actinoid:
                return f"{symbol} has an open f shell"
        return None

    def estimate_core_seconds(self, structure: Structure, settings: DFTSettings) -> float:
        """Estimate the cost: the choice for DFT weighs expected hits against it."""
        return 0.1 * len(structure)

    def reference(self, element: str) -> Structure:
        """Return the element's phase that formation energies are relative to."""
        return reference_structure(element)

    def command(self, input_file: Path, output_file: Path) -> list[str]:
        """Return what a launcher starts; it runs in a folder of its own."""
        return [sys.executable, "-m", "example_dft_program", str(input_file), str(output_file)]
