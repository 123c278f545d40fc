"""All figures, in the order of a report."""

from __future__ import annotations

from discovery.figures import funnel, generations, search
from discovery.figures.figure import Figure

FIGURES: dict[str, Figure] = {
    figure.name: figure for figure in (funnel.FIGURE, search.FIGURE, generations.FIGURE)
}
