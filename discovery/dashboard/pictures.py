"""Pictures and what stands beside them: a crystal, its cell in numbers, lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import dcc, html
from dash.development.base_component import Component

from discovery.dashboard import markup
from discovery.dashboard.structure_view import draw_structure
from discovery.lineage.known_crystals import cell_values
from discovery.lineage.view import split_label

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from pymatgen.core import Structure

CONFIG: Any = {"displaylogo": False, "responsive": True, "displayModeBar": False}
DIRECTIONS = "abc"
EYE = 2.0
"""Distance of the eye in units of the picture."""


def picture(figure: Figure, caption: Any, alt: str, *, name: str, height: str) -> Component:
    """Put a figure on a page.

    Args:
        figure: Of plotly.
        caption: What stands below it.
        alt: What a person who cannot see it should know.
        name: Id of the graph.
        height: Of the drawing, as styles are written: ``22rem``.
    """
    # The drawing is one image for a screen reader; what it shows is beside it as text.
    graph = html.Div(
        dcc.Graph(id=name, figure=figure, config=CONFIG, responsive=True, style={"height": height}),
        role="img",
        **markup.aria(label=alt),
    )
    return html.Figure([graph, html.Figcaption(caption)], className="picture")


def crystals(named: Mapping[str, Structure], *, name: str) -> Component:
    """Show crystals side by side, to be turned together; buttons turn them without a mouse.

    Args:
        named: The crystals by what stands below them.
        name: Of the group, unique on its page.
    """
    pictures = [
        picture(
            draw_structure(structure),
            [label, ": ", markup.formula(structure.composition.reduced_formula)],
            f"{label}: {len(structure)} atoms of {structure.composition.reduced_formula} and their "
            "cell; the same in numbers below",
            name=f"{name}-{place}",
            height="26rem",
        )
        for place, (label, structure) in enumerate(named.items())
    ]
    first = next(iter(named.values()))
    buttons = [
        html.Button(label, type="button", className="view", **_eye(eye))
        for label, eye in _views(first)
    ]
    group = html.Div(
        [html.Span("Look ", className="quiet"), *buttons],
        role="group",
        className="views",
        **markup.aria(label="Direction of view"),
    )
    return html.Div([group, html.Div(pictures, className="pictures")], className="crystals")


def _views(structure: Structure) -> list[tuple[str, Sequence[float]]]:
    """Return where the eye is and which way is up, six numbers, by the words of each button."""
    from discovery.dashboard.structure_view import OVERVIEW

    axes = structure.lattice.matrix / np.linalg.norm(structure.lattice.matrix, axis=1)[:, None]
    ups = (axes[2], axes[2], axes[1])
    along = [
        (f"along {letter}", [*(EYE * axis), *up])
        for letter, axis, up in zip(DIRECTIONS, axes, ups, strict=True)
    ]
    return [*along, ("from a corner", [*OVERVIEW, 0.0, 0.0, 1.0])]


def _eye(values: Iterable[float]) -> dict[str, Any]:
    """Write an attribute that `assets/pictures.js` reads."""
    return {"data-eye": " ".join(f"{value:.4f}" for value in values)}


def cell_table(named: Mapping[str, Structure], caption: str, *, name: str) -> Component:
    """Write down the cells of crystals, one column for each, and how the second differs."""
    labels, cells = list(named), [dict(cell_values(one)) for one in named.values()]
    rows = []
    for quantity in cells[0]:
        values = [cell[quantity] for cell in cells]
        row: list[Any] = [quantity, *(markup.number(value, 4) for value in values)]
        if len(values) == 2:
            change = values[1] - values[0]
            row.append(("+" if change > 0 else "") + markup.number(change, 4))
        rows.append(row)
    columns = ["Cell", *labels, *(["Difference"] if len(labels) == 2 else [])]
    return markup.table(caption, columns, rows, numeric=range(1, len(columns)), name=name)


def described(lines: Iterable[str]) -> Component:
    """Write lines of `discovery.lineage.view.sections` as names and their texts."""
    pairs: list[tuple[str, list[str]]] = []
    for line in lines:
        label, text = split_label(line)
        if label or not pairs or not line.startswith(" "):
            pairs.append((label, [text]))
        else:
            pairs[-1][1].append(text)
    rows = []
    for label, texts in pairs:
        if label:
            rows += [html.Dt(label), *(html.Dd(text) for text in texts)]
        else:
            rows += [html.Dt(texts[0], className="whole"), *(html.Dd(text) for text in texts[1:])]
    return html.Dl(rows, className="described")
