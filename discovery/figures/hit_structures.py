"""The crystals of the hits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.style import GREY, TWO_COLUMNS, new_figure
from discovery.figures.symmetry import symbol

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import matplotlib.lines
    import matplotlib.patches
    import pandas
    from pymatgen.core import Structure

    from discovery.figures.source import CampaignData

#: Crystals shown, and in a row.
MOST, ACROSS = 12, 4
#: A conventional cell of more atoms is a thicket: the cell that DFT computed is drawn instead.
MOST_ATOMS = 40
#: Seen a little from above and from the side, as crystals are drawn; slabs more from above.
_VIEW, _SLAB_VIEW = "12z,-78x", "12z,-60x"
_SLAB = (3, 3)  # cells drawn of a layer
_SHORT_EDGE, _FEW_ATOMS = 5.0, 4  # Å; atoms of a cell that is repeated
_BOND = 1.2
_RADIUS = 0.5  # of the covalent one, so that atoms behind others are seen
_PANEL_POINTS = 100.0  # width of a panel's drawing, about
_LEGIBLE = 3.5  # points: smaller symbols are left out, the legend has them
_EDGE = 1e-3  # fractional coordinates this near to a face belong to it


def content(data: CampaignData) -> Content:
    """Show the crystals of the hits, those of the lowest formation energy first."""
    import pandas

    frame = data.candidates
    hits = frame[frame["hit"].eq(True)].sort_values(["formation_energy_per_atom_judged", "seq"])
    verified = int(frame["hit"].notna().sum())
    if hits.empty:
        raise NothingToShow(
            "DFT has verified no candidate yet"
            if not verified
            else f"none of the {verified:,} candidates that DFT verified is inside every window"
        )
    shown = hits.head(MOST)
    cells = {one: _cell(data, str(one)) for one in shown.index}
    table = pandas.DataFrame(
        [row for one, cell in cells.items() for row in _rows(shown.loc[one], str(one), cell)]
    )
    caption = (
        f"{_whose(len(shown), len(hits))} among {verified:,} verified "
        + ("candidate" if verified == 1 else "candidates")
        + (", those of the lowest formation energy" if len(shown) < len(hits) else "")
        + f", as {data.record['resolved']['dft']['level']} computed "
        + ("it. " if len(hits) == 1 else "them. ")
        + (
            f"Slabs: {_SLAB[0]} by {_SLAB[1]} cells, without the vacuum. "
            if data.config.dimensionality == 2
            else f"Conventional cells (the computed cell where that has more than {MOST_ATOMS} "
            f"atoms), those of up to {_FEW_ATOMS} atoms repeated along edges shorter than "
            f"{_SHORT_EDGE:g} Å; atoms on faces are drawn on both. "
        )
        + f"Lines join unlike atoms (like ones in elements) nearer than {_BOND:g} times the sum of "
        "their covalent radii: a help for the eye. Formation energies and gaps by DFT, energies "
        "as they are held against the window. Fig. 5 of the paper shows crystals of its own."
    )
    words = [
        f"{row.formula}, {row.formation_energy_per_atom_judged:.2f} eV/atom"
        for row in shown.itertuples()
    ]
    alt = f"Drawings of crystals: {'; '.join(words)}."
    return Content(
        table, caption, alt, partial(_draw, cells, shown, data.config.dimensionality == 2)
    )


def _whose(shown: int, hits: int) -> str:
    """Begin the caption."""
    if hits == 1:
        return "Crystal of the only hit"
    return f"Crystals of {'the' if shown == hits else f'{shown} of the'} {hits:,} hits"


def _cell(data: CampaignData, candidate_id: str) -> Structure:
    """Return the crystal that DFT computed, in the cell to draw."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    structure = data.structure(candidate_id, "final", "relaxed", "structure")
    assert structure is not None, candidate_id  # a verified candidate has a crystal
    if data.config.dimensionality == 2:
        return structure
    conventional = SpacegroupAnalyzer(structure).get_conventional_standard_structure()
    return conventional if len(conventional) <= MOST_ATOMS else structure


def _rows(hit: pandas.Series, candidate_id: str, cell: Structure) -> list[dict[str, Any]]:
    """Write a crystal as rows, one a site."""
    lattice = cell.lattice
    known = {
        "id": candidate_id,
        "formula": hit["formula"],
        "space_group": None if np.isnan(hit["space_group"]) else int(hit["space_group"]),
        "formation_energy_judged_eV_per_atom": hit["formation_energy_per_atom_judged"],
        "band_gap_eV": hit["band_gap"],
        **{f"{name}_angstrom": getattr(lattice, name) for name in "abc"},
        **{f"{name}_degree": getattr(lattice, name) for name in ("alpha", "beta", "gamma")},
    }
    return [
        {**known, "species": site.specie.symbol, **dict(zip("xyz", site.frac_coords.tolist()))}
        for site in cell
    ]


def _draw(
    cells: dict[Any, Structure], shown: pandas.DataFrame, slab: bool
) -> matplotlib.figure.Figure:
    columns = min(len(cells), ACROSS)
    rows = -(-len(cells) // columns)
    figure = new_figure(TWO_COLUMNS * columns / ACROSS, 2.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (one, cell) in zip(axes.flat, cells.items()):
        hit = shown.loc[one]
        _draw_crystal(ax, _repeated(cell, slab=slab), slab=slab)
        group = "" if np.isnan(hit["space_group"]) else f", {symbol(int(hit['space_group']))}"
        ax.set_title(
            f"{_formula(str(hit['formula']))}{group}\n"
            f"{hit['formation_energy_per_atom_judged']:.2f} eV/atom\n"
            f"gap {hit['band_gap']:.2f} eV".replace("\n-", "\n−"),
            loc="center",
            fontsize=7,
        )
    return figure


def _draw_crystal(ax: matplotlib.axes.Axes, crystal: Structure, *, slab: bool) -> None:
    """Draw atoms with their symbols, what lies nearer in front of what lies behind.

    The cell is drawn, too, but for slabs, where most of it is vacuum.
    """
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors
    from ase.utils import rotate

    turn = rotate(_SLAB_VIEW if slab else _VIEW)
    numbers = [site.specie.Z for site in crystal]
    radii, colours = covalent_radii[numbers], jmol_colors[numbers]
    places = crystal.cart_coords @ turn  # the third coordinate points to the eye
    points = _PANEL_POINTS / max(np.ptp(places[:, 0]), np.ptp(places[:, 1]))  # of one Å, about
    for (x, y, depth), radius, colour, site in zip(places, radii, colours, crystal):
        ax.add_patch(_atom((x, y), _RADIUS * radius, colour, depth))
        size = min(6.0, _RADIUS * radius * points)
        if size >= _LEGIBLE:
            ax.text(
                x,
                y,
                site.specie.symbol,
                ha="center",
                va="center",
                fontsize=size,
                color=_readable_on(colour),
                zorder=depth + 1e-6,
            )
    for pair in _bonds(crystal.cart_coords, radii, numbers):
        ends = places[list(pair)]
        behind = ends[:, 2].min() - 1e-6
        ax.plot(*ends[:, :2].T, color=GREY, linewidth=1.5, zorder=behind, solid_capstyle="butt")
    if not slab:
        for edge in _edges(crystal.lattice.matrix @ turn):
            style = {"color": "black", "linewidth": 0.6, "zorder": edge[:, 2].mean()}
            ax.plot(*edge[:, :2].T, **style)
    ax.set_aspect("equal", adjustable="datalim")  # so that titles stay in line
    ax.autoscale_view()
    elements = {site.specie.symbol: colour for site, colour in zip(crystal, colours)}
    ax.legend(
        handles=[_key(symbol, colour) for symbol, colour in elements.items()],
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=len(elements),
        handletextpad=0.0,
        columnspacing=0.8,
    )


def _key(symbol: str, colour: NDArray[np.float64]) -> matplotlib.lines.Line2D:
    """Make an entry of the legend."""
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        linestyle="none",
        marker="o",
        markersize=6,
        markerfacecolor=tuple(colour),
        markeredgecolor="black",
        markeredgewidth=0.5,
        label=symbol,
    )


def _atom(
    centre: tuple[float, float], radius: float, colour: NDArray[np.float64], depth: float
) -> matplotlib.patches.Circle:
    from matplotlib.patches import Circle

    return Circle(centre, radius, facecolor=colour, edgecolor="black", linewidth=0.5, zorder=depth)


def _edges(lattice: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the ends (2, 3) of the twelve edges of a cell."""
    corners = np.array(list(product((0, 1), repeat=3)))
    return [
        np.array([corner, corner + step]) @ lattice
        for step in np.eye(3, dtype=int)
        for corner in corners
        if not corner @ step
    ]


def _bonds(
    places: NDArray[np.float64], radii: NDArray[np.float64], numbers: Sequence[int]
) -> list[tuple[int, int]]:
    """Pair the atoms that are joined by a line: near ones, in compounds of different elements."""
    unlike = np.not_equal.outer(numbers, numbers) | (len(set(numbers)) == 1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    near = np.triu((apart < _BOND * (radii[:, None] + radii[None])) & (apart > 0.1) & unlike, k=1)
    return [(int(i), int(j)) for i, j in np.argwhere(near)]


def _repeated(cell: Structure, *, slab: bool) -> Structure:
    """Repeat a cell so that what it is made of can be seen."""
    if slab:
        return cell.make_supercell((*_SLAB, 1), in_place=False)
    few = len(cell) <= _FEW_ATOMS
    times = [int(np.ceil(_SHORT_EDGE / edge)) if few else 1 for edge in cell.lattice.abc]
    return _with_faces(cell.make_supercell(times, in_place=False))


def _with_faces(cell: Structure) -> Structure:
    """Repeat what lies on a face, an edge or a corner on the opposite ones."""
    from pymatgen.core import Structure

    species, places = [], []
    for site in cell:
        inside = np.mod(site.frac_coords, 1.0)
        inside[inside > 1 - _EDGE] -= 1.0
        shifts = [(0, 1) if abs(x) < _EDGE else (0,) for x in inside]
        for shift in np.stack(np.meshgrid(*shifts), axis=-1).reshape(-1, 3):
            species.append(site.specie)
            places.append(inside + shift)
    return Structure(cell.lattice, species, places)


def _readable_on(colour: Any) -> str:
    """Choose black or white for text by the luminance of what is behind it (WCAG 2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]
    ]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if luminance > 0.179 else "white"


def _formula(reduced: str) -> str:
    """Set a formula with its numbers below the line."""
    import re

    return re.sub(r"(\d+(?:\.\d+)?)", r"$_{\1}$", reduced)


FIGURE = Figure("hit-structures", "Crystals of the hits", content, paper="Fig. 5")
