"""A campaign's report: one HTML file that needs no other, beside the figures as files.

The file holds its pictures and its style itself, loads nothing, runs no script, and its
Content-Security-Policy says so: what it shows of candidates are texts of other people's data.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from discovery.archive.secrets import without_credentials
from discovery.export.output_files import new_folder
from discovery.figures import facts
from discovery.figures.drawing import ENDINGS, Drawn, write_figures
from discovery.figures.figure import Content, Figure
from discovery.figures.registry import FIGURES
from discovery.figures.source import CampaignData, read_campaign

if TYPE_CHECKING:
    import jinja2

FILE, SOURCES = "report.html", "citations.bib"
TEMPLATE = "report.html.jinja"
#: An SVG up to this size (bytes) goes into the document; a larger one is replaced by its PNG.
LARGEST_SVG = 400_000


class Progress(Protocol):
    """Told how many figures are drawn, of how many, and what is drawn now."""

    def __call__(self, done: float, total: float, *, what: str) -> None:
        """Hear it."""


@dataclass(frozen=True)
class _Picture:
    """A figure as the document holds it."""

    figure: Figure
    content: Content
    address: str
    width: int
    files: tuple[str, ...]


def write_report(
    campaign: str,
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Drawn]:
    """Write a campaign's report into a new folder, which appears whole or not at all.

    Args:
        campaign: Its name, in the connected database.
        folder: For ``report.html``, ``citations.bib``, and every figure as SVG, PNG and CSV.
        overwrite: Whether a report that is there may be replaced; other files never are.
        progress: Told what is drawn.

    Returns:
        What became of each figure.

    Raises:
        db.campaigns.UnknownCampaign: There is none of this name.
        OutputExists: There is something already (`discovery.export.output_files`).
        OutputError: The folder cannot be written.
    """
    endings = (*ENDINGS, Path(FILE).suffix, Path(SOURCES).suffix)
    with new_folder(folder, endings, overwrite=overwrite) as part:
        data = read_campaign(campaign)
        drawn = []
        for number, figure in enumerate(FIGURES.values()):
            if progress is not None:
                progress(number, len(FIGURES), what=f"drawing: {figure.title}")
            drawn += write_figures(data, part, figures=[figure])
        found = facts.collect(data)
        (part / SOURCES).write_text(found.bibtex, encoding="utf-8")
        (part / FILE).write_text(render(data, found, drawn), encoding="utf-8")
    return [
        replace(one, files={ending: folder / path.name for ending, path in one.files.items()})
        for one in drawn
    ]


def render(data: CampaignData, found: facts.Facts, drawn: Iterable[Drawn]) -> str:
    """Lay a report out as HTML.

    Args:
        data: The campaign.
        found: Its texts.
        drawn: Its figures, their files written.
    """
    everything = list(drawn)
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            data=data,
            facts=found,
            pictures=[_picture(one) for one in everything if one.content is not None],
            missing=[one for one in everything if one.reason is not None],
            faults=[one for one in everything if one.fault is not None],
            stopped=data.record.get("stop_reason"),
        )
    )


def _picture(drawn: Drawn) -> _Picture:
    vector, pixels = drawn.files[".svg"], drawn.files[".png"]
    small = vector.stat().st_size <= LARGEST_SVG
    chosen, kind = (vector, "image/svg+xml") if small else (pixels, "image/png")
    encoded = base64.b64encode(chosen.read_bytes()).decode("ascii")
    files = tuple(path.name for path in drawn.files.values())
    assert drawn.content is not None  # only drawn figures are pictures
    address = f"data:{kind};base64,{encoded}"
    return _Picture(drawn.figure, drawn.content, address, _width(pixels), files)


def _width(pixels: Path) -> int:
    """Return the width of a figure in CSS pixels, so that its letters have their size on paper."""
    from discovery.figures.style import DPI

    with pixels.open("rb") as file:
        header = file.read(24)  # signature, then the chunk IHDR: length, name, width, height
    return round(int.from_bytes(header[16:20], "big") / DPI * 96 * 1.25)


def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_cleaned,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _cleaned(value: Any) -> Any:
    """Take credentials out of a text; a document is mailed to others."""
    return without_credentials(value) if type(value) is str else value
