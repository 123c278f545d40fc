"""How much do reference phases gain when a potential relaxes them? Justifies `hull.margin`.

    python benchmarks/hull_margin.py relax --n 400 --seed 1 --out margin.json
    python benchmarks/hull_margin.py place margin.json --cache phases.sqlite

`relax`: a random sample of the reference collection is relaxed with the settings of the hull;
printed are quantiles of the energy gained (eV/atom), the share that does not converge, and the
cost. `place`: how far those that gained most are above the single-point hull of the other phases,
before and after. The margin is too small where one is above it before and below the hull after.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pymatgen.core import Composition, Structure

from agents.paths import data_path
from agents.relax.batch import relaxations
from agents.relax.hull import energy_above_hull
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry
from agents.relax.phases_file import FilePhases
from agents.relax.potential import load_potential
from agents.relax.references import ElementalReferences
from agents.relax.relaxation import Relaxation
from agents.relax.settings import RelaxSettings
from agents.tables import parse_structure, read_rows

QUANTILES = (0.5, 0.9, 0.95, 0.99)


app = typer.Typer(help=__doc__)


@app.command("relax")
def relax_sample(
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


@app.command()
def place(
    results: Annotated[Path, typer.Argument(help="What `relax` has written.")],
    cache: Annotated[Path, typer.Option(help="SQLite file of energies.")] = Path("phases.sqlite"),
    least: Annotated[float, typer.Option(help="Only what gained more, eV/atom.")] = 0.05,
    max_atoms: Annotated[int, typer.Option(help="Largest competing cell.")] = 20,
) -> None:
    """Place what gained most relative to the single-point hull of the other phases."""
    potential = load_potential("chgnet")
    phases = FilePhases(
        potential,
        ElementalReferences.load(potential),
        data_path("mp_ref2025_le20.csv.gz").parent,
        cache,
        geometry=Geometry.SINGLE_POINT,
        hull=HullSettings(max_atoms=max_atoms, max_phases=100_000),
    )
    for one in json.loads(results.read_text()):
        if one["gain"] <= least:
            continue
        composition = Composition(one["formula"])
        found = {p.id: p for p in phases.phases_of(composition.chemical_system)}
        energy = found.pop(one["id"]).formation_energy_per_atom
        above = energy_above_hull(composition, energy, list(found.values())).energy_above_hull
        print(
            f"{one['id']:12} {one['formula']:16} gained {one['gain']:.3f}; above the hull: "
            f"{above:.3f} before, {above - one['gain']:.3f} after"
        )


if __name__ == "__main__":
    app()
