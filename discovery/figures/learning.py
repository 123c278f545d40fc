"""What each learning event changed: errors on labels that neither head had learned."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from agents.learn.targets import split_target
from agents.targets import UNITS
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import BLUE, GREY, TWO_COLUMNS, VERMILION, new_figure

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

    from discovery.figures.source import CampaignData

NAMES = {
    "formation_energy_per_atom": "formation energy",
    "band_gap": "band gap",
    "energy_above_hull": "energy above hull",
}
#: Rows drawn, the newest; the table has all.
MOST = 40
SIDES = {"before": (GREY, "o", "none"), "after": (BLUE, "s", "full")}


def content(data: CampaignData) -> Content:
    """Show the head's error before and after each learning event, for every target judged."""
    table = errors(data)
    if table.empty:
        raise NothingToShow(_why_not(data))
    events = table.drop_duplicates("version")
    made = Counter(events["decision"])
    without = sum(event["version"] is None for event in data.learning)
    drawn = table.tail(MOST)
    caption = (
        "Mean absolute error of the property head before and after each learning event, on the "
        "newest labels, which neither the head before nor the one judged had learned; bars: 95 % "
        "bootstrap intervals. A head goes live only if it is no worse on these and loses nothing "
        "on held-out crystals: "
        + ", ".join(f"{n} {decision}" for decision, n in sorted(made.items()))
        + "."
        + (f" {without} further events trained none." if without else "")
        + (
            f" Drawn: the last {MOST} of {len(table):,} comparisons; the CSV file has all."
            if len(drawn) < len(table)
            else ""
        )
    )
    alt = "; ".join(
        f"event {one.event}, {_name(one.target)}: {one.before:.2f} to {one.after:.2f} "
        f"{one.unit} over {one.labels} labels ({one.decision})"
        for one in drawn.itertuples()
    )
    alt = f"Mean absolute error before and after learning. {alt[:1].upper()}{alt[1:]}."
    return Content(table, caption, alt, partial(_draw, drawn))


def errors(data: CampaignData) -> pandas.DataFrame:
    """List every comparison of two heads that a learning event made.

    Returns:
        ``event`` (number, from 1), ``version``, ``decision``, ``target``, ``unit``, ``labels``, and
        ``before``, ``after``, each with ``_low`` and ``_high`` (mean absolute error).
    """
    import pandas

    concluded = {one["version"]: one["decision"] for one in data.learning if one["version"]}
    rows = []
    for number, version in enumerate(data.versions, 1):
        judged = (version["metrics"].get("prequential") or {}).get("targets", {})
        for target, found in judged.items():
            row = {
                "event": number,
                "version": version["_id"],
                # What became of it: a version that passed may have been superseded.
                "decision": concluded.get(version["_id"], version["decision"]),
                "target": target,
                "unit": UNITS[split_target(target)[0]],
                "labels": found["after"]["n"],
            }
            for side in SIDES:
                row[side] = found[side]["mean"]
                row |= {f"{side}_{end}": found[side][end] for end in ("low", "high")}
            rows.append(row)
    return pandas.DataFrame(rows)


def _why_not(data: CampaignData) -> str:
    if not data.learning:
        return "the property head has not learned yet"
    reasons = "; ".join(dict.fromkeys(str(event["reason"]) for event in data.learning))
    return f"no learning event came to a comparison of two heads ({reasons})"


def _name(target: str) -> str:
    name, level = split_target(target)
    return f"{NAMES.get(name, name)}, {level}"


def _draw(table: pandas.DataFrame) -> matplotlib.figure.Figure:
    units = [unit for unit in dict.fromkeys(UNITS.values()) if unit in set(table["unit"])]
    rows = [int((table["unit"] == unit).sum()) for unit in units]
    figure = new_figure(TWO_COLUMNS, 0.7 + 0.55 * len(units) + 0.36 * sum(rows))
    axes = figure.subplots(len(units), 1, squeeze=False, height_ratios=[n + 0.6 for n in rows])
    for ax, unit in zip(axes[:, 0], units):
        own = table[table["unit"] == unit].reset_index(drop=True)
        for place, one in own.iterrows():
            for side, (colour, marker, fill) in SIDES.items():
                shift = -0.13 if side == "before" else 0.13
                ax.plot(
                    [one[f"{side}_low"], one[f"{side}_high"]],
                    [place + shift] * 2,
                    color=colour,
                    linewidth=1,
                )
                ax.plot(
                    one[side],
                    place + shift,
                    marker,
                    color=colour,
                    fillstyle=fill,
                    markersize=5,
                    label=side if place == 0 else None,
                )
            sign, colour = ("✓", BLUE) if one["decision"] == "promoted" else ("✗", VERMILION)
            ax.annotate(
                f"{sign} {one['decision']}",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                color=colour,
                fontsize=7,
            )
        names = [
            f"{one.event}: {_name(one.target)}\n{one.labels} label{'s' * (one.labels != 1)}"
            for one in own.itertuples()
        ]
        ax.set_yticks(range(len(own)), names)
        ax.set_ylim(len(own) - 0.4, -0.6)
        ax.set_xlim(left=0)
        ax.set_xlabel(f"mean absolute error ({unit})")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return figure


FIGURE = Figure("learning", "What learning changed", content)
