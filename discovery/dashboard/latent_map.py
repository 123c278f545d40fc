"""A campaign's global codes in the plane, as figures and reports show them, for a browser.

The numbers are those of `discovery.figures.code_space`. A browser draws at most `MOST` points,
drawn evenly over the order of proposal, and every candidate that DFT was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas
    from plotly.graph_objects import Figure

MOST = 4_000
NOT_VERIFIED, MISS, HIT = "not verified", "verified, a miss", "verified, a hit"
KINDS = {"proposed": "proposed codes", "relaxed": "codes of relaxed crystals"}
#: By what became of a candidate: word, marker, size, in the order drawn.
OUTCOMES = (
    (NOT_VERIFIED, "circle", 6),
    (MISS, "diamond", 11),
    (HIT, "star", 15),
)


@dataclass(frozen=True)
class LatentMap:
    """Points of a campaign.

    Attributes:
        points: One row a point: ``id``, ``codes``, ``pc1``, ``pc2``,
            ``formation_energy_eV_per_atom``, ``formula``, ``state``, ``outcome``.
        totals: How many points there are of each kind, drawn or not.
        labels: Of the two axes.
        potential: Whose energies they are.
        generator: Name and version.
    """

    points: pandas.DataFrame
    totals: dict[str, int]
    labels: tuple[str, str]
    potential: str
    generator: str


def read_map(campaign: str) -> LatentMap:
    """Read a campaign and place its codes.

    Raises:
        UnknownCampaign: There is none of this name (`db.campaigns`).
        NothingToShow: There are too few codes, or their generator is not here.
    """
    from discovery.figures.code_space import axis_labels, code_space
    from discovery.figures.source import read_campaign

    data = read_campaign(campaign, sample=0)
    space = code_space(data)
    candidates = data.candidates
    points = space.points.join(candidates[["formula", "state", "hit", "position"]], on="id")
    points["outcome"] = [_outcome(hit) for hit in points["hit"]]
    kept = [_drawn(points[points["codes"] == kind]) for kind in KINDS]
    import pandas

    return LatentMap(
        points=pandas.concat(kept, ignore_index=True).drop(columns=["hit", "position"]),
        totals={kind: int((points["codes"] == kind).sum()) for kind in KINDS},
        labels=axis_labels(space),
        potential=str(data.record["resolved"]["potential"]["level"]),
        generator=space.generator,
    )


def _outcome(hit: Any) -> str:
    if hit is None or hit != hit:  # NaN where no candidate has been verified
        return NOT_VERIFIED
    return HIT if hit else MISS


def _drawn(points: pandas.DataFrame) -> pandas.DataFrame:
    """Choose what is drawn of one kind."""
    if len(points) <= MOST:
        return points
    places = np.arange(MOST) * len(points) // MOST
    chosen = np.zeros(len(points), dtype=bool)
    chosen[places] = True
    return points[chosen | points["position"].notna().to_numpy()]


def draw_map(found: LatentMap, kind: str) -> Figure:
    """Draw the points of one kind, coloured by energy, with a marker for what became of each."""
    import plotly.graph_objects as go

    own = found.points[found.points["codes"] == kind]
    energies = own["formation_energy_eV_per_atom"]
    low, high = energies.quantile([0.05, 0.95])
    figure = go.Figure()
    for outcome, marker, size in OUTCOMES:
        part = own[own["outcome"] == outcome]
        if part.empty:
            continue
        words = [
            f"{formula}<br>{state}<br>{energy:.3f} eV/atom"
            for formula, state, energy in zip(
                part["formula"], part["state"], part["formation_energy_eV_per_atom"]
            )
        ]
        figure.add_trace(
            go.Scatter(
                x=part["pc1"],
                y=part["pc2"],
                customdata=part["id"].tolist(),
                hovertext=words,
                hoverinfo="text",
                mode="markers",
                showlegend=False,
                marker={
                    "symbol": marker,
                    "size": size,
                    "color": part["formation_energy_eV_per_atom"],
                    "coloraxis": "coloraxis",
                    "line": {"width": 0 if size < 10 else 1, "color": "#000000"},
                },
            )
        )
        # A legend knows no colour of points that have one each: grey stands for all of them.
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                name=f"{outcome}: {len(part):,}",
                marker={"symbol": marker, "size": size, "color": "#767676"},
            )
        )
    figure.update_layout(
        template="plotly_white",
        coloraxis={
            "colorscale": "cividis",
            "cmin": low,
            "cmax": high,
            "colorbar": {
                "title": {"text": "formation energy (eV/atom)", "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
        xaxis={"title": found.labels[0], "zeroline": False},
        yaxis={"title": found.labels[1], "zeroline": False},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemsizing": "trace"},
        margin={"l": 60, "r": 10, "t": 40, "b": 55},
        hovermode="closest",
        clickmode="event",
        dragmode="pan",
    )
    return figure
