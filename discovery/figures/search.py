"""What each proposer found for its evaluations, beside the random yardsticks."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from db.states import State
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import (
    BLACK,
    FORMATION_ENERGY,
    GREY,
    MARKERS,
    PALE,
    PALETTE,
    TWO_COLUMNS,
    new_figure,
)

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    from matplotlib.axes import Axes

    from discovery.figures.source import CampaignData

#: Proposers that learn nothing: uniform codes, and recombined codes of training crystals.
YARDSTICKS = {"random": "uniform random codes", "donor": "recombined training codes"}
LINES = {"random": ":", "donor": "--"}
MOST_MARKS = 8


def content(data: CampaignData) -> Content:
    """Show the best energy so far and the hits so far against the number of evaluations."""
    table = progress(data.candidates)
    if table.empty:
        raise NothingToShow("nothing was evaluated yet, so no search can be followed")
    if table["best"].isna().all():
        raise NothingToShow(
            f"none of the {len(table):,} proposals that were evaluated has both an energy and "
            "SMACT's consent, so there is no best one and no hit to follow"
        )
    count_hits = data.candidates["formula"].nunique() > 1
    ends = table.groupby("proposer", sort=False).last()
    budget = int(ends["evaluation"].min())
    equal = table[table["evaluation"] == budget].set_index("proposer")["hits"]
    potential = data.record["resolved"]["potential"]["level"]
    caption = (
        "What each proposer found, evaluation by evaluation in the order of proposal. "
        f"{'Left: lowest' if count_hits else 'Lowest'} formation energy so far of a decoded "
        f"crystal ({potential}, before relaxation) that passes SMACT by CDVAE's rule"
        f"{HITS if count_hits else ONE_FORMULA} {_yardsticks(list(ends.index))}."
    )
    numbers: dict[str, Any] = {"equal_evaluations": budget}
    if count_hits:
        numbers["hits_at_equal"] = {str(name): int(n) for name, n in equal.items()}
        found = ", ".join(f"{name} {n}" for name, n in numbers["hits_at_equal"].items())
        caption += f" Hits at {budget:,} evaluations each: {found}."
    caption += (
        " A crystal that several proposers ask for counts for the first. Their shares of the "
        "budget differ: compare at equal evaluations."
    )
    alt = "By the end of the evaluations: " + "; ".join(
        f"{name} {int(end.evaluation):,} evaluations, "
        + (f"{int(end.hits):,} hits, " if count_hits else "")
        + ("no energy" if math.isnan(end.best) else f"lowest energy {end.best:.2f} eV/atom")
        for name, end in ends.iterrows()
    )
    columns = {"energy": "formation_energy_decoded_eV_per_atom", "best": "best_so_far_eV_per_atom"}
    picture = partial(_draw, table, count_hits=count_hits)
    return Content(table.rename(columns=columns), caption, alt + ".", picture, numbers)


HITS = (
    ". Right: distinct formulas of such crystals with a formation energy below 0, the hits of a "
    "search (docs/search.md); the pale line is every evaluation a hit; stars: proposals that DFT "
    "found inside every window."
)
ONE_FORMULA = ". All candidates have one formula, so hits, which are formulas, are not counted."


def _yardsticks(proposers: list[str]) -> str:
    known = [f"{name} ({YARDSTICKS[name]})" for name in proposers if name in YARDSTICKS]
    if not known:
        return "The campaign has no proposer at random (random, donor), so there is no yardstick"
    return "Grey: what learns nothing, the yardstick: " + " and ".join(known)


def progress(candidates: pandas.DataFrame) -> pandas.DataFrame:
    """Follow every proposer through its evaluations.

    A proposal that decodes to no crystal, or breaks a rule before it has an energy, is an
    evaluation like any other, as in `agents.compare`.

    Args:
        candidates: As in `CampaignData.candidates`.

    Returns:
        Proposers in the order of their first proposal; of each, one row an evaluation:
        ``proposer``, ``evaluation`` (from 1), ``id``, ``energy`` (eV/atom; NaN without), ``smact``,
        ``best`` (lowest so far of those that pass SMACT, eV/atom), ``hits`` (distinct formulas so
        far), ``hit_by_dft``.
    """
    import pandas

    done = candidates[candidates["state"] != State.PROPOSED.value].sort_values("seq")
    parts = []
    for proposer, own in done.groupby(done["proposer"].fillna("unknown"), sort=False):
        energy = own["formation_energy_per_atom_decoded"].astype(float)
        smact = own["smact_cdvae"].eq(True)
        valid = energy.where(smact)
        found = own["formula"].where(valid < 0)
        new = found.notna() & ~found.duplicated()
        parts.append(
            pandas.DataFrame(
                {
                    "proposer": proposer,
                    "evaluation": range(1, len(own) + 1),
                    "id": own.index,
                    "energy": energy.to_numpy(),
                    "smact": smact.to_numpy(),
                    "best": valid.cummin().ffill().to_numpy(),
                    "hits": new.cumsum().to_numpy(),
                    "hit_by_dft": own["hit"].eq(True).to_numpy(),
                }
            )
        )
    columns = ["proposer", "evaluation", "id", "energy", "smact", "best", "hits", "hit_by_dft"]
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=columns)


def _draw(table: pandas.DataFrame, *, count_hits: bool) -> matplotlib.figure.Figure:
    figure = new_figure(TWO_COLUMNS if count_hits else 4.5, 3.0)
    best, *others = figure.subplots(1, 2 if count_hits else 1, squeeze=False)[0]
    styles = _styles(list(dict.fromkeys(table["proposer"])))
    for proposer, own in table.groupby("proposer", sort=False):
        for ax, column in zip((best, *others), ("best", "hits")):
            _line(ax, own, column, styles[proposer], str(proposer))
    most, top = table["evaluation"].max(), max(table["hits"].max(), 1)
    best.set_ylabel("lowest so far: " + FORMATION_ENERGY)
    for ax in others:
        ax.plot([0, min(most, top)], [0, min(most, top)], color=PALE, linewidth=1, zorder=0)
        stars = table[table["hit_by_dft"]]
        ax.plot(stars["evaluation"], stars["hits"], "*", color=BLACK, markersize=9, zorder=5)
        ax.set_ylabel("hits so far (distinct formulas)")
        ax.set_ylim(0, top * 1.08)
    for ax in (best, *others):
        ax.set_xlabel("evaluations of the proposer")
        ax.set_xlim(0, most * 1.02)
    handles, labels = best.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    return figure


def _styles(proposers: list[str]) -> dict[str, dict[str, Any]]:
    """Give every proposer a colour and a marker; yardsticks are grey, with lines of their own."""
    learning = [name for name in proposers if name not in YARDSTICKS]
    styles: dict[str, dict[str, Any]] = {
        name: {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(learning)
    }
    for name, line in LINES.items():
        styles[name] = {"color": GREY, "linestyle": line, "marker": ""}
    return styles


def _line(ax: Axes, own: pandas.DataFrame, column: str, style: dict[str, Any], name: str) -> None:
    """Draw steps where the value changes, and a few markers evenly along the line."""
    own = own[own[column].notna()]
    if own.empty:
        ax.plot([], [], label=name, markersize=4, **style)
        return
    last = own.index == own.index[-1]
    changes = own[(own[column] != own[column].shift()) | last]
    drawn = {**style, "marker": ""}
    ax.plot(changes["evaluation"], changes[column], drawstyle="steps-post", **drawn)
    marks = own.iloc[[*range(len(own) - 1, -1, -max(1, len(own) // MOST_MARKS))]]
    ax.plot(marks["evaluation"], marks[column], **{**style, "linestyle": ""}, markersize=4)
    ax.plot([], [], label=name, markersize=4, **style)  # what the legend shows: both


FIGURE = Figure("search", "Best so far and hits for each proposer", content)
