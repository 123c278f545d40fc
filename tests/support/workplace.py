"""A small campaign with every part real, and how to run it in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TINY = """
name: tiny
seed: 7
generator: perov5
targets:
  - {property: formation_energy_per_atom, max: -0.5}
  - {property: band_gap, min: 0.5, max: 2.5}
budget: {rounds: 2}
propose:
  proposers:
    - {kind: genetic, population: 12, parents: 4, generations: 2, initial: donor}
    - {kind: optuna_tpe, batch: 8, generations: 2, startup: 8}
    - {kind: random, batch: 4, generations: 2}
relax: {max_per_generation: 3, max_unrelaxed_formation_energy: 1.0, relax_batch: 1}
screen: {exclude_lanthanides: true, exclude_actinides: true}
verify:
  {backend: gpaw, max_submitted: 4, max_completed: 1, max_concurrent: 1, min_pool: 3,
   max_core_hours: 2}
learn: {min_new_labels: 24, min_labels: 12}
"""


@dataclass(frozen=True)
class Workplace:
    """A folder of its own in which commands run.

    Attributes:
        folder: Working directory; the campaign's state is under it.
    """

    folder: Path

    @property
    def campaign(self) -> Path:
        """The campaign file."""
        return self.folder / "tiny.yaml"

    def environment(self) -> dict[str, str]:
        """This process's variables, without any that point to another database or broker."""
        outside = ("MONGODB_URI", "DISCOVERY_HOME", "DISCOVERY_BROKER", "MONGOD")
        kept = {key: value for key, value in os.environ.items() if key not in outside}
        return {**kept, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}

    def start(self, *arguments: str, log: str = "run.log") -> subprocess.Popen[str]:
        """Start a command; its stderr goes to a file in the folder."""
        with (self.folder / log).open("a") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "discovery", *arguments],
                cwd=self.folder,
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def run(self, *arguments: str, timeout: float = 600) -> str:
        """Run a command to its end and return what it printed."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=timeout)
        assert process.returncode == 0, (self.folder / "run.log").read_text()[-4000:]
        return output

    def json(self, *arguments: str) -> Any:
        """Run a command with JSON output and read it."""
        return json.loads(self.run(*arguments))


def make_workplace(folder: Path) -> Workplace:
    """Write the campaign file into a fresh folder."""
    place = Workplace(folder)
    place.campaign.write_text(TINY)
    return place
