"""VASP by the Materials Project's input sets, under custodian (doi 10.1103/PhysRevB.54.11169)."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from agents.verify.backend import Availability, BackendUnavailable, DFTBackend
from agents.verify.properties.references import reference_structure
from agents.verify.tasks import FOLLOW_UP, Task, relative_cost
from agents.verify.vasp.cost import estimate
from agents.verify.vasp.potcar import MissingPotcar, library, potcars
from agents.verify.vasp.settings import VASPSettings, preset

if TYPE_CHECKING:
    from pymatgen.core import Structure

VERSION = "DISCOVERY_VASP_VERSION"
"""Variable that holds VASP's version: nothing but a calculation can tell it, and that is late."""


class VASPBackend(DFTBackend[VASPSettings]):
    """A person's own VASP and POTCARs; `docs/vasp.md` says what has to be set."""

    name = "vasp"
    computes_slabs = True
    settings_type: ClassVar[type[BaseModel]] = VASPSettings

    @property
    def version(self) -> str:
        """Version of VASP, as the environment declares it; every run is checked against it.

        Raises:
            BackendUnavailable: It is not declared.
        """
        from agents.verify.vasp.results import version_numbers

        declared = os.environ.get(VERSION, "").strip()
        if not declared:
            raise BackendUnavailable(
                f"{VERSION} is not set: set it to the version of your VASP, for instance "
                f"{VERSION}=6.4.2 (`grep -m1 vasp OUTCAR` of any run tells it)"
            )
        return version_numbers(declared)

    @property
    def cores(self) -> int:
        """Processes that the command starts; 1 where it does not say, or is not set here."""
        from agents.verify.vasp.execution import VASPUnavailable, cores_of, vasp_command

        try:
            return cores_of(vasp_command())
        except VASPUnavailable:
            return 1

    def available(self) -> Availability:
        """Say whether command, version and POTCARs are set; VASP itself is not run."""
        from agents.verify.vasp.execution import VASPUnavailable, vasp_command

        try:
            command, version, folder = " ".join(vasp_command()), self.version, library()
        except (VASPUnavailable, BackendUnavailable, MissingPotcar) as error:
            return Availability(False, str(error))
        return Availability(True, f"VASP {version} by `{command}`, POTCARs in {folder}")

    def unsupported(self, elements: Iterable[str], settings: VASPSettings) -> str | None:
        """Refuse elements whose POTCAR is not there."""
        try:
            potcars(elements, settings)
        except MissingPotcar as error:
            return str(error)
        return None

    def settings(self, name: str) -> VASPSettings:
        """Return a preset, with the digest of the installed pymatgen's set filled in."""
        return preset(name)

    def calculation_settings(self, elements: Iterable[str], settings: VASPSettings) -> VASPSettings:
        """Add VASP's version and the titles and hashes of the elements' POTCARs.

        Raises:
            MissingPotcar: One is not there.
        """
        found = {element: one.record() for element, one in potcars(elements, settings).items()}
        return settings.model_copy(update={"version": self.version, "potcars": found})

    def estimate_core_seconds(self, structure: Structure, settings: VASPSettings) -> float:
        """Estimate the cost from plane waves, bands, k-points and spin, s (`vasp.cost`)."""
        return self._seconds(structure, settings)

    def estimate_task(
        self, structure: Structure, settings: VASPSettings, task: Task, options: Mapping[str, Any]
    ) -> float:
        """Estimate the cost of a task, s; infinite for those that only other codes do here."""
        if task in FOLLOW_UP:
            return math.inf
        return self._seconds(structure, settings, options.get("vacuum")) * relative_cost(
            task, options
        )

    def _seconds(
        self, structure: Structure, settings: VASPSettings, vacuum: float | None = None
    ) -> float:
        symbols = [site.specie.symbol for site in structure]
        try:
            found = potcars(symbols, settings)
        except MissingPotcar:
            return math.inf
        electrons = sum(found[symbol].electrons for symbol in symbols)
        return estimate(structure, settings, electrons, vacuum)

    def reference(self, element: str) -> Structure:
        """Return the element's ground state, or its molecule in a box."""
        return reference_structure(element, vacuum=MOLECULE_VACUUM)

    def write_inputs(self, document: Mapping[str, Any], folder: Path) -> None:
        """Write INCAR, KPOINTS, POSCAR and POTCAR.spec; no POTCAR is needed."""
        from agents.verify.vasp.inputs import input_set, write_for_inspection
        from agents.verify.vasp.runner import VASPTask

        task = VASPTask.read(document)
        inputs = input_set(
            task.cell, task.settings, task.task, molecule=task.molecule, polar=task.polar
        )
        write_for_inspection(inputs, folder)

    def command(self, input_file: Path, output_file: Path) -> list[str]:
        """Return the command of the runner, in this interpreter."""
        module = "agents.verify.vasp.runner"
        return [sys.executable, "-m", module, str(input_file), str(output_file)]


MOLECULE_VACUUM = 5.0
"""Vacuum on each side of a molecule, Å."""
