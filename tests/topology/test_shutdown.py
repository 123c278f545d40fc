"""SIGTERM: every process ends within seconds, and what it held is free at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import until
from production import Site
from proxy import Proxy

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]

SECONDS = 15.0
"""For a machine that is busy with other things, too; leases here last ten minutes."""


def changed(tmp_path: Path, before: str, after: str) -> Path:
    """Write the campaign with another value."""
    text = Path(__file__).with_name("campaign.yaml").read_text()
    assert before in text
    file = tmp_path / "campaign.yaml"
    file.write_text(text.replace(before, after))
    return file


def terminated(site: Site, pid: int) -> int:
    """Ask a process to stop; returns its exit code."""
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    code = site.wait(pid, SECONDS)
    print(f"ended {time.monotonic() - started:.1f} s after SIGTERM")
    return code


def leased(site: Site) -> list[str]:
    return [one["_id"] for one in site.candidates() if one["lease"]]


def worked_on(site: Site) -> list[str]:
    """Return what is leased for longer than a rule needs to reject it."""
    before = leased(site)
    time.sleep(1.0)
    return [name for name in leased(site) if name in before]


@pytest.mark.long
def test_a_worker_gives_back_what_it_holds_and_another_takes_over(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site()  # with leases that no test could wait for
    site.file = changed(tmp_path, "lease_seconds: 4", "lease_seconds: 600")
    site.loop()
    busy = site.worker("evaluate", CHAOS_EVALUATION_SECONDS="60")
    held = until(lambda: worked_on(site), 120)
    (pool,) = site.pool(busy)
    assert terminated(site, busy) == 0, site.log("worker")
    assert not Path(f"/proc/{pool}").exists()
    free = [one for one in site.candidates() if one["_id"] in held]
    fates = {(one["state"], one["lease"], one["attempts"]) for one in free}
    assert fates == {("proposed", None, 0)}  # torn out of its work, and nobody's fault
    site.worker("evaluate")
    until(lambda: all(one["state"] != "proposed" for one in site.candidates()), 60)


def test_the_loop_and_the_launcher_end_and_the_campaign_goes_on_afterwards(
    remote: Site, proxy: Proxy, tmp_path: Path
) -> None:
    site = remote  # which does not wait with DFT until all is screened
    site.file = changed(tmp_path, "min_pool: 100000", "min_pool: 1")
    worker, launcher, loop = site.worker(), site.launcher(CHAOS_DFT_SECONDS="60"), site.loop()
    torn = until(lambda: site.database["launches"].find_one({"state": "RUNNING"}), 120)["fw_id"]
    assert terminated(site, launcher) == 0, site.log("worker")
    assert terminated(site, loop) == 130, site.log("run")
    assert terminated(site, worker) == 0, site.log("worker")
    assert site.record()["state"] == "stopped"
    assert site.record()["leader"] is None
    assert site.left_over() == {}  # no DFT process lives on
    assert site.paid() == []
    launcher, loop = site.launcher(), site.loop()
    completed = {"fw_id": torn, "state": "COMPLETED"}
    until(lambda: site.database["fireworks"].count_documents(completed), 60)
    until(lambda: site.database["calculations"].count_documents({"state": "completed"}), 60)
    assert len(site.paid()) == len(set(site.paid())) > 0
    worker = site.worker()
    until(lambda: site.pool(worker), 60)
    proxy.reset()  # whoever is asked to end does not wait for the database
    ends = [terminated(site, pid) for pid in (loop, launcher, worker)]
    assert ends == [130, 0, 0], site.log("run") + site.log("worker")
