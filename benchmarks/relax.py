"""Relaxed crystals per second: sequential ASE against batches, same potential and criterion.

    python benchmarks/relax.py mp20 --n 32 --workers 2
    python benchmarks/relax.py mp20 --n 512 --workers 0 --device cuda

Crystals are drawn from the code prior. ASE relaxes them one after the other in one process with
FIRE and FrechetCellFilter, (a) with the calculator that comes with CHGNet and (b) with ours; ours
relaxes them in batches with the same FIRE, and with the default optimiser. All stop at the same raw
forces and stress or after the same number of steps. `--workers` processes then share the crystals,
each loading its own potential before the clock starts. CPU seconds are printed beside the wall
clock's, which other work on the machine slows down.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from pymatgen.core import Structure

from agents.geometry import shortest_distance
from agents.relax.batch import relaxations
from agents.relax.calculator import atoms_from_structure
from agents.relax.potential import Potential, load_potential
from agents.relax.relaxation import Relaxation
from agents.relax.settings import RelaxSettings
from model.generator import Generator


@dataclass(frozen=True)
class Speed:
    """How fast one way relaxes the same crystals.

    Attributes:
        per_second: crystals per second of wall clock.
        per_cpu_second: crystals per second of CPU time; 0 where processes were not timed so.
        converged: share that met the criteria.
        steps: mean number of optimiser steps.
    """

    way: str
    n: int
    seconds: float
    per_second: float
    per_cpu_second: float
    converged: float
    steps: float


def sequential(calculator: Any, settings: RelaxSettings) -> Callable[..., list[tuple[bool, int]]]:
    """Return a function that relaxes crystals with ASE, one by one: converged, steps."""

    def run(structures: Sequence[Structure]) -> list[tuple[bool, int]]:
        found = []
        for structure in structures:
            atoms = atoms_from_structure(structure)
            atoms.calc = calculator
            optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)
            done = False
            for _ in optimizer.irun(fmax=0.0, steps=settings.max_steps):
                if done := _converged(atoms, settings):
                    break
                if shortest_distance(structure) < settings.min_distance:
                    break
            found.append((done, optimizer.nsteps))
        return found

    return run


def _converged(atoms: Atoms, settings: RelaxSettings) -> bool:
    force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    stress = float(np.abs(atoms.get_stress()).max()) / units.GPa
    return force <= settings.fmax and stress <= settings.stress_max


def batched(
    potential: Potential, settings: RelaxSettings, in_flight: int | None
) -> Callable[..., list[tuple[bool, int]]]:
    """Return a function that relaxes crystals in batches: converged, steps."""

    def run(structures: Sequence[Structure]) -> list[tuple[bool, int]]:
        found = dict(relaxations(structures, potential, settings, in_flight))
        return [
            (r.converged, r.steps) if isinstance(r, Relaxation) else (False, 0)
            for r in found.values()
        ]

    return run


def timed(way: str, run: Callable[..., Any], structures: Sequence[Structure]) -> Speed:
    """Measure one way, warmed up on one crystal."""
    run(structures[:1])
    started, cpu = time.perf_counter(), time.process_time()
    found = run(structures)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return _speed(way, found, seconds, cpu)


def _speed(way: str, found: Sequence[tuple[bool, int]], seconds: float, cpu: float) -> Speed:
    return Speed(
        way=way,
        n=len(found),
        seconds=seconds,
        per_second=len(found) / seconds,
        per_cpu_second=len(found) / cpu if cpu else 0.0,
        converged=float(np.mean([done for done, _ in found])),
        steps=float(np.mean([steps for _, steps in found])),
    )


_worker: Callable[..., list[tuple[bool, int]]]


def _load(name: str, settings: RelaxSettings, ready: Any) -> None:
    """Prepare a worker process: load the potential once."""
    global _worker
    _worker = batched(load_potential(name), settings, None)
    ready.wait()


def _share(structures: Sequence[Structure]) -> list[tuple[bool, int]]:
    return _worker(structures)


def shared(
    way: str, name: str, settings: RelaxSettings, structures: Sequence[Structure], workers: int
) -> Speed:
    """Measure several processes that share the crystals, sixteen at a time as they lease them."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(workers + 1)
    with context.Pool(workers, _load, (name, settings, ready)) as pool:
        ready.wait()
        size = min(settings.relax_batch, -(-len(structures) // workers))
        parts = [structures[i : i + size] for i in range(0, len(structures), size)]
        started = time.perf_counter()
        found = [one for part in pool.imap_unordered(_share, parts) for one in part]
        seconds = time.perf_counter() - started
    return _speed(way, found, seconds, 0.0)


def measure(arguments: argparse.Namespace) -> list[Speed]:
    """Measure every way on the same crystals, one after the other in one run."""
    device = arguments.device
    potential = load_potential("chgnet", device=device)
    generator = Generator.load(arguments.dataset)
    if generator.prior is None:
        raise SystemExit(f"checkpoint {arguments.dataset} has no prior to draw from")
    drawn = [
        d.structure
        for d in generator.decode(generator.prior.sample(2 * arguments.n, seed=arguments.seed))
    ]
    structures = [
        s
        for s in drawn
        if s is not None
        and {site.specie.symbol for site in s} <= potential.elements
        and shortest_distance(s) >= 1.0  # ASE has no guard: what explodes is left out for all
    ][: arguments.n]
    default = RelaxSettings(max_steps=arguments.steps, seconds_per_structure=3600.0)
    fire = default.model_copy(update={"optimizer": "fire"})
    with contextlib.redirect_stdout(io.StringIO()):
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        model = CHGNet.load(model_name="0.3.0", use_device=device.split(":")[0], verbose=False)
        theirs = CHGNetCalculator(
            model, use_device=device.split(":")[0], on_isolated_atoms="ignore"
        )
    few = structures[: arguments.sequential] if arguments.sequential else structures
    speeds = [
        timed("ASE FIRE, CHGNet's calculator", sequential(theirs, fire), few),
        timed("ASE FIRE, our calculator", sequential(potential.calculator(), fire), few),
        timed("batch, FIRE", batched(potential, fire, arguments.batch), structures),
        timed("batch, trust region", batched(potential, default, arguments.batch), structures),
    ]
    if arguments.workers:
        for way, settings in (("FIRE", fire), ("trust region", default)):
            name = f"{arguments.workers} processes, {way}"
            speeds.append(shared(name, "chgnet", settings, structures, arguments.workers))
    return speeds


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="checkpoint with a prior")
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--sequential", type=int, help="crystals that ASE relaxes; default all")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=23)
    parser.add_argument("--workers", type=int, default=2, help="0: no processes are started")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--batch", type=int, help="crystals in flight; default: found automatically"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    speeds = measure(arguments)
    if arguments.json:
        print(json.dumps([asdict(s) for s in speeds], indent=2))
        return
    base = speeds[0]
    for s in speeds:
        cpu = f"{s.per_cpu_second / base.per_cpu_second:6.2f}" if s.per_cpu_second else "     –"
        print(
            f"{s.way:32s} {s.per_second:7.3f} /s  x{s.per_second / base.per_second:6.2f} wall "
            f"x{cpu} CPU  converged {s.converged:.2f}  steps {s.steps:.0f}"
        )


if __name__ == "__main__":
    main()
