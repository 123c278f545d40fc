"""Whether the texts of a picture can be read: inside it, and not one upon the other."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

TOUCHING = 1.0
"""Pixels by which two texts may overlap: their boxes are larger than their letters."""


def faults(figure: Figure, *, inside: bool = False) -> list[str]:
    """List what is wrong with the texts of a picture.

    Args:
        figure: A drawn one.
        inside: Whether texts that are drawn at data (`ax.text`) are looked at, too.

    Returns:
        A sentence for each text that leaves the picture or lies upon another one, and for each
        axis without a label.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in _texts(figure, inside)]
    found = [f"{name!r} leaves the picture" for name, box in boxes if not _within(figure, box)]
    for (first, one), (second, other) in combinations(boxes, 2):
        if _overlap(one, other) > TOUCHING:
            found.append(f"{first!r} lies upon {second!r}")
    for ax in figure.axes:
        found += [f"an axis has no label: {name}" for name in "xy" if not _is_labelled(ax, name)]
    return found


def _is_labelled(ax: Axes, name: str) -> bool:
    """Say whether an axis that is shown has a label, itself or together with others.

    Ticks that are words, not numbers, say what they are.
    """
    axis = getattr(ax, f"{name}axis")
    if not ax.axison or not axis.get_visible() or not axis.get_ticklocs().size:
        return True
    if any(letter.isalpha() for text in axis.get_ticklabels() for letter in text.get_text()):
        return True
    together = getattr(ax, f"get_shared_{name}_axes")().get_siblings(ax)
    return bool(
        getattr(ax.figure, f"_sup{name}label")
        or any(getattr(one, f"get_{name}label")() for one in together)
    )


def _texts(figure: Figure, inside: bool) -> list[Text]:
    texts = []
    for part in (figure, *figure.subfigs):
        texts += [one for one in (part._supxlabel, part._supylabel, part._suptitle) if one]
        texts += [text for legend in part.legends for text in legend.get_texts()]
    for ax in figure.axes:
        if not ax.axison:
            texts += [ax.title]
            continue
        shown = [ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title, ax._right_title]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels())
            shown += [text for place, text in ticks if low <= place <= high]
        legend = ax.get_legend()
        shown += legend.get_texts() if legend else []
        texts += [*shown, *(ax.texts if inside else [])]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def _within(figure: Figure, box: Bbox) -> bool:
    width, height = figure.bbox.width, figure.bbox.height
    return bool(
        box.x0 > -TOUCHING
        and box.y0 > -TOUCHING
        and box.x1 < width + TOUCHING
        and box.y1 < height + TOUCHING
    )


def _overlap(one: Bbox, other: Bbox) -> float:
    """Return by how many pixels two boxes overlap in the direction where it is less."""
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    up = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(min(across, up))
