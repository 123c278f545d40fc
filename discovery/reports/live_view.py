"""What a person sees while a campaign runs: the funnel, the best, the rates, what it waits for."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agents.verify.choice.arms import ALL_WINDOWS, CHOICE, CONTROL
from db.states import FUNNEL, State
from discovery.campaign.loop import NEEDS_MORE_MINUTES, Tick
from discovery.reports import paper_funnel, rediscovery
from discovery.reports.paper import FUNNELS
from discovery.reports.status import status

REFRESH_SECONDS = 2.0
LINE_SECONDS = 20.0
BAR_WIDTH = 24


class LiveView:
    """Shows a running campaign on a terminal, or prints a line now and then elsewhere.

    Args:
        campaign: Its name.
        console: Where to write; stderr, so that stdout stays free for JSON.
    """

    def __init__(self, campaign: str, console: Console) -> None:
        self._campaign = campaign
        self._console = console
        self._started = time.monotonic()
        self._shown = 0.0
        self._first: dict[str, int] = {}
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, tick: Tick) -> None:
        """Show the campaign as it is now; reads the database at most every few seconds."""
        pause = REFRESH_SECONDS if self._live is not None else LINE_SECONDS
        now = time.monotonic()
        if now - self._shown < pause and not tick.finished:
            return
        self._shown = now
        summary = status(self._campaign, funnels=False)
        if not self._first:
            self._first = dict(summary["reached"])
        if self._live is not None:
            self._live.update(self._render(summary, tick), refresh=True)
        else:
            self._console.print(self._line(summary, tick), highlight=False, soft_wrap=True)

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def _rate(self, summary: dict[str, Any], state: str) -> float:
        minutes = max(time.monotonic() - self._started, 1.0) / 60
        return float(summary["reached"].get(state, 0) - self._first.get(state, 0)) / minutes

    def _line(self, summary: dict[str, Any], tick: Tick) -> str:
        reached, dft = summary["reached"], summary["dft"]
        return (
            f"[{self._elapsed()}] round {tick.round}: {summary['candidates']} proposed, "
            f"{reached.get('evaluated', 0)} evaluated, {reached.get('relaxed', 0)} relaxed, "
            f"{reached.get('screened', 0)} screened; DFT {dft['submitted']} submitted, "
            f"{dft['completed']} completed, {dft['failed']} failed, {dft['hits']} hits; "
            f"head {summary['model_version']}; waits for {', '.join(tick.waiting_for) or 'nothing'}"
        ).replace("[", r"\[", 1)

    def _render(self, summary: dict[str, Any], tick: Tick) -> Group:
        dft = summary["dft"]
        title = Text(
            f"{self._campaign}  round {tick.round}  {self._elapsed()}  "
            f"head {summary['model_version']}",
            style="bold",
        )
        line = Text(
            f"DFT: {dft['submitted']} submitted, {dft['running']} running, "
            f"{dft['completed']} completed, {dft['failed']} failed, {dft['hits']} hits; "
            f"{_core_hours(dft)}"
        )
        waiting = Text("waits for: " + (", ".join(tick.waiting_for) or "nothing"), style="dim")
        return Group(title, self._funnel(summary), line, best_table(summary["best"]), waiting)

    def _funnel(self, summary: dict[str, Any]) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="left", no_wrap=True)
        table.add_column(justify="right")
        table.add_column(justify="left", no_wrap=True)
        table.add_column(justify="right")
        total = max(summary["candidates"], 1)
        for state in FUNNEL:
            reached = summary["reached"].get(state.value, 0)
            bar = "█" * round(BAR_WIDTH * reached / total)
            rate = self._rate(summary, state.value)
            table.add_row(state.value, str(reached), bar, f"{rate:.0f}/min" if rate else "")
        return table


def best_table(best: list[dict[str, Any]]) -> Table:
    """Lay out the most advanced candidates.

    Args:
        best: As in ``discovery status --json``.
    """
    table = Table(box=None, pad_edge=False)
    for column in ("id", "formula", "state", "E_f MLIP", "hull MLIP", "E_f DFT", "gap DFT", "hit"):
        table.add_column(column, justify="right" if "DFT" in column or "MLIP" in column else "left")
    for one in best:
        table.add_row(
            one["id"],
            one["formula"],
            one["state"],
            _number(one["formation_energy_per_atom_potential"]),
            _number(one["energy_above_hull_potential"]),
            _number(one["formation_energy_per_atom"]),
            _number(one["band_gap"]),
            {True: "hit", False: "miss", None: ""}[one["hit"]],
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _core_hours(dft: dict[str, Any]) -> str:
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
        lines = paper_funnel.describe(paper, summary["generator"]["name"])
        console.print("\n" + "\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if summary["rediscovered"]["of"]:
        known = None if paper is None else FUNNELS[paper["name"]]
        line = rediscovery.describe(summary["rediscovered"], known)
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print()


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print how a campaign ended and where to look next.

    Args:
        summary: As from `discovery.reports.status.status`.
        console: Where to write.
    """
    name, dft = summary["campaign"], summary["dft"]
    console.print(f"\n[bold]{name}[/bold] is {summary['state']} ({summary['stop_reason']}).")
    if summary["stop_reason"] == NEEDS_MORE_MINUTES:
        console.print(
            "The screened candidates that are left need calculations too long for so short a run: "
            "the same command with more --max-minutes, or without, continues.",
            soft_wrap=True,
        )
    funnel = ", ".join(
        f"{summary['reached'].get(state.value, 0)} {state.value}"
        for state in FUNNEL
        if state not in (State.RELAXING, State.VERIFYING)
    )
    console.print(f"Funnel: {funnel}.", soft_wrap=True)
    _print_paper(summary, console)
    reasons = sorted(summary["rejections"].items(), key=lambda item: -item[1])
    if reasons:
        console.print(
            "Rejected: " + ", ".join(f"{count} {reason}" for reason, count in reasons) + ".",
            soft_wrap=True,
        )
    console.print(
        f"DFT: {dft['submitted']} submitted, {dft['completed']} completed, {dft['failed']} failed, "
        f"{dft['hits']} hits; {dft['references']} elemental references; {_core_hours(dft)}."
    )
    for arm in summary["arms"]:
        console.print(_arm_line(arm), soft_wrap=True)
    hull = summary["hull"]
    if hull["placed"] or hull["refused"]:
        refused = ", ".join(f"{count} {reason}" for reason, count in hull["refused"].items())
        console.print(
            f"Hull of the potential: {hull['placed']} placed, {hull['below']} below it, "
            f"{hull['within_0.1']} within 0.1 eV/atom; refused: {refused or 'none'}.",
            soft_wrap=True,
        )
    followed = summary["follow_up"]
    if followed["chosen"]:
        console.print(
            f"Follow-up: {followed['finished']} of {followed['chosen']} hits finished; "
            f"{followed['stable']} stable, {followed['unstable']} unstable, "
            f"{followed['undecided']} undecided by the potential; "
            f"{followed['direct']} direct gaps, {followed['still_in_window']} estimated gaps in "
            f"the window, {followed['hulls']} DFT hulls.",
            soft_wrap=True,
        )
    for event in summary["learning"]:
        version = event["version"] or "(no version)"
        console.print(
            f"Learning: {event['decision']} {version}: {event['reason']}",
            soft_wrap=True,
            markup=False,
        )
    if summary["best"]:
        console.print(best_table(summary["best"]))
    console.print(
        f"\nLook further:\n"
        f"  discovery query {name} --status verified\n"
        f"  discovery query {name} --status verified --format cif --out {name}-cif\n"
        + (f"  discovery show {summary['best'][0]['id']}\n" if summary["best"] else "")
        + f"  discovery status {name} --json",
        highlight=False,
    )
