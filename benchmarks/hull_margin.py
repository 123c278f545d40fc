"""How much do reference phases gain when a potential relaxes them? Justifies `hull.margin`.

A random sample of the reference collection is relaxed with the settings of the hull; printed are
quantiles of the energy gained (eV/atom), the share that does not settle, and the cost.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pymatgen.core import Structure

from agents.paths import data_path
from agents.relax.batch import relaxations
from agents.relax.hull_settings import HullSettings
from agents.relax.potential import load_potential
from agents.relax.relaxation import Relaxation
from agents.relax.settings import RelaxSettings
from agents.tables import parse_structure, read_rows

QUANTILES = (0.5, 0.9, 0.95, 0.99)


def main(
    n: Annotated[int, typer.Option(help="Crystals in the sample.")] = 150,
    max_atoms: Annotated[int, typer.Option(help="Largest cell.")] = 20,
    seed: int = 0,
    potential: str = "chgnet",
    out: Annotated[Path, typer.Option(help="JSON file with every crystal.")] = Path(
        "hull_margin.json"
    ),
) -> None:
    """Relax a sample and print what it gained."""
    hull = HullSettings()
    settings = RelaxSettings(max_steps=hull.max_steps, seconds_per_structure=3600.0)
    model = load_potential(potential)
    rows = [
        row
        for row in read_rows(data_path("mp_ref2025_le20.csv.gz"))
        if int(row["natoms"]) <= max_atoms
    ]
    sample = random.Random(seed).sample(rows, n)
    parsed = [(row, parse_structure(row["structure"])) for row in sample]
    known = [
        (row, structure)
        for row, structure in parsed
        if {site.specie.symbol for site in structure} <= model.elements
    ]
    results = []
    started = time.process_time()
    for index, relaxed in relaxations([structure for _, structure in known], model, settings):
        if isinstance(relaxed, Exception):
            raise relaxed
        results.append(_row(*known[index], relaxed))
        out.write_text(json.dumps(results, indent=1))
    cost = (time.process_time() - started) / len(results)
    settled = [one for one in results if one["stop"] == "converged"]
    gains = np.array([one["gain"] for one in settled])
    print(f"{len(results)} relaxed, {len(results) - len(settled)} did not converge")
    for quantile in QUANTILES:
        print(f"gain, quantile {quantile:.2f}: {np.quantile(gains, quantile):.4f} eV/atom")
    print(f"largest gain: {gains.max():.4f} eV/atom; above 0.1: {(gains > 0.1).mean():.3f}")
    print(f"CPU time of one phase: {cost:.2f} s")


def _row(row: dict[str, str], structure: Structure, relaxed: Relaxation) -> dict[str, object]:
    return {
        "id": row["material_id"],
        "formula": row["formula"],
        "n_atoms": len(structure),
        "gain": (relaxed.initial_energy - relaxed.energy) / len(structure),
        "max_force": relaxed.max_force,
        "max_stress": relaxed.max_stress,
        "stop": str(relaxed.stop),
        "steps": relaxed.steps,
    }


if __name__ == "__main__":
    typer.run(main)
