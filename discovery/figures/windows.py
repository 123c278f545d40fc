"""A campaign's windows in a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from discovery.figures.style import GREEN

if TYPE_CHECKING:
    import matplotlib.axes

    from agents.targets import Window


def bounds_of(window: Window | None) -> list[float]:
    """Return the bounds that a window has."""
    found = (None, None) if window is None else (window.min, window.max)
    return [bound for bound in found if bound is not None]


def shade(
    ax: matplotlib.axes.Axes, window: Window, axis: Literal["x", "y"], *, label: str | None = None
) -> None:
    """Shade a window along an axis, hatched, without moving the limits of the axis.

    Args:
        ax: Where.
        window: An open bound reaches to the end of the axis, whatever that will be.
        axis: Which axis has the property.
        label: For the legend.
    """
    far = 1e3  # eV: beyond every axis
    low = -far if window.min is None else window.min
    high = far if window.max is None else window.max
    span, limits = (ax.axvspan, ax.get_xlim()) if axis == "x" else (ax.axhspan, ax.get_ylim())
    span(low, high, facecolor=GREEN, alpha=0.10, linewidth=0, zorder=0, label=label)
    for bound in bounds_of(window):
        line = ax.axvline if axis == "x" else ax.axhline
        line(bound, color=GREEN, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0.5)
    (ax.set_xlim if axis == "x" else ax.set_ylim)(*limits)
