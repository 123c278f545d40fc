"""``dft``: calculations as a person handles them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from discovery.cli import completion
from discovery.cli.options import CampaignName, Database, Json
from discovery.cli.output import UsageError, console_for_tables, print_json, print_progress

if TYPE_CHECKING:
    from fireworks import LaunchPad

app = typer.Typer(help="DFT calculations: list, show, rerun, defuse.", no_args_is_help=True)

Hash = Annotated[
    str,
    typer.Argument(
        help="The first digits of the calculation's hash.", autocompletion=completion.calculations
    ),
]

ERROR_WIDTH = 60


@app.command("list")
def list_calculations(
    campaign: Annotated[
        str | None,
        typer.Argument(
            help="Only those of this campaign; all if omitted.",
            autocompletion=completion.campaigns_here,
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="submitting, submitted, completed or failed.",
            autocompletion=completion.calculation_states,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="relax, static, gap, bands, …", autocompletion=completion.calculation_tasks
        ),
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """List calculations with their state, attempts and core-hours.

    Example: `discovery dft list quickstart --state failed`
    """
    from agents.verify.queue.operations import rows
    from agents.verify.tasks import Task
    from db import campaigns
    from db.states import CalculationState

    _one_of(state, [str(one) for one in CalculationState], "--state")
    _one_of(task, [str(one) for one in Task], "--task")
    with _queue(db) as pad:
        if campaign is not None:
            campaigns.load(campaign)  # says so where there is none of this name
        found = rows(pad, campaign=campaign, state=state, task=task)
        if json:
            print_json([one.record() for one in found])
            return
        _print_table(found)


@app.command()
def show(calculation: Hash, db: Database = None, json: Json = False) -> None:
    """Show one calculation: attempts, history, raw outputs, what starts from it.

    Example: `discovery dft show 3f2a9c`
    """
    from agents.verify.queue import operations

    with _queue(db) as pad:
        document = operations.show(pad, operations.find(calculation))
    if json:
        print_json(document)
    else:
        _print_calculation(document)


@app.command()
def rerun(
    calculation: Hash,
    smearing: Annotated[
        float | None, typer.Option(min=1e-3, help="Width of the occupations, eV.")
    ] = None,
    cutoff: Annotated[float | None, typer.Option(min=1.0, help="Plane-wave cut-off, eV.")] = None,
    mixing: Annotated[
        float | None, typer.Option(min=1e-4, max=1.0, help="Share of the new density (Pulay).")
    ] = None,
    max_iterations: Annotated[int | None, typer.Option(min=1, help="SCF iterations.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=1.0, help="Wall-clock limit of an attempt, s.")
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Run a failed calculation again, with other settings if wanted; its candidates wait again.

    Example: `discovery dft rerun 3f2a9c --smearing 0.1 --mixing 0.02`
    """
    from agents.verify.queue import operations

    given = {"smearing": smearing, "cutoff": cutoff, "max_iterations": max_iterations}
    changes: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
    if mixing is not None:
        changes["mixer"] = {"name": "pulay", "beta": mixing, "nmaxold": 8, "weight": 100.0}
    with _queue(db) as pad:
        queued = operations.rerun(
            pad,
            operations.find(calculation),
            by=person(),
            changes=changes,
            timeout_seconds=timeout,
        )
    if json:
        print_json({"queued": queued, "changes": changes})
        return
    for hash in queued:
        print(f"queued {hash[: operations.SHORT]}")
    print_progress("next: `discovery worker --queue dft`, then `discovery dft collect CAMPAIGN`")


@app.command()
def defuse(
    calculation: Hash,
    why: Annotated[str, typer.Option(help="The reason, for the record.")] = "",
    db: Database = None,
    json: Json = False,
) -> None:
    """Take a queued or running calculation out; what starts from it fails with it.

    Example: `discovery dft defuse 3f2a9c --why "wrong polymorph"`
    """
    from agents.verify.queue import operations

    with _queue(db) as pad:
        found = operations.find(calculation)
        done = operations.defuse(pad, found, by=person(), why=why)
    if json:
        print_json({"hash": found.hash, "done": done})
    else:
        print(f"{found.hash[: operations.SHORT]}: {done}")


@app.command()
def collect(
    campaign: CampaignName,
    db: Database = None,
    json: Json = False,
) -> None:
    """Take in what launchers finished, for a campaign that is not running, after `rerun` say.

    Example: `discovery dft collect quickstart`
    """
    from agents.targets import Window
    from agents.verify.collection import collect as collect_finished
    from agents.verify.queue.recovery import recover
    from agents.verify.settings import VerifySettings
    from db import campaigns

    with _queue(db) as pad:
        config = campaigns.load(campaign).config
        settings = VerifySettings.model_validate(config["verify"])
        windows = [Window.model_validate(one) for one in config["targets"]]
        recover(pad, lost_seconds=settings.lost_seconds, max_launches=settings.max_launches)
        found = collect_finished(campaign, windows, pad, settings)
    if json:
        print_json(
            {
                "calculations": found.calculations,
                "verified": found.verified,
                "failed": found.failed,
            }
        )
        return
    print(
        f"{found.calculations} calculations, {len(found.verified)} candidates verified, "
        f"{len(found.failed)} failed"
    )


def person() -> str:
    """Name whoever calls the command, for the history."""
    return f"user {os.environ.get('USER') or os.getuid()}"


@contextmanager
def _queue(db: str | None) -> Iterator[LaunchPad]:
    from agents.verify.queue.launchpad import launchpad
    from db.connection import connect
    from discovery.cli.bars import working

    with working("opening the database"):
        session = connect(db, create=False)
    with session:
        yield launchpad(session)


def _one_of(value: str | None, known: list[str], option: str) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{option} {value} is none of {', '.join(known)}")


def _print_table(found: list[Any]) -> None:
    from rich.table import Table

    if not found:
        print("no calculations")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("hash", "formula", "kind", "task", "state", "queue", "queue state"):
        table.add_column(column, no_wrap=True)
    for column in ("attempts", "core-h", "estimate"):
        table.add_column(column, justify="right")
    table.add_column("error")
    for one in found:
        estimate = one.estimated_core_hours
        table.add_row(
            *(one.hash, one.formula, one.kind, one.task, one.state),
            one.category or "",
            one.queue_state or "",
            str(one.attempts),
            f"{one.core_hours:.4f}",
            "" if estimate is None else f"{estimate:.4f}",
            (one.error or "")[:ERROR_WIDTH],
        )
    console_for_tables().print(table)


def _print_calculation(one: dict[str, Any]) -> None:
    lines = [
        f"{one['hash']}",
        f"{one['formula']} {one['kind']} {one['task']}, {one['level']}",
        f"state {one['state']}, Firework {one['queue']['fw_id']} {one['queue_state'] or ''}, "
        f"{one['core_hours']:.4f} core-hours measured",
    ]
    lines += [f"error: {one['error']}"] if one["error"] else []
    lines += [f"starts from {one['parent']}"] if one["parent"] else []
    lines += [f"is continued by {child}" for child in one["children"]]
    lines += [f"verifies {candidate}" for candidate in one["candidates"]]
    for number, attempt in enumerate(one["attempt_records"], start=1):
        error = attempt["error"]
        outcome = "completed" if error is None else f"{error['kind']}: {error['message']}"
        changes = f" with {attempt['changes']}" if attempt.get("changes") else ""
        seconds = attempt.get("core_seconds", 0.0)
        lines.append(f"attempt {number}{changes}: {outcome} ({seconds:.1f} core-seconds)")
    if one["outputs"]:
        files = one["outputs"]["files"]
        size = sum(file["size"] for file in files) / 1024
        lines.append(f"outputs: {len(files)} files, {size:.0f} KiB, in {one['outputs']['folder']}")
        lines += [f"  missing or changed: {path}" for path in one["missing_outputs"]]
    for entry in one["history"]:
        note = f": {entry['note']}" if entry.get("note") else ""
        lines.append(
            f"{entry['at']:%Y-%m-%d %H:%M:%S} {entry['by']}: {entry['from']} → {entry['to']}{note}"
        )
    print("\n".join(lines))
