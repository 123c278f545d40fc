"""The Celery application: JSON only, one message at a time, messages are only hints.

A message says that a queue of a campaign has work. What the work is, and who has it, is kept in the
database by leases, so a lost, doubled or late message changes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from db.paths import home_directory
from discovery.processes import QUEUES, die_with_parent


def transport(broker: str | None = None) -> dict[str, Any]:
    """Return Celery's broker settings.

    Args:
        broker: URL of a broker; else ``$DISCOVERY_BROKER``; else the embedded file transport, which
            keeps its messages in ``$DISCOVERY_HOME/broker``.
    """
    url = broker or os.environ.get("DISCOVERY_BROKER")
    if url:
        return {"broker_url": url, "broker_transport_options": {"visibility_timeout": 3600}}
    folder = Path(home_directory()).absolute() / "broker"
    for name in ("messages", "control"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "broker_url": "filesystem://",
        "broker_transport_options": {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.2,
        },
    }


app = Celery("discovery", include=["discovery.tasks"])
app.conf.update(
    **transport(),
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_time_limit=3600,  # a crystal on which a library hangs: the pool process is replaced
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    task_routes={f"discovery.{queue}": {"queue": queue} for queue in QUEUES},
    task_default_queue="evaluate",
)


@worker_process_init.connect
def _prepare_child(**_: object) -> None:
    """Tie a pool process to its worker and keep it to one thread; models load later, once."""
    die_with_parent()
    import torch

    torch.set_num_threads(1)
