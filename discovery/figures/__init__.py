"""Pictures of a campaign: what each shows, the data of it, and its text.

>>> from discovery import connect
>>> from discovery.figures import FIGURES, read_campaign
>>> with connect() as records:  # doctest: +SKIP
...     data = read_campaign("photovoltaic-3d")
>>> content = FIGURES["generations"].content(data)  # doctest: +SKIP
>>> content.table, content.caption, content.draw()  # doctest: +SKIP

source    a campaign, read once
style     colours, markers, sizes, fonts
figure    what a figure is
drawing   figures into a folder: SVG, PNG, CSV

`FIGURES` names them all, in the order of a report; each has a module of its own. What a figure
needs and does not find is said in a sentence (`NothingToShow`), and nothing is drawn.
"""

from __future__ import annotations

from discovery.figures.drawing import Drawn, draw_all, write_figures
from discovery.figures.figure import Content, Figure, NothingToShow
from discovery.figures.registry import FIGURES
from discovery.figures.source import CampaignData, read_campaign

__all__ = [
    "FIGURES",
    "CampaignData",
    "Content",
    "Drawn",
    "Figure",
    "NothingToShow",
    "draw_all",
    "read_campaign",
    "write_figures",
]
