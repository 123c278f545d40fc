"""``worker``: one worker process on this node."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from discovery.cli import completion
from discovery.cli.options import Database
from discovery.cli.output import UsageError
from discovery.workers.limits import HARD_SECONDS, MOST_TASKS


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(worker)


def worker(
    queue: Annotated[
        str,
        typer.Option(
            help="evaluate, relax, screen, learn (several: a,b), or dft.",
            autocompletion=completion.queues,
        ),
    ],
    db: Database = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Pool processes.")] = 1,
    device: Annotated[
        str | None, typer.Option(help="torch device of the potential, for instance cuda:0.")
    ] = None,
    max_memory: Annotated[
        float | None,
        typer.Option(min=0.1, help="Replace a pool process that held more memory (GB)."),
    ] = None,
    max_tasks: Annotated[
        int, typer.Option(min=1, help="Replace a pool process after so many tasks.")
    ] = MOST_TASKS,
    task_seconds: Annotated[
        float, typer.Option(min=1, help="Kill a task that lasts longer (s).")
    ] = HARD_SECONDS,
    category: Annotated[
        str | None,
        typer.Option(help="Only these DFT calculations: dft-static,dft-gap. With --queue dft."),
    ] = None,
) -> None:
    """Work for the campaigns of a database until it is stopped (Ctrl-C or SIGTERM).

    Example: `discovery worker --queue relax --device cuda:0`
    """
    from agents.log_context import identify_process
    from db.connection import connect
    from db.suggestion import did_you_mean
    from discovery.logs import configure_logs, log_format
    from discovery.workers.processes import QUEUES, worker_command

    log_format()  # a wrong one is told before anything is started

    queues = [name.strip() for name in queue.split(",") if name.strip()]
    unknown = sorted(set(queues) - {*QUEUES, "dft"})
    if unknown or not queues:
        raise UsageError(
            f"unknown queue {', '.join(unknown) or '(none)'}: known are {', '.join(QUEUES)}, dft."
            + "".join(did_you_mean(name, (*QUEUES, "dft")) for name in unknown[:1])
        )
    if "dft" in queues and len(queues) > 1:
        raise UsageError("the queue dft needs a worker of its own: --queue dft")
    if category and queues != ["dft"]:
        raise UsageError("--category chooses among DFT calculations: it needs --queue dft")
    with connect(db or os.environ.get("DISCOVERY_DB_URI")) as session:
        if queues == ["dft"]:
            from agents.verify.queue.launchpad import launch_until_stopped

            identify_process(worker=f"{os.uname().nodename}:{os.getpid()}")
            configure_logs()
            chosen = [name.strip() for name in (category or "").split(",") if name.strip()]
            launch_until_stopped(session, category=chosen or "")
            return
        from discovery.workers.celery_app import app as celery

        os.environ["DISCOVERY_DB_URI"] = session.uri
        os.environ["DISCOVERY_DB_NAME"] = session.database_name
        if device:
            os.environ["DISCOVERY_DEVICE"] = device
        command = worker_command(
            queues,
            concurrency,
            f"{queues[0]}-{os.getpid()}",
            memory_gb=max_memory,
            most_tasks=max_tasks,
            task_seconds=task_seconds,
        )
        celery.start(command[command.index("worker") :])
