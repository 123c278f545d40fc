"""All figures, in the order of a report."""

from __future__ import annotations

from discovery.figures import generations
from discovery.figures.figure import Figure

FIGURES: dict[str, Figure] = {figure.name: figure for figure in (generations.FIGURE,)}
