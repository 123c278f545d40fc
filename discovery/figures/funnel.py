"""The funnel: where a campaign's candidates went, as ribbons (a Sankey diagram)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from db.states import State
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, TWO_COLUMNS, VERMILION
from discovery.figures.style import new_figure as new_picture

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    from matplotlib.axes import Axes

    from discovery.figures.source import CampaignData

#: The stages and what their candidates have behind them.
STAGES = {
    State.PROPOSED: "proposed",
    State.EVALUATED: "evaluated",
    State.PRESCREENED: "rules passed",
    State.RELAXED: "relaxed",
    State.SCREENED: "screened",
    State.SELECTED: "chosen for DFT",
    State.VERIFIED: "verified by DFT",
}
HIT = "hit"
#: States of candidates on their way to the next stage.
UNDER_WAY = {State.RELAXING: State.PRESCREENED, State.VERIFYING: State.SELECTED}
WAITING = {
    State.PROPOSED: "wait for their energy",
    State.EVALUATED: "wait for the rules",
    State.PRESCREENED: "wait for relaxation",
    State.RELAXED: "wait for the screens",
    State.SCREENED: "not chosen for DFT",
    State.SELECTED: "DFT not finished",
}
#: What the picture says of the most frequent rules; the table has them as they are recorded.
RULES = {
    "smact": "SMACT: no charge balance",
    "lanthanide": "holds a lanthanide",
    "actinide": "holds an actinide",
    "unrelaxed_formation_energy": "energy too high to relax",
    "relaxation_budget": "more than may be relaxed",
    "formation_energy": "formation energy too high",
    "max_force": "forces left",
    "max_stress": "stress left",
    "duplicate_training": "known: training set",
    "duplicate_reference": "known: reference data",
    "duplicate_campaign": "found before",
    "dimensionality": "no single layer",
    "invalid_decode": "decodes to no crystal",
    "energy_above_hull": "too far above the hull",
}
MISS, UNJUDGED = "outside the windows", "no result in a window"
#: So many reasons have a ribbon of their own at each stage; the rest share one.
MOST_REASONS = 4

COLOURS = {
    "passed": BLUE,
    "rejected": PALE,
    "miss": PALE,
    "failed": VERMILION,
    "waits": ORANGE,
    "hit": GREEN,
}
EDGES = COLOURS | {"rejected": GREY, "miss": GREY}
#: Besides the colour, a sign in front of the number.
SIGNS = {"rejected": "✗", "miss": "✗", "failed": "!", "waits": "…", "hit": "★"}

# Inches of the picture.
TRUNK, LEFT, LABELS = 2.3, 1.6, 4.7
LINE, GAP, BAR, THINNEST = 0.15, 0.14, 0.07, 0.008


def content(data: CampaignData) -> Content:
    """Show how many candidates came how far, and what took the others out."""
    if data.candidates.empty:
        raise NothingToShow("nothing was proposed yet")
    table = flows(data.candidates)
    arrived = arrivals(table)
    steps = ", ".join(f"{n:,} {stage}" for stage, n in arrived.items())
    lost = table[table["kind"].isin(["rejected", "failed"])]
    caption = (
        f"Where the {len(data.candidates):,} candidates of the campaign went, in the order in "
        "which they are tested; the width of a ribbon is a number of candidates. Blue: goes on; "
        "✗ and grey: rejected by a rule, or outside the windows by DFT; ! and red: failed with an "
        "error; … and orange: waits, or was not chosen; ★ and green: hit, inside every window by "
        f"DFT. {steps}."
    )
    alt = f"Funnel: {steps}."
    if len(lost):
        most = lost.loc[lost["candidates"].idxmax()]
        alt += (
            f" The most frequent loss, of {most['candidates']:,} candidates: {_words(most['to'])}."
        )
    numbers = {"arrived": arrived}
    return Content(table, caption, alt, partial(_draw, table, arrived), numbers)


def flows(candidates: pandas.DataFrame) -> pandas.DataFrame:
    """Count the candidates that go from each stage to the next, and those that do not.

    Args:
        candidates: As in `CampaignData.candidates`.

    Returns:
        ``stage``, ``to`` (the next stage, the rule, or what is waited for), ``kind`` (``passed``,
        ``rejected``, ``failed``, ``waits``, ``miss``, ``hit``) and ``candidates``, in the funnel's
        order.
    """
    import pandas

    order = list(STAGES)
    ended = candidates["state"].isin([State.REJECTED.value, State.FAILED.value])
    last = candidates["state"].where(~ended, candidates["left"]).map(_stage)
    rows = []
    for place, stage in enumerate(order):
        here = candidates[last == stage]
        onward = int(last.isin(order[place + 1 :]).sum())
        if onward:
            rows.append((STAGES[stage], STAGES[order[place + 1]], "passed", onward))
        rejected = here.loc[here["state"] == State.REJECTED.value, "reason"]
        for reason, count in rejected.value_counts().items():
            rows.append((STAGES[stage], str(reason), "rejected", int(count)))
        if failed := int((here["state"] == State.FAILED.value).sum()):
            rows.append((STAGES[stage], "error", "failed", failed))
        alive = here[~here["state"].isin([State.REJECTED.value, State.FAILED.value])]
        if stage is State.VERIFIED:
            hit = alive["hit"].map({True: HIT, False: MISS}).fillna(UNJUDGED)
            for to, kind in ((MISS, "miss"), (UNJUDGED, "miss"), (HIT, "hit")):
                if count := int((hit == to).sum()):
                    rows.append((STAGES[stage], to, kind, count))
        elif len(alive):
            rows.append((STAGES[stage], WAITING[stage], "waits", len(alive)))
    return pandas.DataFrame(rows, columns=["stage", "to", "kind", "candidates"])


def _stage(state: str) -> State:
    """Return the stage that a candidate was at last."""
    known = State(state)
    return UNDER_WAY.get(known, known)


def arrivals(table: pandas.DataFrame) -> dict[str, int]:
    """Count the candidates that came to each stage, the hits at the end; none after the last."""
    found = table.groupby("stage", sort=False)["candidates"].sum()
    arrived = {stage: int(found.get(stage, 0)) for stage in STAGES.values()}
    hits = table.loc[table["kind"] == "hit", "candidates"]
    return {**arrived, "hits": int(hits.sum())}


def _words(reason: str) -> str:
    return RULES.get(reason, reason.replace("_", " "))


def _shortened(rows: pandas.DataFrame) -> list[tuple[str, str, int]]:
    """Return ``kind``, label and number of a stage's ribbons to the right, the rarest together."""
    found = [(one.kind, _words(one.to), int(one.candidates)) for one in rows.itertuples()]
    rejected = [one for one in found if one[0] == "rejected"]
    others = [one for one in found if one[0] != "rejected"]
    if len(rejected) > MOST_REASONS:
        rest = rejected[MOST_REASONS - 1 :]
        together = ("rejected", f"{len(rest)} other rules", sum(n for _, _, n in rest))
        rejected = [*rejected[: MOST_REASONS - 1], together]
    return rejected + others


def _draw(table: pandas.DataFrame, arrived: dict[str, int]) -> matplotlib.figure.Figure:
    scale = TRUNK / max(arrived.values())
    stages = [stage for stage in STAGES.values() if arrived[stage]]
    parts = {
        stage: _shortened(table[(table["stage"] == stage) & (table["kind"] != "passed")])
        for stage in stages
    }
    height = sum(_height(parts[stage], scale) for stage in stages) + 0.1
    figure = new_picture(TWO_COLUMNS, height)
    figure.set_layout_engine("none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_xlim(0, TWO_COLUMNS)
    ax.set_ylim(height, 0)
    y = 0.05
    for stage in stages:
        below = y + _height(parts[stage], scale)
        _draw_stage(ax, stage, parts[stage], (y, below), arrived[stage], scale)
        y = below
    return figure


def _height(parts: list[tuple[str, str, int]], scale: float) -> float:
    """Return the inches that a stage needs: its bar, and its ribbons above each other."""
    return BAR + GAP + sum(max(LINE, n * scale + 0.03) for _, _, n in parts) + GAP


def _draw_stage(
    ax: Axes,
    stage: str,
    parts: list[tuple[str, str, int]],
    span: tuple[float, float],
    arrived: int,
    scale: float,
) -> None:
    """Draw the bar of a stage, what goes on below it, and what leaves it to the right."""
    from matplotlib.patches import Rectangle

    top, bottom = span
    width = max(arrived * scale, THINNEST)
    ax.add_patch(Rectangle((LEFT, top), width, BAR, color=BLACK, linewidth=0))
    ax.text(LEFT - 0.1, top + BAR / 2, f"{stage}  {arrived:,}", ha="right", va="center")
    onward = arrived - sum(n for _, _, n in parts)
    top += BAR
    if onward:
        passed = max(onward * scale, THINNEST)
        ax.add_patch(
            Rectangle((LEFT, top), passed, bottom - top, color=COLOURS["passed"], linewidth=0)
        )
    right = LEFT + width  # the ribbon furthest right leaves first, so that none cross
    y = top + GAP
    for kind, label, count in parts:
        thickness = max(count * scale, THINNEST)
        room = max(LINE, thickness + 0.03)
        middle = y + room / 2
        _ribbon(ax, (right - thickness, right), top, middle - thickness / 2, thickness, kind)
        text = f"{SIGNS[kind]} {count:,}  {label}"
        weight = "bold" if kind == "hit" else "normal"
        ax.text(LABELS + 0.08, middle, text, va="center", weight=weight)
        right -= thickness
        y += room


def _ribbon(
    ax: Axes, across: tuple[float, float], top: float, y: float, thickness: float, kind: str
) -> None:
    """Draw a ribbon that starts downward and ends to the right."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    near, far = across
    bottom = y + thickness
    places = [
        *((far, top), (far, y), (far, y), (far + (y - top), y)),
        *((LABELS, y), (LABELS, bottom), (near + (bottom - top), bottom)),
        *((near, bottom), (near, bottom), (near, top), (far, top)),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, *[Path.LINETO] * 3, *[Path.CURVE4] * 3, Path.LINETO]
    path = Path(places, codes)
    ax.add_patch(PathPatch(path, facecolor=COLOURS[kind], edgecolor=EDGES[kind], linewidth=0.4))


FIGURE = Figure("funnel", "Funnel", content)
