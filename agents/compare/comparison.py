"""A whole comparison: every method on every base with every seed, resumable."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from agents.compare.bases import Share, draw_bases
from agents.compare.cache import EnergyCache
from agents.compare.evaluation import Evaluator
from agents.compare.figures import figures_of, spread
from agents.compare.fitness import (
    Fitness,
    Worth,
    above_hull,
    formation_energy,
    total_energy,
)
from agents.compare.methods import settings_for, settings_of
from agents.compare.novelty import KnownCrystals
from agents.compare.records import RunsFile, name_of, record_of
from agents.compare.relaxed import Judge, relax_best
from agents.compare.run import search
from agents.paths import cache_path, data_path
from agents.propose.objectives import Objectives
from agents.propose.settings import Objective, ProposerSettings
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry
from agents.relax.phases_file import SMALL_CELLS, FilePhases
from agents.relax.potential import load_potential
from agents.relax.references import ElementalReferences
from agents.relax.settings import RelaxSettings
from agents.relax.single_point_hulls import SMALL_ATOMS, SinglePointHulls
from db.code_version import code_version
from model.generator import Generator

PROTOCOL = (
    "every method starts cold on every base crystal with every seed and may evaluate the same "
    "number of crystals; a crystal asked for is one evaluation, whether it decodes, breaks a rule "
    "or repeats a formula; codes evaluated before in the same search are free, and so is what a "
    "method leaves out before it asks; hits: distinct reduced formulas, SMACT-valid by CDVAE's "
    "rule, single-point formation energy of the decoded crystal below 0 eV/atom; mean over all "
    "runs; sd over seeds of the mean over bases; sd_bases over bases of the mean over seeds"
)

MARGIN = 0.05
"""What relaxing gains a phase at most, as far as verdicts go, eV/atom. Of 2,096 phases relaxed in
comparisons 2 % gained more with CHGNet, the median 0.006."""

Progress = Callable[[int, int, dict[str, Any]], None]
"""Told (runs done, runs in all, record) after every run, those found in the file included."""


class BudgetTooSmall(ValueError):
    """The force calls of a relaxed comparison do not even pay for the evaluations."""

    exit_code = 2


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        dataset: name of the generator's checkpoint.
        methods: names in `agents.compare.methods.METHODS`.
        bases: how many base crystals.
        seeds: how many seeds, from `first_seed` on.
        evaluations: budget of one search.
        share: half of the held-out crystals that bases are drawn from.
        base_seed: seed of that draw.
        max_atoms: largest base; None for any.
        first_seed: the first seed of the methods.
        relax: rules and relaxation; the potential too.
        fitness: what all methods minimise.
        novelty: weight of being no known crystal's formula (of the code bank, or of the reference
            collection where hulls are needed), for methods that weigh objectives; 0: nobody is
            told.
        prototypes: whether structure types are counted.
        force_calls: what every search may cost with the relaxation of its best candidates, each
            evaluation counted as one; 0: nothing is relaxed.
    """

    dataset: str
    methods: tuple[str, ...]
    bases: int = 10
    seeds: int = 5
    evaluations: int = 640
    share: Share = Share.FRESH
    base_seed: int = 0
    max_atoms: int | None = 10
    first_seed: int = 0
    relax: RelaxSettings = field(default_factory=RelaxSettings)
    fitness: Fitness = Fitness.FORMATION_ENERGY
    novelty: float = 0.0
    prototypes: bool = False
    force_calls: int = 0

    def __post_init__(self) -> None:
        if 0 < self.force_calls <= self.evaluations:
            raise BudgetTooSmall(
                f"{self.force_calls} force calls leave nothing to relax with after "
                f"{self.evaluations} evaluations, each of which counts as one"
            )


@dataclass(frozen=True)
class Files:
    """Where a comparison keeps what need not be computed twice.

    Attributes:
        energies: of candidates (`EnergyCache`); None: they are computed.
        phases: of competing phases (`FilePhases`); needed only where something is relaxed.
    """

    energies: Path | None = None
    phases: Path = field(default_factory=lambda: cache_path("phases") / "phases.sqlite")


@dataclass(frozen=True)
class Task:
    """One run of a comparison."""

    method: str
    row: int
    seed: int
    key: dict[str, Any]


class Workbench:
    """Generator, potential and references, loaded once in a process."""

    def __init__(self, comparison: Comparison, files: Files) -> None:
        """Load everything a run needs.

        Raises:
            MissingCheckpoint: there is no generator of this name.
            MissingFile: something is to be relaxed, but the reference collection is not there.
        """
        self.comparison = comparison
        self.generator = Generator.load(comparison.dataset)
        settings = comparison.relax
        self.potential = load_potential(settings.potential_name, device=settings.device)
        self.references = ElementalReferences.load(self.potential)
        energies = None
        if files.energies is not None:
            energies = EnergyCache(
                files.energies,
                generator_version=self.generator.version,
                level=self.potential.level,
            )
        self.evaluator = Evaluator(
            self.generator, self.potential, self.references, settings, energies
        )
        self.judge = None
        if comparison.force_calls or comparison.fitness is Fitness.ABOVE_HULL:
            self.judge = self._judge(files.phases)

    def _judge(self, phases: Path) -> Judge:
        """Open the competing phases and the known crystals."""

        def seen(geometry: Geometry, max_atoms: int | None) -> FilePhases:
            return FilePhases(
                self.potential,
                self.references,
                data_path(SMALL_CELLS).parent,
                phases,
                geometry=geometry,
                relax=self.comparison.relax,
                hull=HullSettings(max_atoms=max_atoms, margin=MARGIN),
            )

        small, single = (seen(Geometry.SINGLE_POINT, limit) for limit in (SMALL_ATOMS, None))
        return Judge(
            evaluator=self.evaluator,
            hulls=SinglePointHulls(small, single),
            single=single,
            relaxed=seen(Geometry.RELAXED, None),
            known=KnownCrystals(self.generator, single.store),
        )

    def tasks(self) -> list[Task]:
        """Return all runs: seed by seed and base by base, so that early results cover all methods.

        Raises:
            UnknownMethod: a method is not known.
            TooFewBases: there are fewer bases than asked for.
        """
        comparison = self.comparison
        rows = draw_bases(
            self.generator,
            comparison.bases,
            seed=comparison.base_seed,
            share=comparison.share,
            max_atoms=comparison.max_atoms,
        )
        last = comparison.first_seed + comparison.seeds
        return [
            Task(method, row, seed, self._key(method, row, seed))
            for seed in range(comparison.first_seed, last)
            for row in rows
            for method in comparison.methods
        ]

    def _key(self, method: str, row: int, seed: int) -> dict[str, Any]:
        """Return all that decides the outcome of a run."""
        settings = self._settings(method).model_dump(mode="json", exclude={"generations"})
        return {
            "dataset": self.comparison.dataset,
            "generator": self.generator.version,
            "potential": self.potential.level,
            "references": self.references.digest[:12],
            "method": method,
            "settings": _digest(settings),
            "rules": _digest(self.comparison.relax.model_dump(mode="json")),
            "base": str(self.generator.bank.ids[row]),
            "seed": seed,
            "evaluations": self.comparison.evaluations,
            "fitness": str(self.comparison.fitness),
            "novelty": self.comparison.novelty,
            "prototypes": self.comparison.prototypes,
            "force_calls": self.comparison.force_calls,
        }

    def _settings(self, method: str) -> ProposerSettings:
        return settings_for(settings_of(method), self.comparison.fitness)

    def _objectives(self) -> Objectives | None:
        weight = self.comparison.novelty
        if not weight:
            return None
        is_known = None if self.judge is None else self.judge.known.has
        wanted = [Objective(kind="novelty", weight=weight)]
        return Objectives(wanted, self.generator, [], is_known)

    def _worth(self) -> Worth:
        if self.comparison.fitness is Fitness.ABOVE_HULL:
            assert self.judge is not None  # made for this fitness
            return partial(above_hull, hulls=self.judge.hulls)
        if self.comparison.fitness is Fitness.TOTAL_ENERGY:
            return total_energy
        return formation_energy

    def run(self, task: Task) -> dict[str, Any]:
        """Run one task and return its record."""
        found = search(
            self.evaluator,
            self._settings(task.method),
            task.row,
            seed=task.seed,
            evaluations=self.comparison.evaluations,
            worth=self._worth(),
            objectives=self._objectives(),
        )
        record = {
            "key": task.key,
            "code": code_version(),
            **record_of(found, prototypes=self.comparison.prototypes),
        }
        if self.judge is not None and self.comparison.force_calls:
            left = self.comparison.force_calls - len(found.evaluated)
            record["relaxed"] = relax_best(found.evaluated, self.judge, left).record()
        return record


def compare(
    comparison: Comparison,
    *,
    runs: Path | None = None,
    files: Files | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a comparison, or what is left of it.

    Args:
        comparison: what is compared.
        runs: file of finished runs; those found there are not repeated, new ones are appended.
        files: caches; default: none for energies, the user's cache for phases.
        workers: processes.
        progress: told of every run.

    Returns:
        {"dataset", "bases" (identifiers), "evaluations", "seeds", "potential", "methods" (name →
        figure → {"mean", "sd", "sd_bases"}), versions and protocol}.
    """
    files = files or Files()
    bench = Workbench(comparison, files)
    tasks = bench.tasks()
    file = RunsFile(runs) if runs else None
    done = file.load([task.key for task in tasks]) if file else {}
    for count, record in enumerate(done.values(), 1):
        if progress:
            progress(count, len(tasks), record)
    left = [task for task in tasks if name_of(task.key) not in done]
    for record in _records(bench, left, files, workers):
        if file:
            file.append(record)
        done[name_of(record["key"])] = record
        if progress:
            progress(len(done), len(tasks), record)
    return _report(bench, tasks, done)


def _records(
    bench: Workbench, tasks: list[Task], files: Files, workers: int
) -> Iterator[dict[str, Any]]:
    """Yield the records of runs as they finish."""
    if workers == 1 or len(tasks) < 2:
        yield from map(bench.run, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(bench.comparison, files)
    ) as pool:
        for future in as_completed([pool.submit(_run_in_worker, task) for task in tasks]):
            yield future.result()


_bench: Workbench | None = None  # of a worker process


def _start_worker(comparison: Comparison, files: Files) -> None:
    global _bench
    _bench = Workbench(comparison, files)


def _run_in_worker(task: Task) -> dict[str, Any]:
    assert _bench is not None  # set by `_start_worker`
    return _bench.run(task)


def _report(bench: Workbench, tasks: list[Task], done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    comparison = bench.comparison
    methods: dict[str, Any] = {}
    for method in comparison.methods:
        figures = {
            (task.row, task.seed): figures_of(done[name_of(task.key)])
            for task in tasks
            if task.method == method
        }
        methods[method] = spread(figures)
    return {
        "dataset": comparison.dataset,
        "bases": list(dict.fromkeys(task.key["base"] for task in tasks)),
        "share": str(comparison.share),
        "evaluations": comparison.evaluations,
        "force_calls": comparison.force_calls,
        "seeds": comparison.seeds,
        "potential": bench.potential.level,
        "references": bench.references.digest,
        "generator_version": bench.generator.version,
        "methods": methods,
        "fitness": str(comparison.fitness),
        "novelty": comparison.novelty,
        "settings": {
            name: settings_for(settings_of(name), comparison.fitness).model_dump(mode="json")
            for name in methods
        },
        "code": sorted({done[name_of(task.key)]["code"] for task in tasks}),
        "protocol": PROTOCOL,
    }


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
