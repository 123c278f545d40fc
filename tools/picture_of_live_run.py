"""Run a campaign and keep a picture of its live view.

    python tools/picture_of_live_run.py quickstart docs/pictures/live-run.svg

The picture is what a terminal shows while DFT runs, in the fonts of whoever looks at it: nothing of
it is loaded from elsewhere.
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

from discovery.campaign.config import CampaignConfig, load_campaign
from discovery.campaign.launch import RunOptions, run_campaign
from discovery.campaign.loop import Tick
from discovery.reports.live_view import LiveView

COLUMNS = 96
ROWS = 30
FONTS = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"


class Kept(LiveView):
    """A live view that keeps what it showed."""

    def __init__(self, config: CampaignConfig, console: Console) -> None:
        super().__init__(config, console)
        self.frames: list[tuple[dict[str, Any], RenderableType]] = []

    def __call__(self, tick: Tick) -> None:
        """Show the campaign as it is now."""
        super().__call__(tick)
        if self._seen is not None:
            self.frames.append((self._seen[0], self.render()))


def picture(shown: RenderableType, title: str) -> str:
    """Draw what a terminal shows as SVG, without rich's fonts from a server."""
    console = Console(record=True, width=COLUMNS, force_terminal=True, file=io.StringIO())
    console.print(shown)
    layout = re.sub(r"@font-face \{\{.*?\}\}|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.S)
    return console.export_svg(title=title, code_format=layout.replace("Fira Code", FONTS))


def main() -> None:
    """Run a campaign in this directory and write the picture."""
    parser = argparse.ArgumentParser(description="Run a campaign and keep a picture of it.")
    parser.add_argument("campaign")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    config = load_campaign(arguments.campaign)
    terminal = Console(width=COLUMNS, height=ROWS, force_terminal=True, file=io.StringIO())
    with Kept(config, terminal).shown() as view:
        run_campaign(config, RunOptions(), announce=print, on_tick=view)
    _, shown = max(
        view.frames, key=lambda frame: (frame[0]["dft"]["running"], frame[0]["candidates"])
    )
    title = f"discovery run --campaign {arguments.campaign}"
    arguments.out.write_text(picture(shown, title), encoding="utf-8")
    print(f"{arguments.out}: one of {len(view.frames)} frames")


if __name__ == "__main__":
    main()
