"""``evaluate search``: methods of the search compared at equal budgets."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from discovery.cli.options import Json
from discovery.cli.output import UsageError, console_for_tables, print_json, print_progress


class SearchedSet(enum.StrEnum):
    """Data sets whose generators are searched."""

    perov5 = "perov5"
    mp20 = "mp20"


class Minimised(enum.StrEnum):
    """What all methods minimise."""

    formation_energy = "formation_energy"
    total_energy = "total_energy"
    above_hull = "above_hull"


class BaseShare(enum.StrEnum):
    """Half of the held-out crystals that bases are drawn from."""

    fresh = "fresh"
    tuning = "tuning"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(search)


def search(
    dataset: Annotated[SearchedSet, typer.Option(help="Which generator is searched.")],
    methods: Annotated[
        str, typer.Option(help="Names joined by commas, or all.")
    ] = "uniform,donor,paper_ga,tpe",
    bases: Annotated[int, typer.Option(min=1, help="Held-out base crystals.")] = 10,
    evaluations: Annotated[int, typer.Option(min=1, help="Potential calls of one search.")] = 640,
    relax: Annotated[
        int,
        typer.Option(
            min=0,
            help="Force calls of every search, evaluations included; what is left of them relaxes "
            "its best candidates. 0: nothing is relaxed. 2000 is the published comparison.",
        ),
    ] = 0,
    fitness: Annotated[
        Minimised,
        typer.Option(help="What all methods minimise; above_hull is that of single points."),
    ] = Minimised.formation_energy,
    novelty: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Weight of a formula that no training crystal has, for methods that weigh "
            "objectives.",
        ),
    ] = 0.0,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every method on every base.")] = 5,
    share: Annotated[
        BaseShare, typer.Option(help="Half of the held-out crystals; tune on the other one.")
    ] = BaseShare.fresh,
    base_seed: Annotated[int, typer.Option(min=0, help="Seed of the draw of bases.")] = 0,
    max_atoms: Annotated[int, typer.Option(min=1, help="Largest base crystal.")] = 10,
    prototypes: Annotated[
        bool, typer.Option("--prototypes", help="Also count structure types (spglib, slow).")
    ] = False,
    runs: Annotated[
        Path | None, typer.Option(help="File of finished runs; a repeated command continues it.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="File of energies; changes no figure, only the wait.")
    ] = None,
    phases: Annotated[
        Path | None,
        typer.Option(help="File of competing phases' energies; default: in the user's cache."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    json: Json = False,
) -> None:
    """Compare methods of the search: hits after equal numbers of potential evaluations.

    Example: `discovery evaluate search --dataset perov5 --methods donor,paper_ga --bases 2 --seeds
    1 --json`
    """
    from agents.compare.bases import Share
    from agents.compare.comparison import Comparison, Files, compare
    from agents.compare.fitness import Fitness
    from agents.compare.methods import METHODS, check_names

    names = list(METHODS) if methods == "all" else [m.strip() for m in methods.split(",")]
    for file in (runs, cache, phases):
        if file is not None and file.is_dir():
            raise UsageError(f"{file} is a folder: give a file")
    comparison = Comparison(
        dataset=dataset.value,
        methods=tuple(check_names(names)),
        bases=bases,
        seeds=seeds,
        evaluations=evaluations,
        share=Share(share.value),
        base_seed=base_seed,
        max_atoms=max_atoms,
        prototypes=prototypes,
        fitness=Fitness(fitness.value),
        novelty=novelty,
        force_calls=relax,
    )
    files = Files(energies=cache) if phases is None else Files(energies=cache, phases=phases)
    report = compare(comparison, runs=runs, files=files, workers=workers, progress=_progress)
    if json:
        print_json(report)
        return
    _print_table(report)


def _progress(done: int, total: int, record: dict[str, Any]) -> None:
    from agents.compare.figures import figures_of

    key, figures = record["key"], figures_of(record)
    print_progress(
        f"{done}/{total}  {key['method']:20} base {key['base']:12} seed {key['seed']}  "
        f"{figures['hits']} hits of {figures['evaluations']}  {figures['seconds']:.1f} s"
    )


_COLUMNS = {
    "hits": ("hits", ".0f"),
    "hits_below_-0.5": ("< -0.5 eV", ".0f"),
    "distinct_crystals": ("crystals", ".0f"),
    "prototypes": ("prototypes", ".1f"),
    "share_negative": ("share < 0", ".3f"),
    "share_neutral": ("neutral", ".3f"),
    "distinct_formulas": ("formulas", ".0f"),
    "relaxed": ("relaxed", ".1f"),
    "relaxed_accepted": ("accepted", ".1f"),
    "relaxed_near_hull": ("new, near hull", ".1f"),
    "relaxed_near_hull_known_too": ("near hull", ".1f"),
    "undecided": ("undecided", ".1f"),
    "best": ("best, eV/atom", ".2f"),
    "evaluations": ("evaluations", ".0f"),
    "seconds": ("seconds", ".1f"),
    "cpu_seconds_without_potential": ("CPU s without potential", ".2f"),
}


def _print_table(report: dict[str, Any]) -> None:
    """Print mean ± sd of every method."""
    from rich.table import Table

    title = (
        f"{report['dataset']}: {len(report['bases'])} bases ({report['share']}), "
        f"{report['seeds']} seeds, {report['evaluations']} evaluations, {report['potential']}; "
        "± over seeds"
    )
    table = Table(title=title)
    table.add_column("method")
    shown = [
        (key, *column)
        for key, column in _COLUMNS.items()
        if all(key in figures for figures in report["methods"].values())
    ]
    for _, label, _ in shown:
        table.add_column(label, justify="right")
    for name, figures in report["methods"].items():
        table.add_row(name, *(_cell(figures[key], form) for key, _, form in shown))
    console_for_tables().print(table)


def _cell(value: dict[str, float | None], form: str) -> str:
    if value["mean"] is None:
        return "–"
    if value["sd"] is None:
        return f"{value['mean']:{form}}"
    return f"{value['mean']:{form}} ± {value['sd']:{form}}"
