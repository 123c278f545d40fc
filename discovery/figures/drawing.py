"""Figures into a folder: each as SVG, PNG and CSV."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from discovery.export.output_files import new_folder
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.registry import FIGURES
from discovery.figures.source import CampaignData
from discovery.figures.style import save

log = logging.getLogger(__name__)

ENDINGS = (".svg", ".png", ".csv")
PACKAGES = ("matplotlib", "sklearn")


class MissingPackages(ImportError):
    """Figures are asked for where the packages that draw them are not installed."""


@dataclass(frozen=True)
class Drawn:
    """One figure that was asked for.

    Attributes:
        figure: Which.
        content: What it shows; None where it was not drawn.
        reason: Why there is nothing to show; None where there is, or where drawing failed.
        files: What was written, by its ending (".svg", ".png", ".csv").
        fault: The type and message of the program's error that kept it from being drawn; None
            without one.
    """

    figure: Figure
    content: Content | None
    reason: str | None
    files: dict[str, Path]
    fault: str | None = None


def draw_all(
    data: CampaignData,
    folder: Path,
    *,
    figures: Iterable[Figure] | None = None,
    overwrite: bool = False,
) -> list[Drawn]:
    """Draw figures into a new folder, which appears whole or not at all.

    An error of the program in one figure is logged and told in its ``fault``; the others are drawn.

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
        replace(one, files={ending: folder / path.name for ending, path in one.files.items()})
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
    files = {ending: folder / f"{figure.name}{ending}" for ending in ENDINGS}
    try:
        content = figure.content(data)
        picture = content.draw()
        for ending in (".svg", ".png"):
            save(picture, files[ending])
        content.table.to_csv(files[".csv"], index=False)
    except NothingToShow as nothing:
        return Drawn(figure, None, nothing.reason, {})
    except (MissingPackages, MemoryError, OSError):
        raise
    except Exception as error:
        log.exception("the figure %s could not be drawn", figure.name)
        for path in files.values():
            path.unlink(missing_ok=True)
        return Drawn(figure, None, None, {}, f"{type(error).__name__}: {error}")
    return Drawn(figure, content, None, files)
