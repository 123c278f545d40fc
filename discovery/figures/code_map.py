"""Global codes by energy and by space group, with silhouette scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from discovery.figures.code_space import FEWEST_MEMBERS, CodeSpace, axis_labels, code_space
from discovery.figures.code_space import silhouette as silhouette_of
from discovery.figures.figure import Content, Figure
from discovery.figures.style import (
    FORMATION_ENERGY,
    GREY,
    MARKERS,
    PALETTE,
    SEQUENTIAL,
    TWO_COLUMNS,
    new_figure,
)
from discovery.figures.symmetry import space_groups, symbol

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import pandas

    from discovery.figures.source import CampaignData

#: Space groups with a colour and a marker of their own.
NAMED_GROUPS = 6
#: More points than this are drawn as pixels in the SVG.
MOST_VECTORS = 3000
_ROWS = {"proposed": "proposed codes", "relaxed": "codes of relaxed crystals"}
_CLASSES = {"energy": "thirds of energy", "space_group": "space groups"}
_THIRDS = ("low", "middle", "high")
_ENERGY = "formation_energy_eV_per_atom"


def content(data: CampaignData) -> Content:
    """Show a campaign's global codes on their principal components, twice for each kind."""
    space = code_space(data)
    table = space.points.assign(space_group=_groups(data, space.points))
    scores = {kind: _scores(space, table, kind) for kind in _ROWS if (table["codes"] == kind).any()}
    potential = data.record["resolved"]["potential"]["level"]
    numbers = {"silhouettes": scores, "variance": list(space.shares)}
    return Content(
        table,
        _caption(space, scores, potential),
        _alt(scores),
        partial(_draw, table, space, scores),
        numbers,
    )


def _groups(data: CampaignData, points: pandas.DataFrame) -> list[int | None]:
    """Return the space group of each row's crystal; None where it is in no sample."""
    found = {
        "proposed": space_groups(data, data.decoded_sample, "structure"),
        "relaxed": space_groups(data, data.sample, "relaxed"),
    }
    return [found[kind].get(one) for one, kind in zip(points["id"], points["codes"])]


def _scores(space: CodeSpace, table: pandas.DataFrame, kind: str) -> dict[str, Any]:
    """Return the silhouettes of one kind of codes, by thirds of energy and by space group."""
    rows = np.flatnonzero((table["codes"] == kind) & table["space_group"].notna())
    own = table.iloc[rows]
    thirds = own[_ENERGY].rank(method="first").sub(1).mul(3).floordiv(max(len(own), 1))
    energies = [_THIRDS[int(third)] for third in thirds]
    frequent = own["space_group"].value_counts().head(10).index
    groups = [str(int(g)) if g in frequent else None for g in own["space_group"]]
    result: dict[str, Any] = {"n": len(rows), "of": int((table["codes"] == kind).sum())}
    for name, classes in (("energy", energies), ("space_group", groups)):
        score, counts = silhouette_of(space.vectors[rows], classes)
        result[name] = {"silhouette": score, "classes": counts}
    return result


def _caption(space: CodeSpace, scores: dict[str, Any], potential: str) -> str:
    counts = ", ".join(f"{score['of']:,} {_ROWS[kind]}" for kind, score in scores.items())
    sentences = [
        f"Global codes on their first two principal components ({space.shares[0]:.0%} and "
        f"{space.shares[1]:.0%} of the variance): {counts}. Codes stand for the codebook vectors "
        f"of {space.generator}, summed over levels; proposed and relaxed codes share the axes.",
        f"Energies by {potential}: of the crystal as decoded, and as relaxed; the colours end at "
        "the 5th and 95th percentile. Space groups by spglib at 0.1 Å"
        + (
            "; of proposed crystals, as decoded."
            if all(score["n"] == score["of"] for score in scores.values())
            else ", of "
            + " and ".join(f"{score['n']:,} {_ROWS[kind]}" for kind, score in scores.items())
            + ", evenly drawn."
        ),
        "Mean silhouettes (-1 to 1; 0: the classes overlap) in the full space of the vectors, by "
        f"thirds of energy and by the space groups with at least {FEWEST_MEMBERS} members: "
        + "; ".join(
            f"{_ROWS[kind]} {_number(score['energy']['silhouette'])} and "
            f"{_number(score['space_group']['silhouette'])}"
            for kind, score in scores.items()
        )
        + ".",
        "Fig. 3a-d of the paper shows the codes of its own model; here they are this campaign's.",
    ]
    return " ".join(sentences)


def _alt(scores: dict[str, Any]) -> str:
    parts = [
        f"{_ROWS[kind]}: silhouette {_number(score['energy']['silhouette'])} by energy, "
        f"{_number(score['space_group']['silhouette'])} by space group"
        for kind, score in scores.items()
    ]
    return "Scatter plots of global codes on two principal components. " + "; ".join(parts) + "."


def _number(score: float | None) -> str:
    # Adding zero makes the "-0.00" of a small negative number "0.00".
    return "none (too few of a class)" if score is None else f"{round(score, 2) + 0.0:.2f}"


def _draw(
    table: pandas.DataFrame, space: CodeSpace, scores: dict[str, Any]
) -> matplotlib.figure.Figure:
    kinds = list(scores)
    figure = new_figure(TWO_COLUMNS, 0.3 + 2.75 * len(kinds))
    axes = figure.subplots(len(kinds), 2, sharex=True, sharey=True, squeeze=False)
    named = table["space_group"].value_counts().head(NAMED_GROUPS).index.astype(int).tolist()
    letters = iter("abcd")
    for (left, right), kind in zip(axes, kinds):
        own = table[table["codes"] == kind]
        _by_energy(figure, left, own)
        _by_group(right, own, named)
        for ax, by in ((left, "energy"), (right, "space_group")):
            score = scores[kind][by]["silhouette"]
            printed = "" if score is None else f"\nsilhouette by {_CLASSES[by]}: {_number(score)}"
            ax.set_title(f"({next(letters)}) {_ROWS[kind]}{printed}".replace("-", "−"))
    across, up = axis_labels(space)
    figure.supxlabel(across, fontsize=8)
    figure.supylabel(up, fontsize=8)
    return figure


def _by_energy(
    figure: matplotlib.figure.Figure, ax: matplotlib.axes.Axes, own: pandas.DataFrame
) -> None:
    low, high = own[_ENERGY].quantile([0.05, 0.95])
    drawn = own.sample(frac=1, random_state=0)  # what lies on top is chance, not the lowest energy
    points = ax.scatter(
        drawn["pc1"],
        drawn["pc2"],
        c=drawn[_ENERGY],
        s=_size(len(own)),
        cmap=SEQUENTIAL,
        vmin=low,
        vmax=high,
        linewidths=0,
        rasterized=len(own) > MOST_VECTORS,
    )
    figure.colorbar(points, ax=ax, extend="both", label=FORMATION_ENERGY, pad=0.02)


def _by_group(ax: matplotlib.axes.Axes, own: pandas.DataFrame, named: Sequence[int]) -> None:
    known = own[own["space_group"].notna()]
    other = known[~known["space_group"].isin(named)]
    style: dict[str, Any] = {"rasterized": len(known) > MOST_VECTORS}
    size = _size(len(known))
    if len(other):
        ax.scatter(
            other["pc1"],
            other["pc2"],
            s=size / 2,
            c=GREY,
            marker=".",
            linewidths=0,
            label=f"others: {len(other)}",
            **style,
        )
    for number, colour, marker in zip(named, PALETTE, MARKERS):
        members = known[known["space_group"] == number]
        if len(members):
            ax.scatter(
                members["pc1"],
                members["pc2"],
                s=size,
                c=colour,
                marker=marker,
                linewidths=0,
                alpha=0.8,
                label=f"{symbol(number)} ({number}): {len(members)}",
                **style,
            )
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        [*handles[1:], handles[0]] if len(other) else handles,
        [*labels[1:], labels[0]] if len(other) else labels,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0,
        handletextpad=0.2,
    )


def _size(n: int) -> float:
    """Return the area of a marker, points squared: smaller where there are many."""
    return float(np.clip(4000 / max(n, 1), 5, 16))


FIGURE = Figure("code-map", "Global codes by energy and space group", content, paper="Fig. 3a-d")
