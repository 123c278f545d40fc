"""Energies generation by generation, as box plots."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import BLUE, FORMATION_ENERGY, ORANGE, PALE, TWO_COLUMNS, new_figure

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

    from discovery.figures.source import CampaignData

ENERGY = "formation_energy_per_atom_decoded"
#: Below so many a box would show quartiles of next to nothing: every value is drawn instead.
FEWEST_FOR_A_BOX = 5
_LABEL = 0.32  # inches for the number of a generation and that of its crystals
MOST_LABELS = 20


def content(data: CampaignData) -> Content:
    """Show the energies of what each generation proposed, for each proposer by itself."""
    found = data.candidates[["proposer", "generation", "episode", "seq", ENERGY]].dropna()
    if found.empty:
        raise NothingToShow("no candidate has an energy yet: nothing was evaluated")
    groups = found.groupby(["proposer", "generation"])
    if groups.ngroups == found["proposer"].nunique():
        raise NothingToShow("every proposer made a single generation: there is none to compare")
    table = (
        found.rename(columns={ENERGY: "formation_energy_decoded_eV_per_atom"})
        .astype({"generation": int, "episode": int})
        .reset_index()
    )
    potential = data.record["resolved"]["potential"]["level"]
    episodes = found.groupby("proposer")["episode"].nunique()
    caption = (
        f"Formation energies of the {len(found):,} crystals that were decoded and evaluated "
        f"({potential}, before relaxation), by generation, for each proposer. Boxes: quartiles and "
        "median; whiskers: 5th and 95th percentile; what lies beyond is not drawn and is in the "
        f"table; fewer than {FEWEST_FOR_A_BOX} values are drawn as points. Generations of the "
        "same number are taken together over all episodes of a proposer ("
        + ", ".join(f"{name} {n}" for name, n in episodes.items())
        + "). Fig. 3f of the paper shows total energies of its genetic algorithm."
    )
    medians = groups[ENERGY].median().unstack()
    changes = [
        f"{name} {row.dropna().iloc[0]:.2f} to {row.dropna().iloc[-1]:.2f} eV/atom"
        for name, row in medians.iterrows()
    ]
    alt = f"Formation energies by generation. Medians, first to last: {'; '.join(changes)}."
    return Content(table, caption, alt, partial(_draw, table))


def _draw(table: pandas.DataFrame) -> matplotlib.figure.Figure:
    values = "formation_energy_decoded_eV_per_atom"
    proposers = list(dict.fromkeys(table.sort_values("episode")["proposer"]))
    last = int(table["generation"].max())
    columns = max(1, min(len(proposers), 3, int(TWO_COLUMNS / (_LABEL * (last + 2)))))
    every = -(-(last + 1) // MOST_LABELS)
    rows = -(-len(proposers) // columns)
    figure = new_figure(TWO_COLUMNS, 0.5 + 1.9 * rows)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax in axes.flat[len(proposers) :]:
        ax.set_axis_off()
    for ax, proposer in zip(axes.flat, proposers):
        own = table[table["proposer"] == proposer]
        groups = {int(g): part[values].to_numpy() for g, part in own.groupby("generation")}
        boxes = {g: found for g, found in groups.items() if len(found) >= FEWEST_FOR_A_BOX}
        if boxes:
            ax.boxplot(
                list(boxes.values()),
                positions=list(boxes),
                widths=0.6,
                whis=(5, 95),
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": PALE, "edgecolor": BLUE},
                whiskerprops={"color": BLUE},
                capprops={"color": BLUE},
                medianprops={"color": ORANGE, "linewidth": 1.6},
            )
        for g, found in groups.items():
            if g not in boxes:
                ax.plot([g] * len(found), found, "o", color=BLUE, markersize=3, alpha=0.7)
        ax.axhline(0, color="black", linewidth=0.5, linestyle=":")
        ax.set_title(proposer)
        named = {g: f"{g}\n{len(found)}" for g, found in groups.items() if g % every == 0}
        ax.set_xticks(list(named), list(named.values()))
        ax.set_xlim(-0.7, last + 0.7)
    figure.supxlabel("generation, and below it the number of crystals", fontsize=8)
    figure.supylabel("decoded crystals:\n" + FORMATION_ENERGY, fontsize=8)
    return figure


FIGURE = Figure("generations", "Energies by generation", content, paper="Fig. 3f")
