"""Options and arguments that many commands share, so that they are called and completed alike."""

from __future__ import annotations

from typing import Annotated

import typer

from discovery.cli import completion
from discovery.cli.output import no_password

OUTPUT = "Output and database"
"""Panel of the options that are about where records are read and how they are shown."""

Campaign = Annotated[
    str | None,
    typer.Argument(
        help="Name of a campaign; all if omitted.", autocompletion=completion.campaigns_here
    ),
]
CampaignName = Annotated[
    str, typer.Argument(help="Name of a campaign.", autocompletion=completion.campaigns_here)
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=OUTPUT)
]
JsonList = Annotated[
    bool, typer.Option("--json", help="One JSON list on stdout.", rich_help_panel=OUTPUT)
]
Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="MongoDB URI; else $MONGODB_URI; else the embedded server.",
        callback=no_password,
        rich_help_panel=OUTPUT,
    ),
]
