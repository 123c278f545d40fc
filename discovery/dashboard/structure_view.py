"""A crystal in three dimensions, to be turned by hand: balls, sticks, and the cell.

pymatviz 0.18 draws each atom as a trace of plotly and each bond as ten or more: 13,541 traces for a
cell of 320 atoms, made in 7 s. Here every element is one mesh and all bonds are one line: 5 traces,
made in 0.02 s. Colours are Jmol's (ASE's table), bonds follow Jmol's rule (pymatgen's table).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from pymatgen.analysis.local_env import JmolNN
    from pymatgen.core import Structure

BALL = 0.35
"""Radius of a ball in units of the atom's radius in Jmol's rule for bonds."""
ON_FACE = 0.05
"""An atom this close to a face of the cell is drawn on the opposite one, too, Å."""
LABELLED = 40
"""Most atoms of a cell that carry their symbol; more hide the crystal. The legend names all."""
FINE, COARSE = 12, 7
"""Rings of a ball; few of them where there are many balls."""
MANY = 150
OVERVIEW = (1.1, -1.4, 0.65)
"""Where the eye is at first."""
SCENE: dict[str, Any] = {
    "aspectmode": "data",
    "camera": {"projection": {"type": "orthographic"}, "eye": dict(zip("xyz", OVERVIEW))},
    **{f"{axis}axis": {"visible": False, "showspikes": False} for axis in "xyz"},
}


@dataclass(frozen=True)
class Drawn:
    """The atoms of a picture.

    Attributes:
        sites: Number of the atom in the crystal, (M,).
        coordinates: Where each is drawn, Å, (M, 3).
        images: Whether it stands for an atom on the opposite face, (M,).
    """

    sites: NDArray[np.int64]
    coordinates: NDArray[np.float64]
    images: NDArray[np.bool_]


def draw_structure(structure: Structure) -> Figure:
    """Draw one crystal.

    Args:
        structure: An ordered crystal.

    Returns:
        A figure with one mesh for each element, named by its symbol in the legend, the bonds, and
        the cell; lengths in Å.
    """
    import plotly.graph_objects as go

    drawn = drawn_atoms(structure)
    figure = go.Figure()
    figure.add_trace(_cell(structure))
    bonds = _bonds(structure, drawn)
    if bonds is not None:
        figure.add_trace(bonds)
    rings = COARSE if len(drawn.sites) > MANY else FINE
    for symbol in sorted({site.specie.symbol for site in structure}):
        figure.add_trace(_balls(structure, drawn, symbol, rings))
    figure.update_layout(
        scene={**SCENE, "annotations": _labels(structure)},
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        legend={"orientation": "h", "x": 0, "y": 1, "itemsizing": "constant"},
        paper_bgcolor="rgba(0,0,0,0)",
    )
    return figure


def drawn_atoms(structure: Structure) -> Drawn:
    """Put every atom into the cell, and those on a face onto the opposite face, too.

    >>> from pymatgen.core import Lattice, Structure
    >>> salt = Structure(Lattice.cubic(5.6), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> len(drawn_atoms(salt).sites)
    9
    """
    near = ON_FACE / np.array(structure.lattice.abc)
    inside = structure.frac_coords % 1.0
    inside = np.where(inside > 1.0 - near, inside - 1.0, inside)  # on the far face: the near one's
    sites, places, images = [], [], []
    for number, place in enumerate(inside):
        repeats = [(0, 1) if value < limit else (0,) for value, limit in zip(place, near)]
        for shift in product(*repeats):
            sites.append(number)
            places.append(place + shift)
            images.append(any(shift))
    coordinates = structure.lattice.get_cartesian_coords(np.array(places))
    return Drawn(np.array(sites), coordinates, np.array(images))


def bonded(structure: Structure, drawn: Drawn) -> NDArray[np.int64]:
    """Find the pairs of drawn atoms that Jmol's rule joins: closer than their radii + 0.45 Å.

    Returns:
        Pairs of numbers into ``drawn``, (P, 2).
    """
    from scipy.spatial import KDTree

    symbols = sorted({site.specie.symbol for site in structure})
    order = {symbol: place for place, symbol in enumerate(symbols)}
    limits = np.zeros((len(symbols), len(symbols)))
    for one, other in combinations_with_replacement(symbols, 2):
        limit = _jmol().get_max_bond_distance(one, other)
        limits[order[one], order[other]] = limits[order[other], order[one]] = limit
    kinds = np.array([order[structure[int(number)].specie.symbol] for number in drawn.sites])
    pairs = KDTree(drawn.coordinates).query_pairs(limits.max(), output_type="ndarray")
    left, right = pairs.T
    apart = np.linalg.norm(drawn.coordinates[left] - drawn.coordinates[right], axis=1)
    found: NDArray[np.int64] = pairs[apart <= limits[kinds[left], kinds[right]]]
    return found


@lru_cache(maxsize=1)
def _jmol() -> JmolNN:
    from pymatgen.analysis.local_env import JmolNN

    return JmolNN()


def _balls(structure: Structure, drawn: Drawn, symbol: str, rings: int) -> Any:
    import plotly.graph_objects as go
    from ase.data.colors import jmol_colors
    from pymatgen.core import Element

    chosen = [
        place
        for place, number in enumerate(drawn.sites)
        if structure[int(number)].specie.symbol == symbol
    ]
    vertices, triangles = _ball(rings)
    radius = BALL * _jmol().el_radius[symbol]
    places = drawn.coordinates[chosen]
    corners = (places[:, None, :] + radius * vertices).reshape(-1, 3).astype(np.float32)
    offsets = len(vertices) * np.arange(len(places))[:, None, None]
    faces = (triangles + offsets).reshape(-1, 3).astype(np.int32)
    words: dict[str, Any] = {"hoverinfo": "name"}
    if len(drawn.sites) <= MANY:  # a text for each corner of each ball
        texts = [_place(structure, int(drawn.sites[place])) for place in chosen]
        words = {"hoverinfo": "text", "hovertext": np.repeat(texts, len(vertices))}
    red, green, blue = (round(255 * float(part)) for part in jmol_colors[Element(symbol).Z])
    return go.Mesh3d(
        **dict(zip("xyz", corners.T)),
        **dict(zip("ijk", faces.T)),
        color=f"rgb({red},{green},{blue})",
        name=symbol,
        showlegend=True,
        **words,
        lighting={"ambient": 0.65, "diffuse": 0.5, "specular": 0.15, "roughness": 0.6},
    )


def _place(structure: Structure, number: int) -> str:
    x, y, z = structure[number].frac_coords
    return f"{structure[number].specie.symbol}, atom {number + 1}: {x:.4f} {y:.4f} {z:.4f}"


@lru_cache(maxsize=2)
def _ball(rings: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return corners (V, 3) and triangles (T, 3), seen from outside, of a ball of radius 1."""
    from scipy.spatial import ConvexHull

    theta = np.linspace(0.0, np.pi, rings)
    phi = np.linspace(0.0, 2 * np.pi, 2 * rings, endpoint=False)
    polar, around = (angle.ravel() for angle in np.meshgrid(theta[1:-1], phi, indexing="ij"))
    belt = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1
    )
    vertices = np.concatenate([[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], belt])
    triangles = ConvexHull(vertices).simplices.astype(np.int64)
    first, second, third = (vertices[triangles[:, corner]] for corner in range(3))
    inward = np.sum(np.cross(second - first, third - first) * first, axis=1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return vertices, triangles


def _bonds(structure: Structure, drawn: Drawn) -> Any:
    import plotly.graph_objects as go

    pairs = bonded(structure, drawn)
    if not len(pairs):
        return None
    ends = drawn.coordinates[pairs]  # (P, 2, 3)
    return _lines(ends, go, color="#8a8a8a", width=7, name="bonds")


def _cell(structure: Structure) -> Any:
    import plotly.graph_objects as go

    corners = np.array(list(product((0, 1), repeat=3)))
    edges = [
        (one, other)
        for place, one in enumerate(corners)
        for other in corners[place + 1 :]
        if np.abs(one - other).sum() == 1
    ]
    ends = np.array(edges) @ structure.lattice.matrix
    return _lines(ends, go, color="#333333", width=2, name="cell")


def _lines(ends: NDArray[np.float64], go: Any, *, color: str, width: float, name: str) -> Any:
    """Draw lines (P, 2, 3) in one trace, with a gap after each."""
    gaps = np.full((len(ends), 1, 3), np.nan)
    points = np.concatenate([ends, gaps], axis=1).reshape(-1, 3)
    return go.Scatter3d(
        **dict(zip("xyz", points.T)),
        mode="lines",
        line={"color": color, "width": width},
        name=name,
        hoverinfo="skip",
        showlegend=False,
    )


def _labels(structure: Structure) -> list[dict[str, Any]]:
    """Write its symbol on every atom, so that colour is not all that tells elements apart."""
    if len(structure) > LABELLED:
        return []
    drawn = drawn_atoms(structure)
    return [
        {
            **dict(zip("xyz", map(float, place))),
            "text": f"<b>{structure[int(number)].specie.symbol}</b>",
            "showarrow": False,
            "font": {"size": 13, "color": "#111111"},
            "bgcolor": "rgba(255,255,255,0.55)",
            "borderpad": 0,
        }
        for number, place, image in zip(drawn.sites, drawn.coordinates, drawn.images)
        if not image
    ]
