"""Which elements what was found is made of, on the periodic table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from db.states import FUNNEL, State
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import BLACK, GREEN, GREY, PALE, SEQUENTIAL, TWO_COLUMNS, new_figure

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    from matplotlib.axes import Axes

    from discovery.figures.source import CampaignData

#: A candidate that came so far passed every rule and was judged by every screen.
FOUND = {str(state) for state in FUNNEL[FUNNEL.index(State.SCREENED) :]}
LARGEST_Z = 103
#: Row of the lanthanides, and of the actinides, below the table.
SERIES = {57: 8.3, 89: 9.3}
MOST_NAMED = 8


def content(data: CampaignData) -> Content:
    """Count, for each element, the candidates with it that passed the tests, and the hits."""
    found = int(_found(data.candidates).sum())
    if not found:
        raise NothingToShow("no candidate has come through the screens yet")
    table = counts(data)
    hits = int(data.candidates["hit"].eq(True).sum())
    named = table[table["found"] > 0].sort_values("found", ascending=False, kind="stable")
    most = ", ".join(f"{one.element} {one.found:,}" for one in named[:MOST_NAMED].itertuples())
    caption = (
        f"Elements of the {found:,} candidates that came through all rules and screens, chosen for "
        "DFT or not: the number below a symbol, and its colour, is the number of such candidates "
        f"with the element. ★ and green frame: also in a hit, of which there are {hits:,}. "
        f"Hatched: the campaign's rules exclude the element. Most frequent: {most}."
    )
    alt = f"Periodic table of {found:,} candidates, {len(named)} elements. Most frequent: {most}."
    in_hits = table[table["hits"] > 0].sort_values("hits", ascending=False, kind="stable")
    if len(in_hits):
        listed = ", ".join(f"{one.element} {one.hits:,}" for one in in_hits.itertuples())
        alt += f" In hits: {listed}."
    return Content(table, caption, alt, partial(_draw, table), {"found": found, "hits": hits})


def counts(data: CampaignData) -> pandas.DataFrame:
    """Count the candidates with each element.

    Returns:
        One row an element, in the order of atomic numbers: ``z``, ``element``, ``proposed``,
        ``found`` (came through the screens), ``verified``, ``hits``, ``excluded`` (by the
        campaign's rules).
    """
    import pandas
    from pymatgen.core import Element

    symbols = [Element.from_Z(z).symbol for z in range(1, LARGEST_Z + 1)]
    candidates = data.candidates
    groups = {
        "proposed": candidates["chemical_system"].notna(),
        "found": _found(candidates),
        "verified": candidates["state"].eq(State.VERIFIED.value),
        "hits": candidates["hit"].eq(True),
    }
    table = pandas.DataFrame({"z": range(1, LARGEST_Z + 1), "element": symbols})
    for name, chosen in groups.items():
        listed = candidates.loc[chosen, "chemical_system"].dropna().str.split("-").explode()
        table[name] = table["element"].map(listed.value_counts()).fillna(0).astype(int)
    screen = data.config.screen
    excluded = set(screen.excluded_elements)
    if screen.allowed_elements is not None:
        excluded |= set(symbols) - set(screen.allowed_elements)
    table["excluded"] = table["element"].isin(excluded)
    return table


def _found(candidates: pandas.DataFrame) -> pandas.Series:
    """Say which candidates came through the screens; a failed calculation changes nothing."""
    failed = candidates["state"].eq(State.FAILED.value)
    return candidates["state"].isin(FOUND) | (failed & candidates["left"].isin(FOUND))


def _draw(table: pandas.DataFrame) -> matplotlib.figure.Figure:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    figure = new_figure(TWO_COLUMNS, 4.3)
    ax = figure.subplots()
    ax.set_axis_off()
    ax.set(xlim=(0.4, 18.6), ylim=(9.9, 0.4), aspect="equal")
    norm = LogNorm(1, max(int(table["found"].max()), 2))
    colours = colormaps[SEQUENTIAL]
    for one in table.itertuples():
        _cell(ax, one, colours(norm(one.found)) if one.found else None)
    mappable = ScalarMappable(norm, colours)
    bar = figure.colorbar(
        mappable, ax=ax, orientation="horizontal", shrink=0.4, aspect=30, pad=0.01
    )
    bar.set_label("candidates with the element")
    bar.ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    bar.ax.minorticks_off()
    return figure


def _cell(ax: Axes, one: Any, colour: tuple[float, ...] | None) -> None:
    """Draw an element; the more candidates have it, the lighter."""
    from matplotlib.patches import Rectangle

    x, y = _place(one.z)
    ax.add_patch(
        Rectangle(
            (x - 0.46, y - 0.46),
            0.92,
            0.92,
            facecolor=colour or "white",
            edgecolor=GREEN if one.hits else PALE if one.excluded else GREY,
            hatch="////" if one.excluded else None,
            linewidth=2 if one.hits else 0.4,
            zorder=2 if one.hits else 1,
        )
    )
    ink = GREY if colour is None else BLACK if _light(colour) else "white"
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": ink, "zorder": 3}
    star = "★" if one.hits else ""
    ax.text(x, y - (0.14 if one.found else 0), f"{one.element}{star}", **style)
    if one.found:
        ax.text(x, y + 0.24, f"{one.found}", size=6 if one.found < 10_000 else 5, **style)


def _place(z: int) -> tuple[float, float]:
    """Return column and row of an element; lanthanides and actinides stand below."""
    from pymatgen.core import Element

    for first, row in SERIES.items():
        if first <= z < first + 15:
            return 3 + z - first, row
    element = Element.from_Z(z)
    return element.group, element.row


def _light(colour: tuple[float, ...]) -> bool:
    """Say whether black is easier to read on a colour than white (WCAG 2.1 luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179


FIGURE = Figure("elements", "Elements of what was found", content)
