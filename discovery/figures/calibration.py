"""Is the property head as sure as it may be? What it predicted before it could know.

Every prediction here was stored before its label was known to any head (prequential); nothing is
predicted again for the picture. After each learning event another head predicts, so the groups are
before and after.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from agents.targets import OTHER_REFERENCES
from db.states import State
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import GREY, MARKERS, PALETTE, TWO_COLUMNS, new_figure

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    from matplotlib.axes import Axes

    from discovery.figures.source import CampaignData

ENERGY, GAP = "formation_energy_per_atom", "band_gap"
UNITS = {ENERGY: "eV/atom", GAP: "eV"}
#: Kinds of labels: the property, the crystal, and the column of its value.
KINDS = {
    "formation energy, decoded, potential": (
        *(ENERGY, "decoded"),
        "formation_energy_per_atom_decoded",
    ),
    "formation energy, relaxed, potential": (
        *(ENERGY, "relaxed"),
        "formation_energy_per_atom_potential",
    ),
    "formation energy, relaxed, DFT": (ENERGY, "relaxed", "formation_energy_per_atom"),
    "band gap, relaxed, DFT": (GAP, "relaxed", "band_gap"),
}
#: Fewer labels make no panel, and no curve.
FEWEST, FEWEST_FOR_A_CURVE = 3, 8
MOST_HEADS = 4
#: Points above which they are drawn as pixels, also in the SVG.
MANY = 2000


def content(data: CampaignData) -> Content:
    """Compare stored predictions of the head with what became known, for each of its versions."""
    table = predictions(data)
    if table.empty:
        raise NothingToShow("no value is known yet that the property head had predicted before")
    groups = _groups(table)
    shown = [kind for kind in KINDS if (table["label"] == kind).sum() >= FEWEST]
    if not shown:
        raise NothingToShow(
            f"only {len(table)} values are known that the property head had predicted before"
        )
    summary = _summary(table, shown, groups)
    caption = (
        "What the property head predicted before the value was known, by the version that "
        "predicted: the shipped head, and those that learning events made live. Above: prediction "
        "against value, perfect on the line. Below: how often the value lies within the interval "
        "that the head's own uncertainty (normal, ± z standard deviations) promises to hold it; "
        "below the line the head is too sure of itself. Curves need at least "
        f"{FEWEST_FOR_A_CURVE} values. Before a relaxed crystal is predicted, the head may have "
        "learned the energy of the same candidate's decoded crystal. Where it has no output of the "
        "value's level of theory, its nearest one stands in (column head_level). "
        + " ".join(_sentence(one) for one in summary)
    )
    alt = "Predictions of the property head. " + " ".join(_sentence(one) for one in summary)
    picture = partial(_draw, table[table["label"].isin(shown)], shown, groups)
    return Content(table, caption, alt, picture, {"summary": summary})


def predictions(data: CampaignData) -> pandas.DataFrame:
    """Collect the values that the head had predicted, as `agents.learn.labels` does.

    Formation energies that are not relative to the elements stand in for no others.

    Returns:
        One row a value: ``id``, ``label`` (one of `KINDS`), ``property``, ``level`` (of the value),
        ``value``, ``predicted``, ``std`` (eV/atom or eV), ``head_level`` (of the output that
        predicted), ``version`` and ``learned`` (how many learning events had changed the head).
    """
    import pandas

    head = data.head.drop_duplicates(["id", "property", "level", "on"], keep="first")
    head = head[~head["level"].isin(OTHER_REFERENCES)]
    candidates = data.candidates
    evaluated = ~(
        candidates["left"].eq(State.PROPOSED.value)
        & candidates["state"].isin([State.REJECTED.value, State.FAILED.value])
    )
    potential = data.record["resolved"]["potential"]["level"]
    parts = []
    for label, (name, on, column) in KINDS.items():
        own = head[(head["property"] == name) & (head["on"] == on)]
        values = candidates.loc[evaluated, column].dropna()
        own = own[own["id"].isin(values.index)]
        dft = label.endswith("DFT")
        level = own["id"].map(candidates["level"]) if dft else own["level"].map(lambda _: potential)
        own = _nearest(own.assign(label=label, wanted=level), potential)
        parts.append(own.assign(known=own["id"].map(values)))
    table = pandas.concat(parts, ignore_index=True)
    table["learned"] = table["version"].map(_order(data)).fillna(0).astype(int)
    names = {"value": "predicted", "known": "value", "level": "head_level", "wanted": "level"}
    columns = ["id", "label", "property", "level", "value", "predicted", "std"]
    table = table.rename(columns=names)[[*columns, "head_level", "version", "learned"]]
    return table.astype({"value": float, "predicted": float, "std": float})


def _nearest(own: pandas.DataFrame, potential: str) -> pandas.DataFrame:
    """Keep one output for each candidate, as `agents.learn.targets.nearest_target` chooses it."""
    rank = (own["level"] != own["wanted"]).astype(int) * (1 + (own["level"] != potential))
    best = own.assign(rank=rank).sort_values("rank", kind="stable").drop_duplicates("id")
    return best.drop(columns="rank").sort_index()


def _order(data: CampaignData) -> dict[str, int]:
    """Number the versions of the head: the shipped one 0, then those that went live."""
    promoted = [one for one in data.versions if one["decision"] == "promoted"]
    return {one["sha256"][:12]: number for number, one in enumerate(promoted, 1)}


def _groups(table: pandas.DataFrame) -> dict[str, list[int]]:
    """Put versions together, few enough to tell their colours apart; the shipped head is alone."""
    numbers = sorted(table["learned"].unique())
    later = [int(number) for number in numbers if number]
    names = {"shipped head": [0]} if 0 in numbers else {}
    parts = min(MOST_HEADS - 1, len(later))
    for part in range(parts):
        own = later[part * len(later) // parts : (part + 1) * len(later) // parts]
        last = "" if len(own) == 1 else f" to {own[-1]}"
        names[f"after learning {own[0]}{last}"] = own
    return names


def _summary(
    table: pandas.DataFrame, shown: list[str], groups: dict[str, list[int]]
) -> list[dict[str, Any]]:
    found = []
    for kind in shown:
        for name, numbers in groups.items():
            own = table[(table["label"] == kind) & table["learned"].isin(numbers)]
            if own.empty:
                continue
            error = (own["predicted"] - own["value"]).abs()
            sure = own["std"].notna()
            within = (error <= own["std"])[sure].mean() if sure.any() else None
            found.append(
                {
                    "label": kind,
                    "unit": UNITS[KINDS[kind][0]],
                    "head": name,
                    "n": len(own),
                    "mae": float(error.mean()),
                    "within_one_std": None if within is None else float(within),
                }
            )
    return found


def _sentence(one: dict[str, Any]) -> str:
    within = one["within_one_std"]
    share = "" if within is None else f", {within:.0%} within one standard deviation (68 % if fair)"
    label = f"{one['label'][0].upper()}{one['label'][1:]}"
    return (
        f"{label}, {one['head']}: mean absolute error {one['mae']:.2f} {one['unit']} over "
        f"{one['n']:,}{share}."
    )


def _draw(
    table: pandas.DataFrame, shown: list[str], groups: dict[str, list[int]]
) -> matplotlib.figure.Figure:
    figure = new_figure(max(min(TWO_COLUMNS, 0.6 + 2.2 * len(shown)), 4.0), 4.4)
    axes = figure.subplots(2, len(shown), squeeze=False)
    for column, kind in enumerate(shown):
        own = table[table["label"] == kind]
        parity, curve = axes[0, column], axes[1, column]
        for number, members in enumerate(groups.values()):
            part = own[own["learned"].isin(members)]
            if part.empty:
                continue
            colour, marker = PALETTE[number], MARKERS[number]
            _points(parity, part, colour, marker)
            if part["std"].notna().sum() >= FEWEST_FOR_A_CURVE:
                _curve(curve, part[part["std"].notna()], colour, marker)
        _diagonal(parity, own)
        unit = UNITS[KINDS[kind][0]]
        parity.set_title(kind.replace(", ", "\n", 1))
        parity.set(xlabel=f"known ({unit})", ylabel=f"predicted ({unit})")
        _promises(curve)
    _legend(figure, groups)
    return figure


def _promises(ax: Axes) -> None:
    """Finish a panel of curves; without any it says why."""
    if not ax.lines:
        ax.set_axis_off()
        ax.text(0.5, 0.5, f"fewer than {FEWEST_FOR_A_CURVE}\nvalues: no curve", ha="center")
        return
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="promised share", ylabel="share found inside")
    ax.set_xticks([0, 0.5, 1])
    ax.set_aspect("equal")


def _points(ax: Axes, part: pandas.DataFrame, colour: str, marker: str) -> None:
    ax.plot(
        part["value"],
        part["predicted"],
        marker,
        color=colour,
        markersize=3,
        alpha=0.5,
        markeredgewidth=0,
        rasterized=len(part) > MANY,
    )


def _curve(ax: Axes, part: pandas.DataFrame, colour: str, marker: str) -> None:
    import numpy as np
    from scipy.stats import norm

    promised = np.linspace(0, 1, 41)[1:-1]
    z = ((part["predicted"] - part["value"]).abs() / part["std"]).to_numpy()
    found = (z[None, :] <= norm.ppf((1 + promised) / 2)[:, None]).mean(axis=1)
    ax.plot(promised, found, color=colour, marker=marker, markersize=3, markevery=6)


def _diagonal(ax: Axes, own: pandas.DataFrame) -> None:
    low = min(own["value"].min(), own["predicted"].min())
    high = max(own["value"].max(), own["predicted"].max())
    ax.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle="--", zorder=0)


def _legend(figure: matplotlib.figure.Figure, groups: dict[str, list[int]]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=PALETTE[i], marker=MARKERS[i], markersize=4, label=name)
        for i, name in enumerate(groups)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


FIGURE = Figure("calibration", "Calibration of the property head", content)
