"""Colours, markers, sizes and fonts of all figures.

Colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart
(https://jfly.uni-koeln.de/color/); a second sign always says the same: a marker, a hatch, a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.figure

BLACK, ORANGE, SKY, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
GREY, PALE = "#767676", "#dddddd"
#: For categories, in this order; grey stands for the rest.
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK)
#: Beside the palette, one each.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: For numbers: even in lightness, readable in grey and by every kind of colour vision.
SEQUENTIAL = "cividis"

#: Widths of one and two columns of a journal, inches (89 and 183 mm).
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2
#: Pixels of an inch of the PNG: two columns give 1,440 pixels.
DPI = 200

FORMATION_ENERGY = "formation energy (eV/atom)"
BAND_GAP = "band gap (eV)"

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "svg.fonttype": "path",  # looks the same where other fonts are installed
    "svg.hashsalt": "discovery",  # the same picture is the same file
    "axes.unicode_minus": True,
}


@contextmanager
def journal() -> Iterator[None]:
    """Draw in this style inside the ``with`` block; outside nothing changes."""
    from matplotlib import style

    with style.context(["default", _RC]):  # whatever a person's own settings are
        yield


def new_figure(width: float = TWO_COLUMNS, height: float = 3.0) -> matplotlib.figure.Figure:
    """Make an empty figure of a size in inches, without a window or any global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def save(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a figure; the ending of ``path`` (.svg or .png) says how."""
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with journal():
        figure.savefig(path, metadata=metadata)
