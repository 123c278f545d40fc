"""``backup`` and ``restore``: a whole campaign in one archive, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from discovery.cli.options import CampaignName, Database, Json
from discovery.cli.output import print_json, print_progress


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(backup)
    app.command()(restore)


def backup(
    campaign: CampaignName,
    out: Annotated[Path, typer.Option(help="The archive to write, for instance quickstart.zip.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the archive.")] = False,
    db: Database = None,
    json: Json = False,
) -> None:
    """Write a whole campaign into one archive; it may be running meanwhile.

    Example: `discovery backup quickstart --out quickstart.zip`
    """
    from db.connection import connect
    from discovery.backup.snapshot import backup as write
    from discovery.cli.bars import working

    with working("opening the database") as work, connect(db, create=False):
        work.part(f"writing {out}")
        info = write(campaign, out, overwrite=overwrite, progress=work.say)
    if json:
        print_json({"archive": str(out), **info.model_dump(mode="json")})
        return
    for sentence in info.left_out:
        print_progress(sentence)
    counts = info.counts
    print(
        f"{out} ({out.stat().st_size / 2**20:.1f} MiB): {counts['candidates']} candidates, "
        f"{counts['calculations']} calculations ({info.calculations_unfinished} unfinished), "
        f"{counts['model_versions']} model versions of {campaign}, as of {info.taken_at}"
    )


def restore(
    archive: Annotated[Path, typer.Argument(help="Archive of `backup`.")],
    name: Annotated[
        str | None, typer.Option("--as", help="Another name for the campaign.", metavar="NAME")
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Put a campaign from a backup into the database, whole or not at all.

    The next `discovery run` continues it. Example: `discovery restore quickstart.zip --as copy`
    """
    from db.campaigns import names
    from db.connection import connect
    from discovery.backup.restoration import restore as put_back
    from discovery.cli.bars import working
    from discovery.cli.completion import remember

    with working("opening the database") as work, connect(db):
        work.part(f"reading {archive}")
        done = put_back(archive, name=name, progress=work.say)
        remember(names(), db)
    if json:
        print_json(
            {
                "campaign": done.campaign,
                "counts": done.counts,
                "calculations_here_before": done.paid_here,
                "missing": list(done.missing),
                "backup": done.info.model_dump(mode="json"),
            }
        )
        return
    for sentence in (*done.info.left_out, *done.missing):
        print_progress(sentence)
    print(
        f"campaign {done.campaign}: {done.counts['candidates']} candidates, "
        f"{done.counts['calculations']} calculations ({done.paid_here} were here already, "
        f"{done.info.calculations_unfinished} will be queued again); `discovery run` continues it"
    )
