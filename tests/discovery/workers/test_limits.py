"""The limits of the workers fit together, and Celery is told them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from workplace import TINY

from discovery.campaign.config import ConfigError, load_campaign
from discovery.workers import limits
from discovery.workers.processes import launcher_command, worker_command
from discovery.workers.tasks import TURN_SECONDS


def test_each_limit_is_longer_than_what_it_bounds() -> None:
    assert TURN_SECONDS < limits.SOFT_SECONDS < limits.HARD_SECONDS < limits.VISIBILITY_SECONDS
    assert limits.LONGEST_LEASE_SECONDS < limits.VISIBILITY_SECONDS


def test_a_campaign_with_longer_leases_is_refused(tmp_path: Any) -> None:
    for key in ("relax", "screen"):
        campaign = copy.deepcopy(yaml.safe_load(TINY))
        campaign[key]["lease_seconds"] = limits.LONGEST_LEASE_SECONDS + 1
        file = tmp_path / f"{key}.yaml"
        file.write_text(yaml.safe_dump(campaign))
        with pytest.raises(ConfigError, match=rf"{key}.lease_seconds is 3601.*make it shorter"):
            load_campaign(str(file))


def test_celery_acknowledges_late_takes_one_and_redelivers_after_every_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from discovery.workers.celery_app import app, transport

    assert app.conf.task_acks_late
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.worker_proc_alive_timeout == limits.START_SECONDS > 60
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_time_limit is None  # it would go before the worker's own
    options = transport("redis://:secret@127.0.0.1:1/0")["broker_transport_options"]
    assert options["visibility_timeout"] == limits.VISIBILITY_SECONDS
    assert options["socket_connect_timeout"] < options["socket_timeout"]


def test_children_learn_addresses_from_their_environment_alone() -> None:
    commands = [*worker_command(["relax"], 2, "w"), *launcher_command()]
    assert not [word for word in commands if "://" in word or "--db" in word]


def test_pool_processes_are_replaced_before_they_fill_the_machine() -> None:
    command = worker_command(["relax"], 2, "w", memory_gb=1.5, most_tasks=7, task_seconds=120)
    assert "--max-memory-per-child=1500000" in command
    assert "--max-tasks-per-child=7" in command
    assert f"--time-limit={limits.HARD_SECONDS}" in worker_command(["relax"], 2, "w")
    assert f"--soft-time-limit={limits.SOFT_SECONDS}" in worker_command(["relax"], 2, "w")
    assert "--soft-time-limit=60" in command
    assert "--time-limit=120" in command
    assert limits.memory_per_process(1) > limits.memory_per_process(3)
    assert limits.memory_per_process(10_000) == limits.LEAST_MEMORY_GB
