"""The Celery application: JSON only, one message at a time, messages are only hints.

A message says that a queue of a campaign has work. What the work is, and who has it, is kept in the
database by leases, so a lost, doubled or late message changes nothing.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from billiard.process import active_children
from celery import Celery, Task
from celery.signals import setup_logging, worker_process_init, worker_shutting_down
from kombu.transport import TRANSPORT_ALIASES

from agents import stop
from agents.log_context import identify_process
from db.paths import home_directory, private_folder
from discovery.logs import configure_logs
from discovery.workers.limits import MOST_TASKS, START_SECONDS, VISIBILITY_SECONDS
from discovery.workers.processes import QUEUES, die_with_parent

log = logging.getLogger(__name__)

TRANSPORT_ALIASES["discovery-files"] = "discovery.workers.file_transport:Transport"
STOP_SIGNAL = signal.SIGUSR2
"""From a worker to its pool processes: give back what you hold."""


def transport(broker: str | None = None) -> dict[str, Any]:
    """Return Celery's broker settings.

    Args:
        broker: URL of a broker; else ``$DISCOVERY_BROKER``; else the embedded file transport, which
            keeps its messages in ``$DISCOVERY_HOME/broker``.
    """
    url = broker or os.environ.get("DISCOVERY_BROKER")
    if url:
        options: dict[str, Any] = {}
        if url.startswith(("redis", "sentinel", "socket")):
            options = {
                "visibility_timeout": VISIBILITY_SECONDS,
                "socket_connect_timeout": 5,
                "socket_timeout": 30,
                "socket_keepalive": True,
            }
        return {"broker_url": url, "broker_transport_options": options}
    folder = Path(home_directory()).absolute() / "broker"
    for name in ("messages", "control"):
        private_folder(folder / name)
    return {
        "broker_url": "discovery-files://",
        "broker_transport_options": {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.2,
        },
    }


class StoppableTask(Task):
    """A task that ends at once, and as done, when its process shall stop."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the task."""
        try:
            with stop.stoppable():
                return self.run(*arguments, **named)
        except stop.StopRequested:
            log.info("%s was stopped: what it held is free", self.name)
            return None


app = Celery("discovery", include=["discovery.workers.tasks"], task_cls=StoppableTask)
# No limits of time here: they would go before those on a worker's command line.
app.conf.update(
    **transport(),
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=MOST_TASKS,
    worker_pool="discovery.workers.pool:TaskPool",  # what --pool=prefork means here
    # A pool process imports torch before it says that it is up: more than Celery's four seconds on
    # a busy machine, after which it would be killed and started again, for ever.
    worker_proc_alive_timeout=START_SECONDS,
    broker_connection_max_retries=None,  # a broker that is away for an hour is waited for
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    task_routes={f"discovery.{queue}": {"queue": queue} for queue in QUEUES},
    task_default_queue="evaluate",
)


@setup_logging.connect
def _write_logs(loglevel: int | None = None, **_: object) -> None:
    """Write logs as every process of a campaign does, in place of Celery's own format."""
    identify_process(worker=f"{os.uname().nodename}:{os.getpid()}")
    configure_logs(level=loglevel or logging.INFO)


@worker_process_init.connect
def _prepare_child(**_: object) -> None:
    """Tie a pool process to its worker and keep it to one thread; models load later, once."""
    signal.signal(STOP_SIGNAL, stop.request)
    die_with_parent()
    identify_process(worker=f"{os.uname().nodename}:{os.getpid()}")
    import torch

    torch.set_num_threads(1)


@worker_shutting_down.connect
def _stop_children(**_: object) -> None:
    """Ask the pool processes to give back what they hold; Celery itself would wait for them."""
    for child in active_children():
        with suppress(ProcessLookupError):
            os.kill(child.pid, STOP_SIGNAL)


def unheard(queue: str) -> int:
    """Count the messages of a queue that no worker has taken.

    Raises:
        OSError: The broker is away (or ``KombuError``).
    """
    with app.connection_or_acquire() as connection:
        declared = connection.default_channel.queue_declare(queue=queue, durable=True)
    return int(declared.message_count)
