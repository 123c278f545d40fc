"""What a person sees while a campaign runs: the funnel, the best, the rates, what it waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from db.states import FUNNEL
from discovery.campaign.config import CampaignConfig
from discovery.campaign.loop import Tick
from discovery.reports.remaining import Estimate, Remaining
from discovery.reports.status import status
from discovery.reports.summary import best_table, core_hours

REFRESH_SECONDS = 2.0
LINE_SECONDS = 20.0
SHARE = 20
"""The campaign is looked at again after so many times what looking at it took."""
LONGEST_BAR = 40
MANY = 100_000
"""Rates are shown in thousands from so many on, that they keep to their column."""
BESIDE_BAR = 32
"""Columns that state, count and rate take."""
LEAST_ROWS = 20
"""Below so many rows of the terminal the best candidates are left out."""


class LiveView:
    """Shows a running campaign on a terminal, or prints a line now and then elsewhere.

    Args:
        config: The campaign.
        console: Where to write; stderr, so that stdout stays free for JSON.
        max_candidates: Overrides the campaign's own limit.
        max_minutes: Overrides the campaign's own limit.
    """

    def __init__(
        self,
        config: CampaignConfig,
        console: Console,
        *,
        max_candidates: int | None = None,
        max_minutes: float | None = None,
    ) -> None:
        self._campaign = config.name
        self._rounds = config.budget.rounds
        self._console = console
        self._estimate = Estimate(config, max_candidates=max_candidates, max_minutes=max_minutes)
        self._began = time.monotonic()
        self._next = self._first_at = 0.0
        self._first: dict[str, int] = {}
        self._seen: tuple[dict[str, Any], Tick, Remaining] | None = None
        self._terminal = console.is_terminal and not console.is_dumb_terminal

    @contextmanager
    def shown(self) -> Iterator[LiveView]:
        """Keep the view on the terminal while the block runs; at its end it disappears."""
        if not self._terminal:
            yield self
            return
        # stdout may be a file or a pipe that gets one JSON document.
        with Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=1,
            transient=True,
            redirect_stdout=False,
        ):
            yield self

    def __call__(self, tick: Tick) -> None:
        """Show the campaign as it is now; how often depends on what it takes to read that."""
        began = time.monotonic()
        if began < self._next and not tick.finished:
            return
        summary = status(self._campaign, funnels=False)
        if self._seen is None:
            self._first, self._first_at = dict(summary["reached"]), began
        self._seen = (summary, tick, self._estimate.remaining(summary, tick.round))
        pause = REFRESH_SECONDS if self._terminal else LINE_SECONDS
        self._next = began + max(pause, SHARE * (time.monotonic() - began))
        if not self._terminal:
            self._console.print(
                self.line(summary, tick, self._seen[2]),
                highlight=False,
                soft_wrap=True,
                markup=False,
            )

    def line(self, summary: Mapping[str, Any], tick: Tick, left: Remaining) -> str:
        """Describe the campaign in one line."""
        reached, dft = summary["reached"], summary["dft"]
        return (
            f"[{self._elapsed()}] round {tick.round} of {self._rounds}: "
            f"{summary['candidates']} proposed, "
            f"{reached.get('evaluated', 0)} evaluated, {reached.get('relaxed', 0)} relaxed, "
            f"{reached.get('screened', 0)} screened; DFT {dft['submitted']} submitted, "
            f"{dft['completed']} completed, {dft['failed']} failed, {dft['hits']} hits; "
            f"head {summary['model_version']}; {left}; "
            f"waits for {', '.join(tick.waiting_for) or 'nothing'}"
        )

    def render(self) -> RenderableType:
        """Draw the campaign in the size of the terminal; no line is longer than that."""
        width, height = self._console.size
        if self._seen is None:
            return _line(f"starting {self._campaign}  {self._elapsed()}")
        summary, tick, left = self._seen
        dft = summary["dft"]
        parts: list[RenderableType] = [
            _line(f"{self._campaign}  round {tick.round} of {self._rounds}", "bold"),
            _line(f"{self._elapsed()}, {left}", "bold"),
            *self._funnel(summary, width),
            _line(
                f"DFT: {dft['hits']} hits, {dft['completed']} of {dft['submitted']} completed, "
                f"{dft['running']} running, {dft['failed']} failed; {core_hours(dft)}"
            ),
        ]
        if summary["best"] and height >= LEAST_ROWS:
            parts.append(best_table(summary["best"], width, ids=False))
        waiting = ", ".join(tick.waiting_for) or "nothing"
        parts.append(_line(f"waits for {waiting}; head {summary['model_version']}", "dim"))
        return Group(*parts[: max(height - 1, 1)])

    def _funnel(self, summary: Mapping[str, Any], width: int) -> Iterator[Text]:
        total = max(summary["candidates"], 1)
        longest = max(min(width - BESIDE_BAR, LONGEST_BAR), 0)
        full = "█" if self._console.encoding.startswith("utf") else "#"
        for state in FUNNEL:
            reached = summary["reached"].get(state.value, 0)
            rate = self._rate(summary, state.value)
            shown = f"{rate:,.0f}" if rate < MANY else f"{rate / 1000:,.0f}k"
            per_minute = f"{shown}/min" if rate >= 0.5 else ""
            bar = full * round(longest * reached / total)
            yield _line(f"{state.value:11} {reached:>8,} {per_minute:>10} {bar}")

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._began)
        hours, minutes = divmod(seconds // 60, 60)
        clock = f"{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"
        return f"{hours}:{clock}" if hours else clock

    def _rate(self, summary: Mapping[str, Any], state: str) -> float:
        minutes = max(time.monotonic() - self._first_at, 1.0) / 60
        return float(summary["reached"].get(state, 0) - self._first.get(state, 0)) / minutes


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
