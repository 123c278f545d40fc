"""How far the first and the last generation reach in the space of codes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from discovery.figures.code_space import FEWEST_POINTS, CodeSpace, axis_labels, code_space
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import BLUE, TWO_COLUMNS, VERMILION, new_figure

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

    from discovery.figures.source import CampaignData

_STYLES = {"first": (BLUE, "o", "//"), "last": (VERMILION, "^", "\\\\")}
#: Panels in a row.
ACROSS = 3


def content(data: CampaignData) -> Content:
    """Show the convex hulls of the first and last generation, one episode of each proposer."""
    episodes = _episodes(data)
    if not episodes:
        raise NothingToShow(
            "no episode of any proposer has two generations with three evaluated crystals each"
        )
    space = code_space(data)
    table = _table(data, space, episodes)
    areas = _areas(table)
    if not areas:
        raise NothingToShow(
            "the codes of first or last generations lie on one line: they have no convex hull"
        )
    flat = sorted(set(table["proposer"]) - set(areas))
    table = table[table["proposer"].isin(areas)].reset_index(drop=True)
    caption = (
        "Convex hulls of the global codes of the first and last generation, on the principal "
        f"components of all of the campaign's codes ({space.shares[0]:.0%} and "
        f"{space.shares[1]:.0%} of the variance; vectors: {space.generator}). Of each proposer, "
        "its first episode with the most generations (one base crystal). Points: proposed codes "
        "whose crystal was evaluated. "
        + " ".join(
            f"{name}: generation {one['first']['generation']} ({one['first']['n']:,} codes) to "
            f"{one['last']['generation']} ({one['last']['n']:,}), area times "
            f"{one['last']['area'] / one['first']['area']:.2f}."
            for name, one in areas.items()
        )
        + (f" Left out, on one line: {', '.join(flat)}." if flat else "")
        + " A hull follows its outermost points, and more points reach further: compare areas "
        "only at similar numbers. Fig. 3e of the paper shows its genetic algorithm."
    )
    ratios = [
        f"{name} {one['last']['area'] / one['first']['area']:.2f}" for name, one in areas.items()
    ]
    alt = f"Convex hulls of codes. Area, last over first generation: {'; '.join(ratios)}."
    return Content(table, caption, alt, partial(_draw, table, space, areas), {"areas": areas})


def _episodes(data: CampaignData) -> dict[str, int]:
    """Choose an episode of each proposer: the first of those with the most generations."""
    frame = data.candidates
    known = frame[frame["formation_energy_per_atom_decoded"].notna()]
    sizes = known.groupby(["proposer", "episode", "generation"]).size()
    enough = sizes[sizes >= FEWEST_POINTS].reset_index()
    counts = enough.groupby(["proposer", "episode"]).size()
    return {
        str(proposer): int(own.droplevel("proposer").idxmax())
        for proposer, own in counts.sort_index().groupby("proposer")
        if own.max() > 1
    }


def _table(data: CampaignData, space: CodeSpace, episodes: dict[str, int]) -> pandas.DataFrame:
    points = space.points[space.points["codes"] == "proposed"].set_index("id")
    frame = data.candidates.loc[points.index, ["proposer", "episode", "generation"]].join(
        points[["pc1", "pc2"]]
    )
    own = frame[frame["episode"] == frame["proposer"].map(episodes)].astype(
        {"episode": int, "generation": int}
    )
    # A generation with too few codes for a hull, most often one that is being made, is passed over.
    sizes = own.groupby(["proposer", "generation"])["pc1"].transform("size")
    own = own[sizes >= FEWEST_POINTS]
    ends = own.groupby("proposer")["generation"].agg(["min", "max"])
    first = own["generation"] == own["proposer"].map(ends["min"])
    last = own["generation"] == own["proposer"].map(ends["max"])
    own = own.assign(which=np.where(first, "first", "last"))[first | last]
    return own.reset_index()


def _areas(table: pandas.DataFrame) -> dict[str, dict[str, Any]]:
    """Return number, generation and area of both hulls, for every proposer that has both."""
    result = {}
    for proposer, own in table.groupby("proposer", sort=False):
        ends = dict(list(own.groupby("which")))
        if all(_spans_a_plane(points) for points in ends.values()):
            result[str(proposer)] = {
                which: {
                    "n": len(points),
                    "generation": int(points["generation"].iloc[0]),
                    "area": float(_hull(points).volume),  # in a plane the volume is the area
                }
                for which, points in ends.items()
            }
    return result


def _spans_a_plane(points: pandas.DataFrame) -> bool:
    centred = points[["pc1", "pc2"]].to_numpy() - points[["pc1", "pc2"]].to_numpy().mean(axis=0)
    return bool(np.linalg.matrix_rank(centred, rtol=1e-6) == 2)


def _hull(points: pandas.DataFrame) -> Any:
    from scipy.spatial import ConvexHull

    return ConvexHull(points[["pc1", "pc2"]].to_numpy())


def _draw(
    table: pandas.DataFrame, space: CodeSpace, areas: dict[str, dict[str, Any]]
) -> matplotlib.figure.Figure:
    rows, columns = -(-len(areas) // ACROSS), min(len(areas), ACROSS)
    figure = new_figure(TWO_COLUMNS if columns > 1 else TWO_COLUMNS / 2, 0.6 + 2.3 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(areas) :]:
        ax.set_axis_off()
    for ax, (proposer, ends) in zip(axes.flat, areas.items()):
        own = table[table["proposer"] == proposer]
        for which, (colour, marker, hatch) in _STYLES.items():
            points = own[own["which"] == which]
            corners = points[["pc1", "pc2"]].to_numpy()[_hull(points).vertices]
            ax.fill(*corners.T, facecolor=colour, alpha=0.12, linewidth=0)
            ax.fill(*corners.T, fill=False, edgecolor=colour, hatch=hatch, alpha=0.35, linewidth=0)
            ax.plot(*np.vstack([corners, corners[:1]]).T, color=colour, linewidth=1)
            ax.plot(
                points["pc1"],
                points["pc2"],
                marker,
                color=colour,
                markersize=3,
                markeredgewidth=0,
                alpha=0.8,
                label=f"generation {ends[which]['generation']} ({which}): {len(points)}",
            )
        ax.set_title(proposer)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), handletextpad=0.2)
        ax.tick_params(labelbottom=True)
    across, up = axis_labels(space)
    figure.supxlabel(across, fontsize=8)
    figure.supylabel(up, fontsize=8)
    return figure


FIGURE = Figure("code-hulls", "First and last generation among codes", content, paper="Fig. 3e")
