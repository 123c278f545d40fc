"""How a campaign ended, in sentences, and where to look next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from agents.verify.choice.arms import ALL_WINDOWS, CHOICE, CONTROL
from db.states import FUNNEL, State
from discovery.campaign.loop import NEEDS_MORE_MINUTES
from discovery.reports import paper_funnel, rediscovery
from discovery.reports.paper import FUNNELS

GAP = 2
"""Blanks between two columns."""
COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("id", "id", 3),
    ("formula", "formula", 9),
    ("state", "state", 8),
    ("formation_energy_per_atom", "E_f DFT", 6),
    ("band_gap", "gap DFT", 7),
    ("formation_energy_per_atom_potential", "E_f pot.", 5),
    ("energy_above_hull_potential", "hull pot.", 4),
)
"""Key of a record, title, and how much a column is worth where not all have room."""


def best_table(best: Sequence[dict[str, Any]], width: int, *, ids: bool = True) -> Table:
    """Lay out the most advanced candidates, in as many columns as have room.

    Args:
        best: As in ``discovery status --json``.
        width: Of the terminal.
        ids: Whether ids are worth more than numbers: a person may want to copy one.
    """
    cells = {key: [_cell(one, key) for one in best] for key, _, _ in COLUMNS}
    widths = {key: max(map(len, (title, *cells[key]))) for key, title, _ in COLUMNS}
    worth = {key: 10 if ids and key == "id" else value for key, _, value in COLUMNS}
    shown = [key for key, _, _ in COLUMNS if any(cells[key])]
    while len(shown) > 1 and sum(widths[key] + GAP for key in shown) - GAP > width:
        shown.remove(min(shown, key=worth.__getitem__))
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for key, title, _ in COLUMNS:
        if key in shown:
            number = key not in ("id", "formula", "state")
            table.add_column(
                title, justify="right" if number else "left", no_wrap=True, overflow="ellipsis"
            )
    for row in zip(*(cells[key] for key, _, _ in COLUMNS if key in shown), strict=True):
        table.add_row(*row)
    return table


def _cell(one: dict[str, Any], key: str) -> str:
    value = one[key]
    if key == "state":
        return str({True: "hit", False: "miss", None: value}[one["hit"]])
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)


def core_hours(dft: dict[str, Any]) -> str:
    """Say what DFT costs."""
    hours = dft["core_hours"]
    limit = "" if hours["limit"] is None else f" of {hours['limit']:.3f}"
    in_flight = f", {hours['in_flight']:.3f} in flight" if hours["in_flight"] else ""
    return f"{hours['spent']:.3f}{limit} core-hours{in_flight}"


def _arm_line(arm: dict[str, Any]) -> str:
    name = {CHOICE: "Chosen for DFT", CONTROL: "Control arm (drawn at random)"}[arm["arm"]]
    shares = ", ".join(
        f"{share['inside']} of {share['of']} ({share['low']:.2f} to {share['high']:.2f}) "
        f"{'in every window' if window == ALL_WINDOWS else window}"
        for window, share in arm["windows"].items()
    )
    return f"{name}: {arm['submitted']} calls, {arm['failed']} failed; {shares}."


def _print_paper(summary: dict[str, Any], console: Console) -> None:
    """Print the paper's funnel with this campaign's numbers, where one belongs to it."""
    paper = summary["paper"]
    if paper is not None:
        lines = paper_funnel.describe(paper, summary["generator"]["name"], console.width)
        console.print("\n" + "\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if summary["rediscovered"]["of"]:
        known = None if paper is None else FUNNELS[paper["name"]]
        line = rediscovery.describe(summary["rediscovered"], known)
        soft = not console.is_terminal
        console.print(line, highlight=False, markup=False, soft_wrap=soft)
    console.print()


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print how a campaign ended and where to look next.

    Args:
        summary: As from `discovery.reports.status.status`.
        console: Where to write.
    """
    name, dft = summary["campaign"], summary["dft"]
    soft = not console.is_terminal  # a terminal gets lines that break between words
    why = f" ({summary['stop_reason']})" if summary["stop_reason"] else ""
    console.print(f"\n[bold]{name}[/bold] is {summary['state']}{why}.", soft_wrap=soft)
    if summary["stop_reason"] == NEEDS_MORE_MINUTES:
        console.print(
            "The screened candidates that are left need calculations too long for so short a run: "
            "the same command with more --max-minutes, or without, continues.",
            soft_wrap=soft,
        )
    funnel = ", ".join(
        f"{summary['reached'].get(state.value, 0)} {state.value}"
        for state in FUNNEL
        if state not in (State.RELAXING, State.VERIFYING)
    )
    console.print(f"Funnel: {funnel}.", soft_wrap=soft)
    _print_paper(summary, console)
    reasons = sorted(summary["rejections"].items(), key=lambda item: -item[1])
    if reasons:
        console.print(
            "Rejected: " + ", ".join(f"{count} {reason}" for reason, count in reasons) + ".",
            soft_wrap=soft,
        )
    console.print(
        f"DFT: {dft['submitted']} submitted, {dft['completed']} completed, {dft['failed']} failed, "
        f"{dft['hits']} hits; {dft['references']} elemental references; {core_hours(dft)}.",
        soft_wrap=soft,
    )
    for arm in (one for one in summary["arms"] if one["submitted"]):
        console.print(_arm_line(arm), soft_wrap=soft)
    hull = summary["hull"]
    if hull["placed"] or hull["refused"]:
        refused = ", ".join(f"{count} {reason}" for reason, count in hull["refused"].items())
        console.print(
            f"Hull of the potential: {hull['placed']} placed, {hull['below']} below it, "
            f"{hull['within_0.1']} within 0.1 eV/atom; refused: {refused or 'none'}.",
            soft_wrap=soft,
        )
    followed = summary["follow_up"]
    if followed["chosen"]:
        console.print(
            f"Follow-up: {followed['finished']} of {followed['chosen']} hits finished; "
            f"{followed['stable']} stable, {followed['unstable']} unstable, "
            f"{followed['undecided']} undecided by the potential; "
            f"{followed['direct']} direct gaps, {followed['still_in_window']} estimated gaps in "
            f"the window, {followed['hulls']} DFT hulls.",
            soft_wrap=soft,
        )
    for event in summary["learning"]:
        version = event["version"] or "(no version)"
        console.print(
            f"Learning: {event['decision']} {version}: {event['reason']}",
            soft_wrap=soft,
            markup=False,
        )
    if summary["best"]:
        console.print("Best by DFT and the potential (eV/atom; gaps eV):", soft_wrap=soft)
        console.print(best_table(summary["best"], console.width))
    if summary["state"] == "stopped":
        console.print("\nThe same `discovery run` continues it.", soft_wrap=soft)
    furthest = "verified" if dft["completed"] else "screened"
    commands = [
        f"discovery query {name} --status {furthest}",
        f"discovery query {name} --status {furthest} --format cif --out {name}-cif",
        *([f"discovery show {summary['best'][0]['id']}"] if summary["best"] else []),
        f"discovery report {name} --out {name}-report",
        "discovery serve",
    ]
    lines = ["", "Look further:", *(f"  {command}" for command in commands)]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
