"""All figures, in the order of a report."""

from __future__ import annotations

from discovery.figures import code_hulls, code_map, funnel, generations, search
from discovery.figures.figure import Figure

FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        funnel.FIGURE,
        search.FIGURE,
        code_map.FIGURE,
        code_hulls.FIGURE,
        generations.FIGURE,
    )
}
