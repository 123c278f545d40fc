"""The X-ray powder pattern of a crystal, as pymatgen computes it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agents.slab import MIN_VACUUM, vacuum

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from pymatgen.core import Structure

RADIATION, WAVELENGTH = "CuKa", 1.54184
"""Cu K-alpha, Å: the weighted mean of its two lines, pymatgen's value."""
TWO_THETA = (5.0, 90.0)
NAMED = 8
"""The strongest lines carry their indices."""
LEAST_APART = 2.5
"""Indices nearer to one another than this would overlap, degrees."""


class NoPattern(ValueError):
    """A crystal of which a powder pattern would mean nothing."""


@dataclass(frozen=True)
class Line:
    """One line of a powder pattern.

    Attributes:
        two_theta: Degrees.
        intensity: 100 for the strongest line.
        spacing: Of the lattice planes, Å.
        indices: Miller indices of the families that fall together, ``(1 1 0)``; four of a hexagonal
            crystal.
    """

    two_theta: float
    intensity: float
    spacing: float
    indices: tuple[str, ...]


def powder_pattern(structure: Structure) -> list[Line]:
    """Compute the lines of a powder, in the order of their angles.

    Kinematic, with atomic form factors, multiplicities and the Lorentz-polarisation factor; without
    thermal motion, texture and broadening.

    Raises:
        NoPattern: The cell holds a vacuum that is no part of the crystal, or an element whose form
            factor pymatgen has not got; or it is so small that no line lies between the angles.
    """
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS, XRDCalculator

    gap = vacuum(structure)
    if gap >= MIN_VACUUM:
        raise NoPattern(
            f"this is a layer in a cell with {gap:.1f} Å of vacuum, which stands for no stacking: "
            "it has no powder pattern"
        )
    unknown = {site.specie.symbol for site in structure} - ATOMIC_SCATTERING_PARAMS.keys()
    if unknown:
        raise NoPattern(f"there is no form factor of {', '.join(sorted(unknown))}")
    least, most = (2 * math.sin(math.radians(angle / 2)) / WAVELENGTH for angle in TWO_THETA)
    planes = structure.lattice.reciprocal_lattice_crystallographic
    near = planes.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], most)
    if not any(point[1] >= least for point in near):
        low, high = TWO_THETA
        raise NoPattern(f"this cell has no line between {low:g}° and {high:g}°: it is too small")
    found = XRDCalculator(wavelength=RADIATION).get_pattern(structure, two_theta_range=TWO_THETA)
    return [
        Line(
            float(angle),
            float(intensity),
            float(spacing),
            tuple("(" + " ".join(map(str, one["hkl"])) + ")" for one in families),
        )
        for angle, intensity, spacing, families in zip(
            found.x, found.y, found.d_hkls, found.hkls, strict=True
        )
    ]


def strongest(lines: list[Line], number: int) -> list[Line]:
    """Choose the most intense lines, the strongest first."""
    return sorted(lines, key=lambda line: -line.intensity)[:number]


def draw_pattern(lines: list[Line]) -> Figure:
    """Draw the lines over the angle; the strongest with their indices."""
    import plotly.graph_objects as go

    gaps = np.full(len(lines), np.nan)
    angles = np.array([line.two_theta for line in lines])
    heights = np.array([line.intensity for line in lines])
    words = [
        f"{line.two_theta:.2f}°, {line.intensity:.1f}, d {line.spacing:.3f} Å<br>"
        + " ".join(line.indices)
        for line in lines
    ]
    figure = go.Figure(
        [
            go.Scatter(
                x=np.stack([angles, angles, gaps], axis=1).ravel(),
                y=np.stack([np.zeros(len(lines)), heights, gaps], axis=1).ravel(),
                mode="lines",
                line={"color": "#0072b2", "width": 1.5},
                hoverinfo="skip",
            ),
            go.Scatter(
                x=angles,
                y=heights,
                mode="markers",
                marker={"color": "#0072b2", "size": 4},
                hovertext=words,
                hoverinfo="text",
            ),
        ]
    )
    for line in _apart(strongest(lines, NAMED)):
        more = "" if len(line.indices) == 1 else " …"
        figure.add_annotation(
            x=line.two_theta,
            y=line.intensity,
            text=line.indices[0] + more,
            showarrow=False,
            textangle=-90,
            yanchor="bottom",
            yshift=4,
            font={"size": 11},
        )
    figure.update_layout(
        template="plotly_white",
        showlegend=False,
        margin={"l": 60, "r": 15, "t": 10, "b": 50},
        xaxis={"title": "2θ (°)", "range": list(TWO_THETA)},
        yaxis={"title": "intensity (strongest: 100)", "range": [0, 135], "tickvals": [0, 50, 100]},
    )
    return figure


def _apart(lines: list[Line]) -> list[Line]:
    """Leave out what lies too near to a stronger one."""
    kept: list[Line] = []
    for line in lines:
        if all(abs(line.two_theta - one.two_theta) >= LEAST_APART for one in kept):
            kept.append(line)
    return kept
