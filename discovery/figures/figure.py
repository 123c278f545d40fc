"""What a figure is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from discovery.figures.style import journal

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

    from discovery.figures.source import CampaignData


class NothingToShow(Exception):
    """A campaign has not got what a figure shows; the text says what is missing, for people."""

    @property
    def reason(self) -> str:
        """The sentence."""
        return str(self)


@dataclass(frozen=True)
class Content:
    """What one figure shows of one campaign.

    Attributes:
        table: The data of the picture, one row a point, box or bar; columns carry their units
            (``band_gap_eV``). The picture shows nothing that is not in it.
        caption: For people: what is shown, how many, by which model, and where it differs from the
            figure of the paper.
        alt: What a person who cannot see the picture should know of it, one or two sentences.
        picture: Draws it, from the table alone as far as it can.
        numbers: What caption and picture print beside the table, plain JSON values.
    """

    table: pandas.DataFrame
    caption: str
    alt: str
    picture: Callable[[], matplotlib.figure.Figure]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def draw(self) -> matplotlib.figure.Figure:
        """Draw the picture in the style of all figures; every call makes a new one."""
        with journal():
            return self.picture()


@dataclass(frozen=True)
class Figure:
    """One figure, of any campaign.

    Attributes:
        name: Of its files, and in `FIGURES`; lower case, words joined by "-".
        title: A few words.
        content: What it shows of a campaign; raises `NothingToShow` where that has not got it.
        paper: The figure of Qiu et al. (doi 10.1038/s41524-025-01613-6) that it is; None: ours.
    """

    name: str
    title: str
    content: Callable[[CampaignData], Content]
    paper: str | None = None
