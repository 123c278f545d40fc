"""Stability by a potential against the Materials Project's of 2019: is the hull right?

    python benchmarks/hull.py known --cache phases.sqlite
    python benchmarks/hull.py sample --n 300 --geometry single_point --cache phases.sqlite

`known`: for well-known compounds, how far the lowest polymorph of the reference collection is above
the hull (near zero expected), and the decomposition energy against all other compositions.
`sample`: decomposition energies of random ground states. Both are compared with the PBE values of
2019 (Bartel et al., doi 10.1038/s41524-020-00362-y); its sign: negative is stable, here too.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pymatgen.core import Composition
from scipy.stats import pearsonr, spearmanr

from agents.paths import data_path
from agents.relax.hull import energy_above_hull
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry, HullRefused
from agents.relax.phases_file import FilePhases
from agents.relax.potential import load_potential
from agents.relax.references import ElementalReferences
from agents.tables import read_rows

#: Well-known compounds.
KNOWN: list[str] = [
    *("NaCl", "KCl", "LiF", "CsCl", "MgO", "CaO"),
    *("BaO", "ZnO", "CdO", "NiO", "Li2O", "Al2O3"),
    *("Fe2O3", "Cr2O3", "TiO2", "ZrO2", "SiO2", "SnO2"),
    *("GeO2", "V2O5", "SrTiO3", "BaTiO3", "CaTiO3", "LaAlO3"),
    *("KNbO3", "NaNbO3", "KTaO3", "MgAl2O4", "LiCoO2", "GaAs"),
    *("InP", "GaN", "AlN", "BN", "SiC", "ZnS"),
    *("CdTe", "PbS", "PbTe", "Bi2Te3", "MoS2", "WS2"),
    *("CsPbI3", "CsPbBr3", "CaF2", "MgF2", "TiN", "Mg2Si"),
    *("NiAl", "Na3N"),
]

app = typer.Typer(help=__doc__)

Cache = Annotated[Path, typer.Option(help="SQLite file of energies.")]
MaxAtoms = Annotated[int, typer.Option(help="Largest competing cell; 0: all.")]
Out = Annotated[Path | None, typer.Option(help="JSON file to write.")]


@dataclass(frozen=True)
class Stability:
    """One compound.

    Attributes:
        formula: Reduced formula.
        above_hull: Of its lowest polymorph, itself among the phases, eV/atom.
        decomposition: Energy relative to all other compositions, eV/atom; negative is stable.
        formation: Its formation energy, eV/atom.
        decomposition_2019: The same by PBE in 2019.
        formation_2019: The same by PBE in 2019.
        products: What it would decompose into.
    """

    formula: str
    above_hull: float
    decomposition: float
    formation: float
    decomposition_2019: float | None
    formation_2019: float | None
    products: str


def table_of_2019() -> dict[str, tuple[float, float]]:
    """Return formation and decomposition energy of every ground state, by reduced formula."""
    return {
        Composition(row["formula"]).reduced_formula: (
            float(row["formation_energy_per_atom"]),
            float(row["decomposition_energy_per_atom"]),
        )
        for row in read_rows(data_path("mp2019_ground_states_Ef_Ed.csv.gz"))
        if row["decomposition_energy_per_atom"]
    }


def measure(
    phases: FilePhases, formula: str, known: dict[str, tuple[float, float]]
) -> Stability | None:
    """Compute the stability of one formula; None where the collection has no crystal of it.

    Raises:
        HullRefused: A phase lacks an energy, or there are too many.
    """
    composition = Composition(formula)
    entries = phases.entries_of(composition.chemical_system)
    polymorphs = [e.id for e in entries if e.formula == composition.reduced_formula]
    if not polymorphs:
        return None
    everything = phases.phases_for(composition)
    own = [p.formation_energy_per_atom for p in everything if p.id in polymorphs]
    # where relaxing none of them could reach the hull, its own energy is still wanted
    lowest = min(own) if own else min(_energies(phases, composition, polymorphs))
    others = phases.phases_for(composition, leave_out=polymorphs)
    without = energy_above_hull(composition, lowest, [p for p in others if p.id not in polymorphs])
    products = " + ".join(f"{p.amount:.2f} {p.formula}" for p in without.decomposition)
    old = known.get(composition.reduced_formula)
    return Stability(
        composition.reduced_formula,
        energy_above_hull(composition, lowest, everything).energy_above_hull,
        without.energy_above_hull,
        lowest,
        None if old is None else old[1],
        None if old is None else old[0],
        products,
    )


def _energies(phases: FilePhases, composition: Composition, ids: list[str]) -> list[float]:
    system = composition.chemical_system
    return [p.formation_energy_per_atom for p in phases.relaxed(system, ids)]


def open_phases(cache: Path, max_atoms: int, geometry: Geometry) -> FilePhases:
    """Open the reference collection with CHGNet."""
    potential = load_potential("chgnet")
    return FilePhases(
        potential,
        ElementalReferences.load(potential),
        data_path("mp_ref2025_le20.csv.gz").parent,
        cache,
        geometry=geometry,
        hull=HullSettings(max_atoms=max_atoms or None, max_phases=100_000),
    )


@app.command()
def known(
    cache: Cache = Path("phases.sqlite"),
    max_atoms: MaxAtoms = 20,
    geometry: Geometry = Geometry.RELAXED,
    out: Out = None,
) -> None:
    """Well-known compounds."""
    phases, table = open_phases(cache, max_atoms, geometry), table_of_2019()
    found = _measure_all(phases, KNOWN, table, out)
    for one in found:
        old = "" if one.decomposition_2019 is None else f"{one.decomposition_2019:8.3f}"
        print(
            f"{one.formula:10} above hull {one.above_hull:7.4f}  E_d {one.decomposition:8.3f}  "
            f"2019 {old:8}  -> {one.products}"
        )
    near = [one for one in found if one.above_hull <= 0.005]
    print(f"{len(near)} of {len(found)} within 5 meV/atom of the hull")
    _compare(found)


@app.command()
def sample(
    n: Annotated[int, typer.Option(help="Ground states.")] = 300,
    seed: int = 0,
    cache: Cache = Path("phases.sqlite"),
    max_atoms: MaxAtoms = 20,
    geometry: Geometry = Geometry.SINGLE_POINT,
    out: Out = None,
) -> None:
    """Random ground states of 2019 that the collection has a small cell of."""
    phases, table = open_phases(cache, max_atoms, geometry), table_of_2019()
    domain = phases.potential.elements & phases.references.elements
    offered = sorted(
        {
            entry.formula
            for entry in phases.store.entries_of(phases.store.chemical_systems())
            if entry.n_atoms <= (max_atoms or entry.n_atoms)
        }
        & set(table)
    )
    inside = [f for f in offered if {str(e) for e in Composition(f)} <= domain]
    print(f"{len(inside)} ground states of 2019 are in the collection")
    chosen = random.Random(seed).sample([f for f in inside if len(Composition(f)) > 1], n)
    _compare(_measure_all(phases, chosen, table, out))


def _measure_all(
    phases: FilePhases,
    formulas: list[str],
    table: dict[str, tuple[float, float]],
    out: Path | None,
) -> list[Stability]:
    found, started = [], time.process_time()
    for formula in formulas:
        try:
            one = measure(phases, formula, table)
        except HullRefused as refusal:
            print(f"{formula}: {refusal}")
            continue
        if one is None:
            print(f"{formula}: not in the collection")
        else:
            found.append(one)
        if out is not None:
            out.write_text(json.dumps([asdict(one) for one in found], indent=1))
    print(f"{time.process_time() - started:.0f} s of CPU time")
    return found


def _compare(found: list[Stability]) -> None:
    pairs = [one for one in found if one.decomposition_2019 is not None]
    for name, old_name in (
        ("decomposition", "decomposition_2019"),
        ("formation", "formation_2019"),
    ):
        ours = np.array([getattr(one, name) for one in pairs])
        old = np.array([getattr(one, old_name) for one in pairs])
        difference = ours - old
        print(
            f"{name} energy, {len(pairs)} compounds: MAE {np.abs(difference).mean():.4f}, "
            f"median absolute {np.median(np.abs(difference)):.4f}, mean {difference.mean():+.4f} "
            f"eV/atom; Pearson {pearsonr(ours, old)[0]:.3f}, Spearman {spearmanr(ours, old)[0]:.3f}"
        )
    ours = np.array([one.decomposition <= 0 for one in pairs])
    old = np.array([one.decomposition_2019 <= 0 for one in pairs])
    print(
        f"stable in 2019: {old.sum()}; by the potential: {ours.sum()}; "
        f"same verdict: {(ours == old).mean():.3f}"
    )


if __name__ == "__main__":
    app()
