"""GPAW beside the Materials Project, its convergence, and what it costs.

    python benchmarks/dft.py crystals --preset standard --out RUNS
    python benchmarks/dft.py crystals --preset standard --out RUNS --only Si,NaCl --json
    python benchmarks/dft.py convergence --out RUNS
    python benchmarks/dft.py cost --out RUNS
    python benchmarks/dft.py mixing --out RUNS

`crystals` computes named crystals of the reference data and the reference phases of their elements,
and prints formation energies and gaps beside the Materials Project's. `convergence` varies cut-off
and k-density one at a time. `cost` compares the estimate of each calculation in RUNS with the CPU
seconds it took. `mixing` writes the table of GPAW's own terms for compounds with U. A calculation
is a process with one thread and leaves one file in RUNS, named by the calculation's hash: a second
run computes only what is missing.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dft_crystals import CASES, OLDER, ORDERS  # beside this file
from pymatgen.core import Composition, Lattice, Structure

from agents.paths import data_path
from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.identity import calculation_hash
from agents.verify.properties.formation import (
    MIXING_TABLE,
    formation_energy_per_atom,
    mp2020_correction,
)
from agents.verify.properties.references import ground_state_energy, is_molecule, reference_info
from agents.verify.setup.presets import DFTSettings
from agents.verify.setup.symmetry import symmetrise
from db.crystals import record_to_structure, structure_to_record

BACKEND = GPAWBackend()
ENERGY_TARGET, GAP_TARGET = 0.1, 0.2  # eV/atom, eV
MP2020_OXIDE = -0.687  # eV per O, doi 10.1038/s41598-021-94550-5


class Runs:
    """Calculations kept in a folder, one file for each.

    Args:
        folder: Where they are.
        compute: Run what is missing; else leave it out.
    """

    def __init__(self, folder: Path, compute: bool = True) -> None:
        self.folder = folder
        self.compute = compute
        folder.mkdir(parents=True, exist_ok=True)

    def answer(
        self, name: str, structure: Structure, settings: DFTSettings, *, molecule: bool = False
    ) -> dict[str, Any] | None:
        """Return the result of a calculation, computed once; None where it failed or is missing."""
        key = calculation_hash(BACKEND, structure, settings, molecule=molecule)
        path = self.folder / f"{key[:16]}.json"
        if not path.exists():
            if not self.compute:
                return None
            self._run(path, name, structure, settings, molecule)
        answer: dict[str, Any] = json.loads(path.read_text())["answer"]
        if "error" in answer:
            print(f"{name}: {answer['error']['kind']}: {answer['error']['message']}", flush=True)
        return answer.get("result")

    def _run(
        self, path: Path, name: str, structure: Structure, settings: DFTSettings, molecule: bool
    ) -> None:
        task = {
            "structure": structure_to_record(structure),
            "settings": settings.record(),
            "molecule": molecule,
        }
        estimate = BACKEND.estimate_core_seconds(structure, settings)
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "input.json", Path(folder) / "output.json"
            source.write_text(json.dumps(task))
            subprocess.run(
                BACKEND.command(source, target),
                cwd=folder,
                check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            answer = json.loads(target.read_text())
        seconds = answer.get("result", {}).get("cpu_seconds", float("nan"))
        print(f"{name}: {seconds:.0f} s (estimated {estimate:.0f} s)", flush=True)
        record = {"name": name, "input": task, "estimate": estimate, "answer": answer}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record))
        partial.replace(path)


def load_rows(source: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read rows of a data set by their ids."""
    wanted = set(names)
    csv.field_size_limit(1 << 24)
    with gzip.open(data_path(f"{source}.csv.gz"), "rt", newline="") as stream:
        return {
            row["material_id"]: row
            for row in csv.DictReader(stream)
            if row["material_id"] in wanted
        }


def crystal(row: dict[str, str]) -> Structure:
    """Build the crystal of a row."""
    cell = json.loads(row["structure"])
    return Structure(Lattice.from_parameters(*cell["cell"]), cell["species"], cell["frac"])


@dataclass
class Comparison:
    """One crystal beside the Materials Project; energies in eV/atom, gaps in eV.

    ``raw`` is uncorrected, ``corrected`` has the MP2020 terms; ``gap_mp_2018`` is the gap of the
    Materials Project of 2018 where it lists the crystal.
    """

    formula: str
    material_id: str
    order: str
    raw: float
    corrected: float
    mp: float
    gap: float
    gap_mp: float
    gap_mp_2018: float | None
    moment: float
    cpu_seconds: float
    terms: tuple[str, ...]

    @property
    def energy_ok(self) -> bool:
        return abs(self.corrected - self.mp) <= ENERGY_TARGET

    @property
    def gap_ok(self) -> bool:
        return abs(self.gap - self.gap_mp) <= GAP_TARGET


def compare(runs: Runs, preset: str, only: set[str]) -> list[Comparison]:
    """Compute the crystals and the references of their elements."""
    settings = BACKEND.settings(preset)
    cases = [case for case in CASES if not only or case.formula in only]
    rows = {
        source: load_rows(source, [case.material_id for case in cases])
        for source in {OLDER, *(case.source for case in cases)}
    }
    found = []
    for case in cases:
        row = rows[case.source][case.material_id]
        cell = symmetrise(crystal(row), settings.symprec, settings.max_displacement).structure
        label = f"{case.formula} {case.order}".strip()
        own = settings
        if case.gap_k_density is not None:
            own = settings.model_copy(update={"gap_k_density": case.gap_k_density})
        result = runs.answer(label, ORDERS[case.order](cell), own)
        references = reference_energies(runs, cell, settings)
        if result is None or references is None:
            continue
        amounts = cell.composition.get_el_amt_dict()
        raw = formation_energy_per_atom(amounts, result["energy_per_atom"], references)
        correction = mp2020_correction(cell, result["hubbard_u"])
        older = rows[OLDER].get(case.material_id)
        found.append(
            Comparison(
                case.formula,
                case.material_id,
                case.order,
                raw,
                raw + (correction.per_atom or 0.0),
                float(row["formation_energy_per_atom"]),
                result["band_gap"],
                float(row["band_gap"]),
                float(older["band_gap"]) if older else None,
                max(map(abs, result.get("site_moments", [0.0]))),
                result["cpu_seconds"],
                correction.terms,
            )
        )
    return found


def reference_energies(
    runs: Runs, cell: Structure, settings: DFTSettings
) -> dict[str, float] | None:
    """Return the energy of each element's ground state, eV/atom; None where one is missing."""
    energies = {}
    for element in sorted({site.specie.symbol for site in cell}):
        found = runs.answer(
            element, BACKEND.reference(element), settings, molecule=is_molecule(element)
        )
        if found is None:
            return None
        energies[element] = ground_state_energy(found["energy_per_atom"], reference_info(element))
    return energies


def crystals(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compute the named crystals, and print them beside the Materials Project."""
    only = set(filter(None, arguments.only.split(",")))
    runs = Runs(arguments.out, compute=not arguments.no_compute)
    found = compare(runs, arguments.preset, only)
    columns = "crystal, order, E_f raw, corrected, MP, difference, gap, MP, MP 2018, moment, s"
    print(f"| {columns.replace(', ', ' | ')} |")
    print("|" + "---|" * 11)
    for one in found:
        older = "" if one.gap_mp_2018 is None else f"{one.gap_mp_2018:.2f}"
        print(
            f"| {one.formula} | {one.order} | {one.raw:.3f} | {one.corrected:.3f} | {one.mp:.3f} | "
            f"{one.corrected - one.mp:+.3f} | {one.gap:.2f} | {one.gap_mp:.2f} | {older} | "
            f"{one.moment:.2f} | {one.cpu_seconds:.0f} |"
        )
    energies, gaps = sum(one.energy_ok for one in found), sum(one.gap_ok for one in found)
    print(f"of {len(found)}: formation energy within {ENERGY_TARGET} eV/atom {energies}")
    print(f"of {len(found)}: gap within {GAP_TARGET} eV {gaps}")
    return [asdict(one) for one in found]


SALT_SITES = [[0, 0, 0], [0.5, 0.5, 0.5]]
SWEPT_CUTOFFS = (300.0, 400.0, 500.0, 600.0, 800.0)
SWEPT_DENSITIES = (2.5, 3.5, 4.5, 6.0)


def convergence(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Vary cut-off and k-density one at a time; everything else as in the preset ``fast``."""
    runs = Runs(arguments.out, compute=not arguments.no_compute)
    fast = BACKEND.settings("fast")
    oxide = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], SALT_SITES)
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.469), ["Si"], [[0, 0, 0]])
    found: list[dict[str, Any]] = []
    for cutoff in SWEPT_CUTOFFS:
        settings = fast.model_copy(update={"cutoff": cutoff})
        result = runs.answer(f"MgO {cutoff:g} eV", oxide, settings)
        references = reference_energies(runs, oxide, settings)
        if result is None or references is None:
            continue
        amounts = oxide.composition.get_el_amt_dict()
        raw = formation_energy_per_atom(amounts, result["energy_per_atom"], references)
        found.append({"what": "E_f MgO", "cutoff": cutoff, "value": raw})
        found.append({"what": "gap MgO", "cutoff": cutoff, "value": result["band_gap"]})
    for density in SWEPT_DENSITIES:
        changes = {"k_density": density, "element_k_density": density, "gap_k_density": density}
        settings = fast.model_copy(update=changes)
        for name, cell in (
            ("Si", silicon),
            ("MgO", oxide),
            ("Na", BACKEND.reference("Na")),
            ("Mg", BACKEND.reference("Mg")),
        ):
            result = runs.answer(f"{name} k {density:g}", cell, settings)
            if result is None:
                continue
            energy = {"what": f"E {name}", "k_density": density, "value": result["energy_per_atom"]}
            gap = {"what": f"gap {name}", "k_density": density, "value": result["band_gap"]}
            found += [energy, gap] if name in ("Si", "MgO") else [energy]
    print("| quantity | setting | value | from the densest, meV |")
    print("|---|---|---|---|")
    for one in found:
        best = [other for other in found if (other["what"], set(other)) == (one["what"], set(one))]
        setting = ", ".join(f"{k} {v:g}" for k, v in one.items() if k not in ("what", "value"))
        change = 1000 * (one["value"] - best[-1]["value"])
        print(f"| {one['what']} | {setting} | {one['value']:.4f} | {change:+.1f} |")
    return found


def cost(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare the estimates with the CPU seconds of every calculation in the folder."""
    found = []
    for path in sorted(arguments.out.glob("*.json")):
        record = json.loads(path.read_text())
        result = record["answer"].get("result")
        if result is None:
            continue
        task = record["input"]
        settings = DFTSettings.model_validate(task["settings"])
        estimate = BACKEND.estimate_core_seconds(record_to_structure(task["structure"]), settings)
        found.append(
            {
                "name": record["name"],
                "preset": settings.preset,
                "cutoff": settings.cutoff,
                "spin": result["spin_polarised"],
                "iterations": result["scf_iterations"],
                "estimate": estimate,
                "seconds": result["cpu_seconds"],
                "ratio": result["cpu_seconds"] / estimate,
            }
        )
    print("| calculation | cut-off | spin | iterations | estimated, s | took, s | ratio |")
    print("|" + "---|" * 7)
    for one in sorted(found, key=lambda one: one["seconds"]):
        print(
            f"| {one['name']} | {one['cutoff']:g} | {'yes' if one['spin'] else ''} | "
            f"{one['iterations']} | {one['estimate']:.0f} | {one['seconds']:.0f} | "
            f"{one['ratio']:.2f} |"
        )
    if not found:
        raise SystemExit("the folder holds no calculation yet: run `crystals` first")
    ratios = np.array([one["ratio"] for one in found])
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    print(
        f"{len(ratios)} calculations; ratio 10 %: {low:.2f}, median {middle:.2f}, 90 %: {high:.2f}"
    )
    return found


def mixing(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Fit GPAW's mixing terms of U, one oxide for each element, and write their table.

    The term makes up for what is left between the raw formation energy with the anion's correction
    and the Materials Project's value.
    """
    settings = BACKEND.settings(arguments.preset)
    runs = Runs(arguments.out, compute=not arguments.no_compute)
    table: dict[str, dict[str, Any]] = {}
    for one in compare(runs, arguments.preset, {"MnO", "Fe2O3"}):
        if not one.order.startswith("antiferromagnetic"):
            continue
        amounts = Composition(one.formula).get_el_amt_dict()
        (metal,) = set(amounts) - {"O"}
        atoms = sum(amounts.values())
        left = (one.mp - one.raw) * atoms - amounts["O"] * MP2020_OXIDE
        table[metal] = {
            "u": settings.hubbard_u[metal],
            "cutoff": settings.cutoff,
            "per_atom": round(left / amounts[metal], 3),
            "fitted_to": f"{one.formula} {one.material_id}, {one.order}, {one.mp:.4f} eV/atom",
            "level": BACKEND.level(settings),
        }
        print(f"{metal}: {table[metal]['per_atom']:.3f} eV per atom")
    rows = ",\n".join(f"{json.dumps(e)}: {json.dumps(one)}" for e, one in sorted(table.items()))
    MIXING_TABLE.write_text(f'{{"units": "eV", "elements": {{\n{rows}\n}}}}\n')
    return [{"element": element, **one} for element, one in table.items()]


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--out", type=Path, required=True, help="folder of the calculations")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--only", default="", help="formulas, separated by commas")
    parser.add_argument("--no-compute", action="store_true", help="use only what is there")
    parser.add_argument("--json", action="store_true", help="print JSON after the table")
    arguments = parser.parse_args()
    found = PARTS[arguments.part](arguments)
    if arguments.json:
        print(json.dumps(found))


PARTS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "crystals": crystals,
    "convergence": convergence,
    "cost": cost,
    "mixing": mixing,
}


if __name__ == "__main__":
    main()
