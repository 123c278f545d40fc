"""What models predicted against what DFT found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.targets import OTHER_REFERENCES
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import GREEN, TWO_COLUMNS, VERMILION, new_figure
from discovery.figures.windows import bounds_of, shade

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import pandas

    from agents.targets import Window
    from discovery.figures.source import CampaignData

_UNITS = {"formation_energy_per_atom": "eV/atom", "band_gap": "eV"}
_SHORT = {"formation_energy_per_atom": "formation energy", "band_gap": "band gap"}
#: Panels in a row: one for each model.
ACROSS = 4


def content(data: CampaignData) -> Content:
    """Show every model's predictions of the relaxed crystals against the results of DFT."""
    table = _table(data)
    if table.empty:
        raise NothingToShow("DFT has not verified any candidate that a model had judged")
    errors = _errors(table)
    windows: dict[str, Window] = {one.property: one for one in data.config.targets}
    hits = int(table.loc[table["hit"].eq(True), "id"].nunique())
    level = data.record["resolved"]["dft"]["level"]
    caption = (
        f"Predicted against computed, {table['id'].nunique()} verified candidates, {hits} of them "
        f"hits (inside every window by DFT). DFT: {level}; formation energies as they are held "
        "against the window. Predictions are of the crystal that the potential relaxed, made "
        "before its DFT. Shaded: the campaign's window on either axis. Stars: hits; circles: no "
        "hit; open: drawn at random for DFT (control arm). Mean absolute errors: "
        + "; ".join(
            f"{_SHORT[name]} by {model} {one['mae']:.2f} {_UNITS[name]} (mean difference "
            f"{one['bias']:+.2f}, {one['n']})"
            for (name, model), one in errors.items()
        )
        + ". Candidates were chosen by these models, so these are not their errors on any crystal. "
        "Fig. 4d-e of the paper shows its 90 verified candidates; its DFT is VASP."
    )
    words = [
        f"{_SHORT[name]} by {model} {one['mae']:.2f} {_UNITS[name]}"
        for (name, model), one in errors.items()
    ]
    alt = f"Predicted against DFT. Mean absolute errors: {'; '.join(words)}."
    listed = [{"property": name, "model": model, **one} for (name, model), one in errors.items()]
    picture = partial(_draw, table, errors, windows)
    return Content(table, caption, alt, picture, {"errors": listed})


def _table(data: CampaignData) -> pandas.DataFrame:
    """Join the latest prediction of each model and level with what DFT found."""
    frame = data.candidates
    found = data.predictions
    found = found[found["property"].isin(list(_UNITS)) & (found["on"] == "relaxed")]
    elsewhere = (found["property"] == "formation_energy_per_atom") & found["level"].isin(
        OTHER_REFERENCES
    )
    latest = found[~elsewhere].groupby(["id", "property", "model", "level"], sort=False).tail(1)
    computed = {
        "formation_energy_per_atom": frame["formation_energy_per_atom_judged"],
        "band_gap": frame["band_gap"],
    }
    table = latest.assign(
        formula=latest["id"].map(frame["formula"]),
        unit=latest["property"].map(_UNITS),
        source=[_source(row.model, row.level) for row in latest.itertuples()],
        dft=[computed[row.property].get(row.id, np.nan) for row in latest.itertuples()],
        hit=latest["id"].map(frame["hit"]),
        control=latest["id"].map(frame["control"]),
    )
    columns = [
        *("id", "formula", "property", "unit", "source", "model", "version", "level"),
        *("value", "std", "in_domain", "dft", "hit", "control"),
    ]
    kept = table[columns].dropna(subset=["dft", "value"])
    return kept.rename(columns={"value": "predicted"}).reset_index(drop=True)


def _source(model: str, level: str | None) -> str:
    if level is None:
        return model
    return level if level.startswith(model) else f"{model} ({level})"


def _errors(table: pandas.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Return mean absolute error, mean difference and number, for each property and model."""
    result = {}
    for name in _UNITS:
        for source, own in table[table["property"] == name].groupby("source", sort=False):
            difference = own["predicted"] - own["dft"]
            result[name, str(source)] = {
                "mae": float(difference.abs().mean()),
                "bias": float(difference.mean()),
                "n": len(own),
            }
    return result


def _draw(
    table: pandas.DataFrame,
    errors: dict[tuple[str, str], dict[str, Any]],
    windows: Mapping[str, Window],
) -> matplotlib.figure.Figure:
    rows: list[tuple[str, list[str]]] = []
    for name in _UNITS:
        sources = [source for one, source in errors if one == name]
        rows += [(name, sources[i : i + ACROSS]) for i in range(0, len(sources), ACROSS)]
    across = max(2, *(len(sources) for _, sources in rows))
    width = TWO_COLUMNS if across > 2 else 0.7 * TWO_COLUMNS
    figure = new_figure(width, 0.3 + len(rows) * (0.75 * width / across + 0.85))
    handles: dict[str, Any] = {}
    for part, (name, sources) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows):
        own = table[table["property"] == name]
        limits = _limits(own, windows.get(name))
        axes = part.subplots(1, across)
        for ax, source in zip(axes, sources):
            _panel(ax, own[own["source"] == source], windows.get(name), limits)
            one = errors[name, source]
            ax.set_title(
                f"{source}\nMAE {one['mae']:.2f} {_UNITS[name]}, n = {one['n']}", fontsize=7
            )
            handles |= {str(artist.get_label()): artist for artist in _labelled(ax)}
        for ax in axes[len(sources) :]:
            ax.set_axis_off()
        part.supxlabel(f"{_SHORT[name]} by DFT ({_UNITS[name]})", fontsize=8)
        part.supylabel(f"predicted {_SHORT[name]} ({_UNITS[name]})", fontsize=8)
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=5)
    return figure


def _labelled(ax: matplotlib.axes.Axes) -> list[Any]:
    return list(ax.get_legend_handles_labels()[0])


def _panel(
    ax: matplotlib.axes.Axes,
    own: pandas.DataFrame,
    window: Window | None,
    limits: tuple[float, float],
) -> None:
    ax.set_xlim(*limits)
    ax.set_ylim(*limits)
    ax.set_aspect("equal")
    ax.axline((0, 0), slope=1, color="black", linewidth=0.6, linestyle=":")
    if window is not None:
        shade(ax, window, "x", label="window")
        shade(ax, window, "y")
    for hit, colour, marker, size, words in (
        (False, VERMILION, "o", 4, "no hit"),
        (True, GREEN, "*", 9, "hit"),
    ):
        for control in (False, True):
            points = own[own["hit"].eq(hit) & own["control"].eq(control)]
            if len(points):
                ax.plot(
                    points["dft"],
                    points["predicted"],
                    marker,
                    color=colour,
                    markersize=size,
                    markerfacecolor="white" if control else colour,
                    linestyle="none",
                    markeredgewidth=0.9,
                    label=words + (", control arm" if control else ""),
                )


def _limits(own: pandas.DataFrame, window: Window | None) -> tuple[float, float]:
    values = np.concatenate([own["dft"], own["predicted"], bounds_of(window)])
    pad = 0.06 * max(float(np.ptp(values)), 0.1)
    return float(values.min() - pad), float(values.max() + pad)


FIGURE = Figure("parity", "Predicted against DFT", content, paper="Fig. 4d-e")
