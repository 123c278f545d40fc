"""Force validity: how many generated crystals have small forces after relaxation.

    python benchmarks/force_validity.py perov5 mp20 carbon24 --n 200 --second chgnet-r2scan

Every crystal is drawn from the code prior and decoded. Counted are all of them: one that cannot be
decoded, blows up or keeps a force of 0.05 eV/Å on an atom is not valid; only crystals with an
element that the potential was not trained on are left out, and their number is printed. Before it
is relaxed, every position and every lattice vector is displaced by 0.03 Å (normal, per component),
so that symmetry does not hide a saddle point. Forces are those of a calculator made anew, without
the optimiser. Columns: at most 100 steps, at most 300, and 100 without the displacement as in the
paper (VQCrystal, doi 10.1038/s41524-025-01613-6). With `--second`, what is valid after the first
column is relaxed again by another potential: the share that loses less than 20 meV/atom and still
matches.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from agents.relax.batch import relaxations
from agents.relax.calculator import atoms_from_structure
from agents.relax.potential import Potential, load_potential
from agents.relax.relaxation import Relaxation
from agents.relax.settings import RelaxSettings
from model.generator import Generator

VALID_FORCE = 0.05  # eV/Å
RATTLE = 0.03  # Å
LOSS = 0.020  # eV/atom


@dataclass(frozen=True)
class Row:
    """One set of crystals under one protocol.

    Attributes:
        valid: share with all forces below `VALID_FORCE`.
        valid_and_stress: share that also has every stress component below 1 GPa.
        converged: share that met the optimiser's own, tighter criteria.
        force_calls: mean number of calls of the potential.
        stops: how many relaxations ended for which reason; "undecodable" and errors included.
    """

    dataset: str
    protocol: str
    optimizer: str
    max_steps: int
    n: int
    unsupported: int
    valid: float
    standard_error: float
    valid_and_stress: float
    converged: float
    force_calls: float
    stops: dict[str, int]


def drawn(name: str, n: int, seed: int) -> list[Structure | None]:
    """Return n crystals decoded from the prior; None where no cell could be built."""
    generator = Generator.load(name)
    if generator.prior is None:
        raise SystemExit(f"checkpoint {name} has no prior to draw from")
    return [d.structure for d in generator.decode(generator.prior.sample(n, seed=seed))]


def rattled(structure: Structure, seed: int) -> Structure:
    """Return the crystal with all atoms and lattice vectors displaced."""
    generator = np.random.default_rng(seed)
    cell = structure.lattice.matrix + generator.normal(0, RATTLE, (3, 3))
    strained = Structure(Lattice(cell), structure.species, structure.frac_coords)
    shift = generator.normal(0, RATTLE, (len(structure), 3))
    return Structure(
        strained.lattice,
        strained.species,
        strained.cart_coords + shift,
        coords_are_cartesian=True,
    )


def relaxed(
    structures: Sequence[Structure], potential: Potential, settings: RelaxSettings
) -> list[Relaxation | Exception]:
    """Relax all, each error in the place of its crystal."""
    found = dict(relaxations(structures, potential, settings))
    return [found[i] for i in range(len(structures))]


def fresh_force(relaxation: Relaxation | Exception, potential: Potential) -> float:
    """Return the largest force by a calculator made anew, eV/Å; infinite where there is none."""
    if isinstance(relaxation, Exception) or relaxation.stop.blown_up:
        return np.inf
    atoms = atoms_from_structure(relaxation.structure)
    atoms.calc = potential.calculator()
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def row(
    dataset: str,
    protocol: str,
    results: Sequence[Relaxation | Exception],
    forces: np.ndarray,
    missing: tuple[int, int],
    settings: RelaxSettings,
) -> Row:
    """Summarise; `missing` counts the undecodable crystals and those left out."""
    undecodable, unsupported = missing
    n = len(results) + undecodable
    ended = [r for r in results if isinstance(r, Relaxation)]
    small = forces < VALID_FORCE
    calm = [
        isinstance(r, Relaxation) and r.max_stress < settings.accept_max_stress * 0.00624151
        for r in results
    ]
    stops = Counter(str(r.stop) if isinstance(r, Relaxation) else "error" for r in results)
    valid = float(small.sum() / n)
    return Row(
        dataset=dataset,
        protocol=protocol,
        optimizer=settings.optimizer + (" + volume scan" if settings.volume_scan else ""),
        max_steps=settings.max_steps,
        n=n,
        unsupported=unsupported,
        valid=valid,
        standard_error=float(np.sqrt(valid * (1 - valid) / n)),
        valid_and_stress=float((small & np.array(calm)).sum() / n),
        converged=float(sum(r.converged for r in ended) / n),
        force_calls=float(np.mean([r.force_calls for r in ended])),
        stops={**stops, **({"undecodable": undecodable} if undecodable else {})},
    )


def second_opinion(
    results: Sequence[Relaxation], second: Potential, settings: RelaxSettings
) -> dict[str, Any]:
    """Relax what is valid again with another potential.

    Returns:
        {"potential", "n", "left_out", "kept": share that loses less than `LOSS` and still matches,
        "small_loss", "match", "median_loss": eV/atom}.
    """
    known = [r for r in results if {s.specie.symbol for s in r.structure} <= second.elements]
    matcher = StructureMatcher()
    losses, matches = [], []
    for first, again in zip(known, relaxed([r.structure for r in known], second, settings)):
        if isinstance(again, Exception) or again.stop.blown_up:
            losses.append(np.inf)
            matches.append(False)
            continue
        losses.append((again.initial_energy - again.energy) / len(first.structure))
        matches.append(bool(matcher.fit(first.structure, again.structure)))
    small, same = np.array(losses) < LOSS, np.array(matches)
    return {
        "potential": second.level,
        "n": len(known),
        "left_out": len(results) - len(known),
        "kept": float((small & same).mean()),
        "small_loss": float(small.mean()),
        "match": float(same.mean()),
        "median_loss": float(np.median(losses)),
    }


def measure(
    dataset: str,
    potential: Potential,
    second: Potential | None,
    settings: RelaxSettings,
    arguments: argparse.Namespace,
) -> tuple[list[Row], dict[str, Any] | None]:
    """Return the rows of one data set and what the second potential says."""
    decoded = drawn(dataset, arguments.n, arguments.seed)
    built = [s for s in decoded if s is not None]
    known = [s for s in built if {site.specie.symbol for site in s} <= potential.elements]
    missing = (len(decoded) - len(built), len(built) - len(known))
    start = [rattled(s, arguments.seed + i) for i, s in enumerate(known)]
    rows: list[Row] = []

    def finish(protocol: str, results: list[Relaxation | Exception], how: RelaxSettings) -> Any:
        forces = np.array([fresh_force(r, potential) for r in results])
        rows.append(row(dataset, protocol, results, forces, missing, how))
        print(json.dumps(asdict(rows[-1])), file=sys.stderr, flush=True)
        return forces

    results = relaxed(start, potential, settings)
    forces = finish("rattled", results, settings)
    if "more" in arguments.columns:
        longer = settings.model_copy(update={"max_steps": arguments.more_steps})
        # a relaxation is deterministic: only what ran out of steps is relaxed anew
        again = [
            i
            for i, r in enumerate(results)
            if isinstance(r, Relaxation) and str(r.stop) == "max_steps"
        ]
        later = list(results)
        for i, result in zip(again, relaxed([start[i] for i in again], potential, longer)):
            later[i] = result
        finish("rattled", later, longer)
    if "plain" in arguments.columns:
        finish("plain", relaxed(known, potential, settings), settings)
    opinion = None
    if second is not None:
        valid = [
            r for r, f in zip(results, forces) if isinstance(r, Relaxation) and f < VALID_FORCE
        ]
        opinion = second_opinion(valid, second, settings)
        print(json.dumps(opinion), file=sys.stderr, flush=True)
    return rows, opinion


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+", help="checkpoints with a prior")
    parser.add_argument("--n", type=int, default=200, help="crystals of each set")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--more-steps", type=int, default=300)
    parser.add_argument("--columns", nargs="*", default=["more", "plain"])
    parser.add_argument("--optimizer", default=RelaxSettings().optimizer)
    parser.add_argument("--volume-scan", action="store_true")
    parser.add_argument("--potential", default="chgnet")
    parser.add_argument("--second", help="another potential, by name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    potential = load_potential(arguments.potential, device=arguments.device)
    second = load_potential(arguments.second, device=arguments.device) if arguments.second else None
    settings = RelaxSettings(
        optimizer=arguments.optimizer,
        max_steps=arguments.steps,
        volume_scan=arguments.volume_scan,
        seconds_per_structure=3600.0,
    )
    found = {d: measure(d, potential, second, settings, arguments) for d in arguments.datasets}
    if arguments.json:
        document = {
            "potential": potential.level,
            "rattle": RATTLE,
            "rows": [asdict(r) for rows, _ in found.values() for r in rows],
            "second": {d: opinion for d, (_, opinion) in found.items() if opinion},
        }
        print(json.dumps(document, indent=2))
        return
    print(f"{'':10s} {'protocol':9s} {'steps':>5s} {'n':>5s} {'valid':>14s} {'calls':>6s}  ended")
    for rows, opinion in found.values():
        for r in rows:
            ended = ", ".join(f"{k} {v}" for k, v in r.stops.items())
            print(
                f"{r.dataset:10s} {r.protocol:9s} {r.max_steps:5d} {r.n:5d} "
                f"{r.valid:.3f} ± {r.standard_error:.3f} {r.force_calls:6.1f}  {ended}"
            )
        if opinion:
            print(f"{'':10s} {opinion['potential']}: kept {opinion['kept']:.3f} of {opinion['n']}")


if __name__ == "__main__":
    main()
