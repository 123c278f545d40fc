"""All figures, in the order of a report."""

from __future__ import annotations

from discovery.figures import (
    calibration,
    code_hulls,
    code_map,
    distributions,
    elements,
    funnel,
    generations,
    hit_structures,
    learning,
    parity,
    phases,
    search,
)
from discovery.figures.figure import Figure

FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        funnel.FIGURE,
        search.FIGURE,
        code_map.FIGURE,
        code_hulls.FIGURE,
        generations.FIGURE,
        distributions.FIGURE,
        parity.FIGURE,
        hit_structures.FIGURE,
        phases.FIGURE,
        elements.FIGURE,
        calibration.FIGURE,
        learning.FIGURE,
    )
}
