"""Phase diagrams of the chemical systems of hits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from discovery.figures.competing import CandidateHull, phase_diagram
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import (
    BLACK,
    BLUE,
    FORMATION_ENERGY,
    GREY,
    TWO_COLUMNS,
    VERMILION,
    new_figure,
)

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    from matplotlib.axes import Axes

    from discovery.figures.source import CampaignData

#: Systems of two and three elements have a diagram in the plane.
PLANAR = (2, 3)
MOST = 4
#: Corners of the triangle of three elements.
CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.75**0.5))


def content(data: CampaignData) -> Content:
    """Show hits, or the candidates nearest to the hull, among the phases they compete with."""
    sound = [one for one in data.hulls if one.fault is None]
    shown = [one for one in sound if len(one.elements) in PLANAR][:MOST]
    if not shown:
        raise NothingToShow(_why_not(data))
    table = phases(shown)
    hits = data.candidates.loc[[one.candidate for one in shown], "hit"].eq(True).all()
    who = "hits" if hits else "candidates nearest to the hull (no hit has a hull yet)"
    caption = (
        f"Phase diagrams of {who}, each of one level of energies. Lines: the hull of the known "
        "phases, without the candidate; filled circles are on it, open ones above. Squares were "
        "not relaxed, because they cannot decide about the candidate, and may lie lower. "
        "★: the candidate, and how far it is from that hull; below zero it would be a new "
        f"ground state. {' '.join(_sentence(one) for one in shown)}"
    )
    others = [one for one in sound if one not in shown]
    if others:
        caption += " Not drawn: " + " ".join(_sentence(one) for one in others)
    alt = "Phase diagrams. " + " ".join(_sentence(one) for one in shown)
    return Content(table, caption, alt, partial(_draw, shown))


def phases(hulls: list[CandidateHull]) -> pandas.DataFrame:
    """List the candidates and the phases beside them.

    Returns:
        ``system``, ``id``, ``formula``, ``role`` ("candidate" or "phase"), ``level``,
        ``formation_energy_eV_per_atom``, ``above_hull_eV_per_atom`` (of the hull of the phases),
        ``relaxed``.
    """
    import pandas

    rows: list[dict[str, Any]] = []
    for hull in hulls:
        diagram = phase_diagram(hull.phases)
        above = {
            entry.name: float(diagram.get_e_above_hull(entry)) for entry in diagram.all_entries
        }
        common = {"system": "-".join(hull.elements), "level": hull.level}
        rows.append(
            {
                **common,
                "id": hull.candidate,
                "formula": hull.formula,
                "role": "candidate",
                "formation_energy_eV_per_atom": hull.formation_energy_per_atom,
                "above_hull_eV_per_atom": hull.energy_above_hull,
                "relaxed": True,
            }
        )
        rows += [
            {
                **common,
                "id": one.id,
                "formula": one.formula,
                "role": "phase",
                "formation_energy_eV_per_atom": one.formation_energy_per_atom,
                "above_hull_eV_per_atom": above[one.id],
                "relaxed": one.relaxed,
            }
            for one in hull.phases
        ]
    return pandas.DataFrame(rows)


def _sentence(hull: CandidateHull) -> str:
    products = " + ".join(formula for formula, _ in hull.decomposition)
    side = "above" if hull.energy_above_hull >= 0 else "below"
    whose = f"{hull.kind}, {hull.level}"
    far = f"{abs(hull.energy_above_hull):.3f} eV/atom {side}"
    return f"{hull.formula} lies {far} {products} ({whose})."


def _why_not(data: CampaignData) -> str:
    told = dict.fromkeys(f"{one.formula}: {one.fault}" for one in data.hulls if one.fault)
    if faults := "; ".join(told):
        return f"the hulls on record cannot be drawn ({faults})"
    if data.hulls:
        return "the candidates with a hull have four or more elements, or one: no plane holds them"
    used = data.record["resolved"].get("hull") or {}
    if not used.get("used"):
        return f"the campaign measures no distances to the hull: {used.get('reason')}"
    return "no candidate has been placed relative to the hull yet"


def _draw(hulls: list[CandidateHull]) -> matplotlib.figure.Figure:
    from pymatgen.util.string import unicodeify

    columns = min(len(hulls), 2)
    rows = -(-len(hulls) // columns)
    figure = new_figure(TWO_COLUMNS if columns > 1 else 4.2, 3.4 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(hulls) :]:
        ax.set_axis_off()
    for ax, hull in zip(axes.flat, hulls):
        where = f"{hull.energy_above_hull:+.3f} eV/atom"
        name = unicodeify(hull.formula)
        ax.set_title(f"{'–'.join(hull.elements)}, {hull.level}\n★ {name}: {where} from the hull")
        (_line if len(hull.elements) == 2 else _triangle)(ax, hull)
    _legend(figure)
    return figure


def _legend(figure: matplotlib.figure.Figure) -> None:
    from matplotlib.lines import Line2D

    known: tuple[tuple[str, str, Any, str], ...] = (
        ("o", BLUE, "full", "on the hull"),
        ("o", GREY, "none", "above"),
        ("s", GREY, "none", "not relaxed"),
        ("*", VERMILION, "full", "candidate"),
    )
    handles = [
        Line2D([], [], color=colour, marker=marker, fillstyle=fill, linestyle="", label=words)
        for marker, colour, fill, words in known
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _line(ax: Axes, hull: CandidateHull) -> None:
    """Draw the diagram of two elements: energy over composition."""
    from pymatgen.core import Composition

    second = hull.elements[1]
    places = [
        (Composition(one.formula).get_atomic_fraction(second), one.formation_energy_per_atom)
        for one in hull.phases
    ]
    stable = _stable(hull)
    lowest = sorted(place for place, one in zip(places, hull.phases) if one.id in stable)
    ax.plot(*zip(*lowest), color=BLUE, linewidth=1)
    for place, one in zip(places, hull.phases):
        _mark(ax, place, one.id in stable, relaxed=one.relaxed)
        if one.id in stable:
            _name(ax, place, one.formula, below=True)
    x = Composition(hull.formula).get_atomic_fraction(second)
    _star(ax, (x, hull.formation_energy_per_atom))
    ax.set(xlabel=f"share of {second}", ylabel=FORMATION_ENERGY, xlim=(-0.05, 1.05))
    low = min(energy for _, energy in [*lowest, (x, hull.formation_energy_per_atom)])
    ax.set_ylim(low * 1.15 - 0.05, max(0.12, hull.formation_energy_per_atom + 0.15, -low * 0.2))


def _triangle(ax: Axes, hull: CandidateHull) -> None:
    """Draw the diagram of three elements: the composition triangle with the hull's edges."""
    from pymatgen.core import Composition

    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set(xlim=(-0.12, 1.12), ylim=(-0.14, 1.0))
    diagram = phase_diagram(hull.phases)
    places = [_place(entry.composition, hull.elements) for entry in diagram.qhull_entries]
    edges = {tuple(sorted((facet[i], facet[i - 1]))) for facet in diagram.facets for i in range(3)}
    for one, other in edges:
        ax.plot(*zip(places[one], places[other]), color=BLUE, linewidth=0.8, zorder=1)
    stable = _stable(hull)
    for phase in hull.phases:
        place = _place(Composition(phase.formula), hull.elements)
        on_hull = phase.id in stable
        if on_hull or place not in [_place_of(s, hull) for s in stable]:
            _mark(ax, place, on_hull, relaxed=phase.relaxed)
        if on_hull:
            _name(ax, place, phase.formula, below=place[1] < 0.01)
    _star(ax, _place(Composition(hull.formula), hull.elements))


def _stable(hull: CandidateHull) -> set[str]:
    return {str(entry.name) for entry in phase_diagram(hull.phases).stable_entries}


def _place_of(name: str, hull: CandidateHull) -> tuple[float, float]:
    from pymatgen.core import Composition

    formula = next(one.formula for one in hull.phases if one.id == name)
    return _place(Composition(formula), hull.elements)


def _place(composition: Any, elements: tuple[str, ...]) -> tuple[float, float]:
    shares = [composition.get_atomic_fraction(element) for element in elements]
    x = sum(share * corner[0] for share, corner in zip(shares, CORNERS))
    y = sum(share * corner[1] for share, corner in zip(shares, CORNERS))
    return round(x, 6), round(y, 6)


def _mark(ax: Axes, place: tuple[float, float], on_hull: bool, *, relaxed: bool) -> None:
    ax.plot(
        *place,
        "o" if relaxed else "s",
        color=BLUE if on_hull else GREY,
        fillstyle="full" if on_hull else "none",
        markersize=5 if on_hull else 3.5,
        markeredgewidth=0.8,
        zorder=3 if on_hull else 2,
    )


def _name(ax: Axes, place: tuple[float, float], formula: str, *, below: bool) -> None:
    from pymatgen.util.string import unicodeify

    ax.annotate(
        unicodeify(formula),
        place,
        xytext=(0, -5 if below else 5),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        fontsize=7,
        zorder=5,
    )


def _star(ax: Axes, place: tuple[float, float]) -> None:
    ax.plot(*place, "*", color=VERMILION, markeredgecolor=BLACK, markersize=12, zorder=6)


FIGURE = Figure("phase-diagrams", "Phase diagrams of hits", content)
