"""The command line. Heavy packages are imported only by the command that uses them."""

from __future__ import annotations

import os
import sys
import warnings

import typer

from discovery.cli import (
    archive,
    backup,
    campaigns,
    data,
    dedup,
    dft,
    doctor,
    evaluate,
    events,
    funnel,
    generate,
    generator,
    import_dft,
    models,
    query,
    relax,
    repair,
    report,
    screen,
    serve,
    train_screen,
    verify,
    work,
)
from discovery.cli.panels import arrange
from discovery.cli.shells import VARIABLE, answer

EPILOG = (
    "Begin: `discovery doctor`, then `discovery run --campaign quickstart`. Every command has "
    "--help with an example. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted."
)

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
events.register(app)
funnel.register(app)
query.register(app)
archive.register(app)
backup.register(app)
report.register(app)
serve.register(app)
generator.register(app)
train_screen.register(app)
generate.register(app)
relax.register(app)
screen.register(app)
dedup.register(app)
verify.register(app)
import_dft.register(app)
app.add_typer(evaluate.app, name="evaluate")
work.register(app)
doctor.register(app)
repair.register(app)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(dft.app, name="dft")
arrange(app)

NOT_ALLOWED = (13, 18)
"""MongoDB's codes for a user without the right, and for a wrong password."""
OWN_PACKAGES = ("discovery", "agents", "model", "db")


def main() -> None:
    """Run the command line; errors that the product itself raises end in one sentence."""
    # pymatgen orders elements by electronegativity and says so of every noble gas in a reference.
    warnings.filterwarnings("ignore", message="No Pauling electronegativity", category=UserWarning)
    try:
        if VARIABLE in os.environ:
            answer(app)
        app()
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None or os.environ.get("DISCOVERY_DEBUG"):
            raise
        print(f"discovery: {sentence}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


def _sentence(error: Exception) -> str | None:
    """Put an error in words if it is one of this product's own, or the loss of the database.

    Any other error is a fault in the program, and its traceback is wanted.
    """
    package = type(error).__module__.partition(".")[0]
    text = " ".join(str(error).split())
    if package in OWN_PACKAGES:
        return text
    if package == "pymongo" and getattr(error, "code", None) in NOT_ALLOWED:
        return (
            "the database does not let this user write: give it the role readWrite, and the next "
            f"run continues ({text:.300})"
        )
    if package == "pymongo":
        return f"the database was lost; the next run continues ({text:.300})"
    return None
