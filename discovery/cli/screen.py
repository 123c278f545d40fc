"""``screen``: rules and property models on a person's own structures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from discovery.cli import completion
from discovery.cli.options import JsonList
from discovery.cli.output import UsageError, console_for_tables, print_json, print_progress

if TYPE_CHECKING:
    from agents.screen.screen import Screen
    from agents.screen.settings import ScreenSettings
    from agents.targets import Window

SHORT = {"formation_energy_per_atom": "E_f", "band_gap": "gap", "p_gap": "P(gap)"}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(screen)


def screen(
    files: Annotated[list[Path], typer.Argument(help="CIF, POSCAR or extended XYZ files.")],
    campaign: Annotated[
        str | None,
        typer.Option(
            help="Name or file whose rules, windows, models and generator are taken.",
            autocompletion=completion.campaigns_to_run,
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="auto (default), or with commas: megnet, alignn, head, matgl:NAME.",
            autocompletion=completion.screens,
        ),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint whose property head is asked too.",
            autocompletion=completion.generators,
        ),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(help="PROPERTY:LOWEST:HIGHEST the models are to agree on; repeatable."),
    ] = None,
    agreement: Annotated[
        str | None, typer.Option(help="How many models must put it inside: all, or a number.")
    ] = None,
    min_models: Annotated[
        int | None, typer.Option(min=1, help="With fewer words a window is unjudged.")
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="Where a gap is wanted: required, if_present or off.")
    ] = None,
    min_p_gap: Annotated[float | None, typer.Option(help="Least probability of a gap.")] = None,
    exclude: Annotated[
        str | None, typer.Option(help="Groups of elements: toxic, radioactive, scarce.")
    ] = None,
    device: Annotated[str, typer.Option(help="torch device, for instance cuda:0.")] = "cpu",
    batch: Annotated[int | None, typer.Option(min=1, help="Crystals in one pass.")] = None,
    json: JsonList = False,
) -> None:
    """Ask the screens of a campaign about crystals, and say what its rules make of them.

    What is not given is taken from `--campaign`, else the default. Example:
    `discovery screen POSCAR crystals.extxyz --window band_gap:0.5:2.5 --json`
    """
    from agents.screen.files import failure, screen_structures
    from discovery.campaign.config import load_campaign
    from discovery.cli.bars import working
    from discovery.structures.files import StructureFileError, read_each

    config = load_campaign(campaign) if campaign else None
    settings = screen_settings(
        config.screen if config else None,
        models=models if models in (None, "auto") else names(models),
        agreement=agreement,
        min_models=min_models,
        classifier=classifier,
        min_p_gap=min_p_gap,
        exclude=None if exclude is None else names(exclude),
        megnet_batch=batch,
    )
    windows: Sequence[Window] = parse_windows(window or [])
    if config:
        windows = windows or config.targets
        generator = generator or config.generator
    read = read_each(files)
    crystals = {name: one for name, one in read.items() if not isinstance(one, StructureFileError)}
    screened = {}
    with working("loading the models") as work:
        loaded, absent = load_screens(settings, generator, device)
        work.part("screening", len(crystals), "crystals")
        for record in screen_structures(crystals, loaded, settings, windows=windows, absent=absent):
            screened[record["id"]] = record
            work.at(len(screened))
    records = [
        screened[name] if name in screened else failure(name, str(one))
        for name, one in read.items()
    ]
    for record in records:
        if record["error"]:
            print_progress(f"{record['id']}: {record['error']}")
    if json:
        print_json(records)
    elif screened:
        _print_table([record for record in records if not record["error"]], absent)
    if all(record["error"] for record in records):
        raise typer.Exit(1)


def screen_settings(base: ScreenSettings | None, **options: Any) -> ScreenSettings:
    """Build the settings of screens from options, faults in one sentence.

    Args:
        base: What holds where an option was not given; None: the defaults.
        options: Fields of `ScreenSettings` as the command line has them; None: not given.

    Raises:
        UsageError: A value is wrong.
    """
    from pydantic import ValidationError

    from agents.screen.settings import ScreenSettings

    given = {key: value for key, value in options.items() if value is not None}
    if str(given.get("agreement")).isdecimal():
        given["agreement"] = int(given["agreement"])
    try:
        return ScreenSettings.model_validate({**(base.model_dump() if base else {}), **given})
    except ValidationError as error:
        faults = [
            f"{fault['loc'][0] if fault['loc'] else 'options'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        raise UsageError("; ".join(dict.fromkeys(faults))) from error


def names(text: str) -> tuple[str, ...]:
    """Split a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_windows(texts: Sequence[str]) -> list[Window]:
    """Read windows as the command line gives them.

    Raises:
        UsageError: One is none.
    """
    from agents.targets import Window

    try:
        return [Window.parse(text) for text in texts]
    except ValueError as error:
        raise UsageError(str(error)) from error


def load_screens(
    settings: ScreenSettings, generator: str | None, device: str
) -> tuple[list[Screen], dict[str, str]]:
    """Load the models; with ``auto`` those that are not here are returned with the reason.

    Raises:
        UsageError: The property head is asked for and no generator is named.
        agents.screen.screen.MissingModel: A model that is named is not here.
        agents.screen.screen.UnsoundModel: A model does not pass its gate.
    """
    from agents.screen.models import HEAD, known_screens, load_screen
    from agents.screen.screen import MissingModel

    automatic, batch = settings.models == "auto", settings.megnet_batch
    loaded: list[Screen] = []
    absent: dict[str, str] = {}
    for name in known_screens() if automatic else settings.models:
        if name == HEAD:
            continue
        try:
            loaded.append(load_screen(name, batch=batch, device=device))
        except MissingModel as error:
            if not automatic:
                raise
            absent[name] = str(error)
    if generator is not None and (automatic or HEAD in settings.models):
        from agents.screen.head import HeadScreen
        from model.generator import Generator

        loaded.append(HeadScreen(Generator.load(generator)))
    elif not automatic and HEAD in settings.models:
        raise UsageError("the property head belongs to a generator: name it with --generator")
    return loaded, absent


def _print_table(records: Sequence[dict[str, Any]], absent: dict[str, str]) -> None:
    from rich.markup import escape
    from rich.table import Table

    asked = {(p["model"], p["property"], p["level"]): p for r in records for p in r["predictions"]}
    several = [(model, name) for model, name, _ in asked]
    table = Table(box=None, pad_edge=False)
    table.add_column("crystal", overflow="fold")
    table.add_column("formula")
    for model, name, level in asked:
        at = f" {level}" if several.count((model, name)) > 1 else ""
        unit = asked[model, name, level]["unit"]
        table.add_column(f"{SHORT.get(name, name)} {model}{at} ({unit})", justify="right")
    for title in ("rules", "consensus", "out of domain"):
        table.add_column(title, overflow="fold")
    for record in records:
        values = {
            (p["model"], p["property"], p["level"]): f"{p['value']:.3f}{_mark(p)}"
            for p in record["predictions"]
        }
        cells = [record["id"], record["formula"], *(values.get(key, "-") for key in asked)]
        cells += [_rules(record), _agreement(record["consensus"]), _domain(record)]
        table.add_row(*(escape(cell) for cell in cells))
    console_for_tables().print(table)
    for record in records:
        for model, reason in record["not_predicted"].items():
            if model not in absent:
                print_progress(f"{record['id']}: {model} gives no number: {reason}")
    for model, reason in absent.items():
        print_progress(f"{model} is not asked: {reason}")


def _mark(prediction: dict[str, Any]) -> str:
    return "" if prediction["in_domain"] else " (!)"


def _rules(record: dict[str, Any]) -> str:
    return ", ".join(record["validity"]["failed"]) or "pass"


def _agreement(consensus: dict[str, Any] | None) -> str:
    if consensus is None:
        return "-"
    outside = [f"outside {name}" for name in consensus["outside"]]
    return ", ".join([*outside, *(f"unjudged {n}" for n in consensus["unjudged"])]) or "inside"


def _domain(record: dict[str, Any]) -> str:
    """Name the kinds of reasons; the sentences are in the JSON."""
    reasons = {
        f"{prediction['model']}: {reason.partition(':')[0]}"
        for prediction in record["predictions"]
        for reason in prediction["out_of_domain"]
    }
    return ", ".join(sorted(reasons))
