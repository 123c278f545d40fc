"""GPAW: plane waves and PAW, one thread, as a subprocess (doi 10.1063/5.0182685)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.backend import Availability, DFTBackend
from agents.verify.gpaw.follow_up_cost import estimate_follow_up
from agents.verify.properties.references import reference_structure
from agents.verify.setup.cost import estimate
from agents.verify.setup.presets import DFTSettings
from agents.verify.tasks import Task, options_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

LANTHANIDES = ("Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb")
ACTINIDES = ("Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm")
F_BLOCK = frozenset(LANTHANIDES + ACTINIDES)
"""Elements whose open 4f or 5f shell plain PBE gets wrong: never computed."""


class GPAWBackend(DFTBackend):
    """GPAW with the PAW data sets of the ``gpaw-data`` package."""

    name = "gpaw"
    computes_slabs = True

    @property
    def version(self) -> str:
        """Version of GPAW; the data sets' version is part of the settings."""
        return version("gpaw")

    def available(self) -> Availability:
        """Say whether GPAW and its PAW data sets are installed."""
        try:
            found = f"GPAW {version('gpaw')}, PAW data sets {version('gpaw-data')}"
        except PackageNotFoundError as error:
            return Availability(False, f"{error.name} is not installed")
        if find_spec("_gpaw") is None:
            return Availability(False, "GPAW's compiled part is missing: install it again")
        if not data_sets():
            return Availability(False, "gpaw-data holds no PBE data sets: install it again")
        return Availability(True, found)

    def unsupported(self, elements: Iterable[str], settings: DFTSettings) -> str | None:
        """Refuse elements without a PAW data set, and open f shells."""
        for element in sorted(set(elements)):
            if element in F_BLOCK:
                return f"{element} has an open f shell, which {settings.xc} does not describe"
            if element not in data_sets():
                return f"{element} has no {settings.xc} PAW data set in gpaw-data"
        return None

    def settings(self, name: str) -> DFTSettings:
        """Return a preset with the version of the PAW data sets filled in."""
        return (
            super()
            .settings(name)
            .model_copy(update={"data_sets": f"gpaw-data-{version('gpaw-data')}"})
        )

    def estimate_core_seconds(self, structure: Structure, settings: DFTSettings) -> float:
        """Estimate the cost from plane waves, bands, k-points and spin, s."""
        return self.estimate_task(structure, settings, Task.STATIC, options_of(Task.STATIC))

    def estimate_task(
        self,
        structure: Structure,
        settings: DFTSettings,
        task: Task,
        options: Mapping[str, Any],
    ) -> float:
        """Estimate the cost of a task from plane waves, bands, k-points and spin, s."""
        symbols = [site.specie.symbol for site in structure]
        if self.unsupported(symbols, settings) is not None:
            return math.inf
        electrons = sum(data_sets()[symbol] for symbol in symbols)
        if task in (Task.STATIC, Task.GAP, Task.RELAX):
            return estimate(structure, settings, electrons, task, options)
        return estimate_follow_up(structure, settings, electrons, task, options)

    def reference(self, element: str) -> Structure:
        """Return the element's ground state, or its molecule in a box."""
        return reference_structure(element)

    def command(self, input_file: Path, output_file: Path) -> list[str]:
        """Return the command of the runner, in this interpreter."""
        module = "agents.verify.gpaw.runner"
        return [sys.executable, "-m", module, str(input_file), str(output_file)]


@lru_cache(maxsize=1)
def data_sets() -> dict[str, int]:
    """Read which elements have a PBE data set, and how many valence electrons it treats."""
    import gzip
    import re

    from gpaw import setup_paths

    valence: dict[str, int] = {}
    pattern = re.compile(r'<atom symbol="(\w+)" Z="[\d.]+" core="[\d.]+" valence="([\d.]+)"')
    for folder in setup_paths:
        for path in sorted(Path(folder).glob("*.PBE.gz")):
            symbol, *middle = path.name.removesuffix(".PBE.gz").split(".")
            if middle or symbol in valence:
                continue
            with gzip.open(path, "rt") as stream:
                found = pattern.search(stream.read(4096))
            if found is not None:
                valence[symbol] = round(float(found[2]))
    return valence
