"""Figures into a folder: each as SVG, PNG and CSV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from discovery.export.output_files import new_folder
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.registry import FIGURES
from discovery.figures.source import CampaignData
from discovery.figures.style import save

ENDINGS = (".svg", ".png", ".csv")
PACKAGES = ("matplotlib", "sklearn")


class MissingPackages(ImportError):
    """Figures are asked for where the packages that draw them are not installed."""


@dataclass(frozen=True)
class Drawn:
    """One figure that was asked for.

    Attributes:
        figure: Which.
        content: What it shows; None where there is nothing to show.
        reason: Why there is nothing to show; None where it was drawn.
        files: What was written, by its ending (".svg", ".png", ".csv").
    """

    figure: Figure
    content: Content | None
    reason: str | None
    files: dict[str, Path]


def draw_all(
    data: CampaignData,
    folder: Path,
    *,
    figures: Iterable[Figure] | None = None,
    overwrite: bool = False,
) -> list[Drawn]:
    """Draw figures into a new folder, which appears whole or not at all.

    Args:
        data: The campaign.
        folder: The folder.
        figures: Which; None: all, in the order of a report.
        overwrite: Whether figures that are there may be replaced; other files never are.

    Returns:
        What became of each figure, in their order.

    Raises:
        OutputExists: There is something already (`discovery.export.output_files`).
        OutputError: The folder cannot be written.
        MissingPackages: The extra ``report`` is not installed.
    """
    with new_folder(folder, ENDINGS, overwrite=overwrite) as part:
        drawn = write_figures(data, part, figures=figures)
    return [
        Drawn(
            one.figure,
            one.content,
            one.reason,
            {ending: folder / path.name for ending, path in one.files.items()},
        )
        for one in drawn
    ]


def write_figures(
    data: CampaignData, folder: Path, *, figures: Iterable[Figure] | None = None
) -> list[Drawn]:
    """Draw figures into a folder that is there; see `draw_all`.

    Raises:
        MissingPackages: The extra ``report`` is not installed.
    """
    if any(find_spec(name) is None for name in PACKAGES):
        raise MissingPackages(
            "the packages of figures are missing: pip install 'discovery[report]'"
        )
    chosen = FIGURES.values() if figures is None else figures
    return [_write(one, data, folder) for one in chosen]


def _write(figure: Figure, data: CampaignData, folder: Path) -> Drawn:
    try:
        content = figure.content(data)
    except NothingToShow as nothing:
        return Drawn(figure, None, nothing.reason, {})
    files = {ending: folder / f"{figure.name}{ending}" for ending in ENDINGS}
    picture = content.draw()
    for ending in (".svg", ".png"):
        save(picture, files[ending])
    content.table.to_csv(files[".csv"], index=False)
    return Drawn(figure, content, None, files)
