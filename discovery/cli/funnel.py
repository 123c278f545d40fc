"""``funnel``: the paper's funnel of a campaign, cut with other thresholds."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from discovery.cli import completion
from discovery.cli.options import CampaignName, Database, Json
from discovery.cli.output import UsageError, console_for_tables, print_json
from discovery.cli.screen import names, parse_windows, screen_settings


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(funnel)


def funnel(
    campaign: CampaignName,
    window: Annotated[
        list[str] | None,
        typer.Option(help="PROPERTY:LOWEST:HIGHEST instead of the campaign's; repeatable."),
    ] = None,
    min_p_gap: Annotated[float | None, typer.Option(help="Least probability of a gap.")] = None,
    agreement: Annotated[
        str | None, typer.Option(help="How many models must agree: all, or a number.")
    ] = None,
    min_models: Annotated[
        int | None, typer.Option(min=1, help="With fewer words a window is unjudged.")
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="Where a gap is wanted: required, if_present or off.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Only these models count, for instance megnet,alignn.")
    ] = None,
    smact: Annotated[str | None, typer.Option(help="cdvae, strict or off.")] = None,
    exclude: Annotated[
        str | None, typer.Option(help="Groups of elements: toxic, radioactive, scarce.")
    ] = None,
    max_atoms: Annotated[int | None, typer.Option(help="Most atoms in the cell.")] = None,
    max_elements: Annotated[int | None, typer.Option(help="Most distinct elements.")] = None,
    out_of_domain: Annotated[
        str | None,
        typer.Option(
            help="Reasons out of domain that silence no model: elements, size, vacuum, composition."
        ),
    ] = None,
    formation_energy_max: Annotated[
        float | None, typer.Option(help="Of the potential, eV/atom, for compounds.")
    ] = None,
    max_force: Annotated[float | None, typer.Option(help="After relaxation, eV/Å.")] = None,
    order: Annotated[
        str, typer.Option(help="campaign (cheap conditions first) or paper.")
    ] = "campaign",
    paper: Annotated[
        str | None,
        typer.Option(
            help="Rows of the paper's campaign, beside its numbers: photovoltaic-3d, ...",
            autocompletion=completion.paper_funnels,
        ),
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Count a campaign's candidates with other thresholds, from stored numbers alone.

    What is not given is the campaign's own. Example:
    `discovery funnel quickstart --window band_gap:1.0:2.0 --min-p-gap 0.7`

    Beside the paper's numbers, with a stricter classifier:
    `discovery funnel quickstart --paper photovoltaic-3d --min-p-gap 0.7`
    """
    from db import campaigns
    from db.connection import connect
    from discovery.cli.bars import working
    from discovery.reports import funnel as counting
    from discovery.reports import paper_funnel
    from discovery.reports.paper import FUNNELS

    if paper is not None and paper not in FUNNELS:
        raise UsageError(f"--paper is {' or '.join(FUNNELS)}, not {paper!r}")
    if order not in ("campaign", "paper"):
        raise UsageError(f"--order is campaign or paper, not {order!r}")
    limits = {"formation_energy_max": formation_energy_max, "max_force": max_force}
    with working("opening the database") as work, connect(db, create=False):
        work.part(f"counting the candidates of {campaign}")
        own = counting.own_thresholds(campaign)
        thresholds = replace(
            own,
            windows=tuple(parse_windows(window)) if window else own.windows,
            screen=screen_settings(
                own.screen,
                min_p_gap=min_p_gap,
                agreement=agreement,
                min_models=min_models,
                classifier=classifier,
                smact=smact,
                exclude=None if exclude is None else names(exclude),
                max_atoms=max_atoms,
                max_elements=max_elements,
                counted_out_of_domain=None if out_of_domain is None else names(out_of_domain),
            ),
            models=names(models) if models else None,
            **{key: value for key, value in limits.items() if value is not None},
        )
        if paper is None:
            found = counting.funnel(campaign, thresholds, order=order)  # type: ignore[arg-type]
        else:
            found = paper_funnel.paper_funnel(campaign, thresholds, name=paper) or {}
        generator = campaigns.load(campaign).config["generator"]
    if json:
        print_json(found)
        return
    if paper is not None:
        print("\n".join(paper_funnel.describe(found, generator)))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("condition")
    for title in ("left", "failed", "unknown"):
        table.add_column(title, justify="right")
    for row in counting.describe(found):
        table.add_row(*row)
    console_for_tables().print(table)
