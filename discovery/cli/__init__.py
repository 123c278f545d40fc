"""The command line. Heavy packages are imported only by the command that uses them."""

from __future__ import annotations

import os
import sys

import typer

from discovery.cli import campaigns, doctor, generator, models, work

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong use."

app = typer.Typer(
    name="discovery",
    help="Open, closed-loop discovery of crystals.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode="markdown",
)

campaigns.register(app)
generator.register(app)
work.register(app)
doctor.register(app)
app.add_typer(models.app, name="models")

OWN_PACKAGES = ("discovery", "agents", "model", "db")


def main() -> None:
    """Run the command line; errors that the product itself raises end in one sentence."""
    try:
        app()
    except Exception as error:
        if not _is_ours(error) or os.environ.get("DISCOVERY_DEBUG"):
            raise
        print(f"discovery: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


def _is_ours(error: Exception) -> bool:
    """Say whether the error's class is defined by this product: it then speaks to a person."""
    return type(error).__module__.partition(".")[0] in OWN_PACKAGES
