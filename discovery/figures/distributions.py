"""How formation energies and band gaps are distributed, by each model and by DFT."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from agents.targets import OTHER_REFERENCES
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import (
    BAND_GAP,
    BLACK,
    BLUE,
    FORMATION_ENERGY,
    GREEN,
    PALE,
    TWO_COLUMNS,
    new_figure,
)
from discovery.figures.windows import bounds_of, shade

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import matplotlib.ticker
    import pandas

    from agents.targets import Window
    from discovery.figures.source import CampaignData

_LABELS = {"formation_energy_per_atom": FORMATION_ENERGY, "band_gap": BAND_GAP}
_SHORT = {"formation_energy_per_atom": "formation energy", "band_gap": "band gap"}
_BINS = 40
DFT = "DFT"
#: With fewer values a histogram shows nothing but chance.
FEWEST = 10


def content(data: CampaignData) -> Content:
    """Show the distributions of both properties among the relaxed crystals."""
    import pandas

    table = pandas.concat([_of(data, name) for name in _LABELS], ignore_index=True)
    models = table[table["source"] != DFT]
    judged = models.groupby(["property", "source"]).size()
    if not (judged >= FEWEST).any():
        most = int(judged.max()) if len(judged) else 0
        raise NothingToShow(
            f"a model has judged {most} relaxed crystals at most: a distribution needs {FEWEST}"
        )
    counts = table.groupby(["property", "source"], sort=False).size()
    windows: dict[str, Window] = {one.property: one for one in data.config.targets}
    caption = (
        "Distributions of formation energy and band gap among the relaxed crystals, by each model "
        "that was asked, each over the crystals that it has judged: "
        + "; ".join(
            f"{_SHORT[name]} by " + ", ".join(f"{source} {n:,}" for (_, source), n in own.items())
            for name, own in counts.groupby(level="property", sort=False)
        )
        + f"; fewer than {FEWEST} are in the table only. Marks: single crystals by DFT "
        f"({_dft_level(data)}; stars: hits), formation energies as they are held against the "
        "window. Shaded: the campaign's window. "
        "The screens judge only what passed the rules before them, so their crystals are a part of "
        "the potential's. Axes end at the 1st and 99th percentile of all models together, or "
        "beyond it at DFT's crystals and the window's bounds. Fig. 4b-c of the paper shows these "
        "distributions for its own campaign."
    )
    medians = models.groupby(["property", "source"], sort=False)["value"].median()
    alt = "Histograms. Medians: " + "; ".join(
        f"{_SHORT[name]} by {source} {value:.2f} {'eV/atom' if name != 'band_gap' else 'eV'}"
        for (name, source), value in medians.items()
    )
    return Content(table, caption, alt + ".", partial(_draw, table, windows))


def _of(data: CampaignData, name: str) -> pandas.DataFrame:
    """Collect one property: ``id``, ``property``, ``source``, ``value``, ``hit``."""
    import pandas

    frame = data.candidates
    potential = data.record["resolved"]["potential"]
    values: dict[str, pandas.Series] = {}
    if name == "formation_energy_per_atom":
        values[potential["level"]] = frame["formation_energy_per_atom_potential"]
    for column in frame.columns:
        model = column.removeprefix(f"{name}_")
        if model != column and column not in _NO_SCREENS and model != potential["name"]:
            values[model] = frame[column]
    head = data.head[(data.head["property"] == name) & (data.head["on"] == "relaxed")]
    if name == "formation_energy_per_atom":
        head = head[~head["level"].isin(OTHER_REFERENCES)]
    for level, own in head.groupby("level"):
        values[f"head ({level})"] = own.groupby("id")["value"].last()
    energy = name == "formation_energy_per_atom"
    values[DFT] = frame["formation_energy_per_atom_judged" if energy else name]
    parts = []
    for source, found in values.items():
        kept = found.dropna()
        parts.append(
            pandas.DataFrame(
                {
                    "id": kept.index,
                    "property": name,
                    "unit": "eV" if name == "band_gap" else "eV/atom",
                    "source": source,
                    "value": kept.to_numpy(dtype=float),
                    "hit": frame["hit"].reindex(kept.index).to_numpy(),
                }
            )
        )
    return pandas.concat(parts, ignore_index=True)


#: Columns that begin like a model's number and are none: the head's stand in a table of their own.
_NO_SCREENS = frozenset(
    {
        *(f"formation_energy_per_atom_{kind}" for kind in ("potential", "decoded", "judged")),
        *("formation_energy_per_atom_head", "band_gap_head"),
    }
)


def _dft_level(data: CampaignData) -> str:
    dft = data.record["resolved"].get("dft") or {}
    return str(dft.get("level") or "none was asked")


def _draw(table: pandas.DataFrame, windows: Mapping[str, Window]) -> matplotlib.figure.Figure:
    """Draw a column for each property, a row for each model, and the crystals of DFT below."""
    counts = table.groupby(["property", "source"], sort=False).size()
    enough = counts[(counts >= FEWEST) & (counts.index.get_level_values("source") != DFT)]
    names = [name for name in _LABELS if name in enough.index.get_level_values("property")]
    rows = list(dict.fromkeys(enough.index.get_level_values("source")))
    verified = bool(table["source"].eq(DFT).any())
    heights = [1.0] * len(rows) + [0.5] * verified
    figure = new_figure(TWO_COLUMNS if len(names) == 2 else TWO_COLUMNS / 2, 0.6 + sum(heights))
    axes = figure.subplots(
        len(heights), len(names), squeeze=False, sharex="col", height_ratios=heights
    )
    for column, name in zip(axes.T, names):
        own = table[table["property"] == name]
        low, high = _range(own, windows.get(name))
        bins = np.linspace(low, high, _BINS + 1)
        for ax, source in zip(column, rows):
            if (name, source) in enough.index:
                values = own.loc[own["source"] == source, "value"]
                ax.hist(
                    values, bins, color=PALE, edgecolor=BLUE, linewidth=0.8, histtype="stepfilled"
                )
                ax.set_title(f"{source}: {len(values):,} crystals", fontsize=7, pad=2)
                ax.yaxis.set_major_locator(_few_whole_numbers())
                _window(ax, windows.get(name))
            else:
                ax.set_axis_off()
        if verified:
            _single(column[-1], own[own["source"] == DFT])
            _window(column[-1], windows.get(name))
        column[-1].set_xlim(low, high)
        column[-1].set_xlabel(_LABELS[name])
        column[-1].tick_params(labelbottom=True)
    figure.supylabel(f"crystals in a bin ({_BINS} bins)", fontsize=8)
    return figure


def _range(own: pandas.DataFrame, window: Window | None) -> tuple[float, float]:
    counts = own.groupby("source")["value"].transform("size")
    models = own.loc[(own["source"] != DFT) & (counts >= FEWEST), "value"]
    shown = [
        *np.percentile(models, [1, 99]),
        *own.loc[own["source"] == DFT, "value"],
        *bounds_of(window),
    ]
    pad = 0.03 * max(max(shown) - min(shown), 0.1)
    return min(shown) - pad, max(shown) + pad


def _few_whole_numbers() -> matplotlib.ticker.Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3, integer=True)


def _window(ax: matplotlib.axes.Axes, window: Window | None) -> None:
    if window is not None:
        shade(ax, window, "x")


def _single(ax: matplotlib.axes.Axes, dft: pandas.DataFrame) -> None:
    """Mark the crystals of DFT one by one, hits above the others."""
    for hit, height, colour, marker in ((False, 0.0, BLACK, "|"), (True, 1.0, GREEN, "*")):
        values = dft.loc[dft["hit"].eq(hit), "value"]
        ax.plot(values, np.full(len(values), height), marker, color=colour, markersize=7)
    hits = int(dft["hit"].eq(True).sum())
    ax.set_title(f"{DFT}: {len(dft):,} crystals", fontsize=7, pad=2)
    ax.set_yticks([0, 1], [f"no hit: {len(dft) - hits}", f"hit: {hits}"])
    ax.set_ylim(-0.8, 1.8)


FIGURE = Figure("distributions", "Formation energies and band gaps", content, paper="Fig. 4b-c")
