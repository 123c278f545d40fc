"""One campaign that lives through every fault at its precise moment, and ends as if none had been.

The faults are in the order in which a campaign comes to their moments.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest
from cluster import Cluster, alive, children, frozen, until
from crew import Crew
from history import read, report
from moments import (
    answered,
    caught,
    computing,
    leased,
    proposed_but_not_dispatched,
    training,
)
from outcome import Outcome, Row, difference, judged, outcome

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SLOW = {"CHAOS_EVALUATION_SECONDS": "0.02", "CHAOS_DFT_SECONDS": "0.6"}


class Site(Crew):
    """A campaign under attack; each attack returns how long the recovery took (s)."""

    def kill_loop_between_proposal_and_dispatch(self) -> float:
        """The next loop dispatches what this one proposed."""
        _, found = caught(proposed_but_not_dispatched(self.cluster, self.loop))
        started = self.replace_loop()
        names = list(found[2])
        sent = {"relaxing", "relaxed", "screened", "selected", "verifying", "verified"}
        until(lambda: any(self._state(name) in sent for name in names), 60)
        return time.monotonic() - started

    def kill_worker_in_mid_relaxation(self) -> float:
        """Another process relaxes the crystal again."""
        return self._kill_holder("relaxing")

    def kill_worker_in_mid_screen(self) -> float:
        """Another process screens the crystal again."""
        return self._kill_holder("relaxed")

    def stop_worker_beyond_its_lease(self) -> float:
        """Another one does its work; its own late result is refused, and recorded."""
        pid, (name, token) = caught(leased(self.cluster, "relaxing"))
        started = time.monotonic()
        until(lambda: self._state(name) != "relaxing", 60)
        took = time.monotonic() - started
        assert self._token(name) > token
        os.kill(pid, signal.SIGCONT)

        def refused() -> bool:
            events = self.cluster.events("stale_write_refused")
            expected = [e["data"]["expected"] for e in events if e["data"]["candidate"] == name]
            return {"state": "relaxing", "token": token} in expected

        until(refused, 60)
        assert alive(pid)
        return took

    def deliver_messages_twice_and_wipe_the_broker(self) -> float:
        """A message is a hint: neither its copy nor its loss changes anything."""
        folder = self.cluster.home / "broker" / "messages"
        with frozen(self.worker, *children(self.worker)):
            messages = until(lambda: list(folder.glob("*.msg")), 30)
            for number, message in enumerate(messages):
                shutil.copy(message, message.with_name(f"{number}_copy_{message.name}"))
        before = self.cluster.progress()
        until(lambda: self.cluster.progress() > before, 60)
        with frozen(self.worker, *children(self.worker)):
            until(lambda: list(folder.glob("*.msg")), 30)
            for message in folder.glob("*.msg"):
                message.unlink()
        started, before = time.monotonic(), self.cluster.progress()
        until(lambda: self.cluster.progress() > before, 60)
        return time.monotonic() - started

    def start_a_second_loop_then_kill_the_leader(self) -> float:
        """The second says who leads, and ends; a third takes over from the dead leader."""
        led = self.cluster.record()["token"]
        second = self.cluster.loop("--json")
        assert self.cluster.wait(second, 60) == 1
        assert "is led by" in self.cluster.log("run")
        started = self.replace_loop()
        until(lambda: self.cluster.record()["token"] > led, 60)
        return time.monotonic() - started

    def kill_launcher_with_its_dft(self) -> float:
        """Nothing of the calculation goes on; it is run once more, and once only."""
        launcher, fw_id = caught(computing(self.cluster, self.launcher))
        own = {self.worker, self.loop}
        self.cluster.kill(launcher)
        until(lambda: not self._running_dft(), 5)
        assert self._outside(own) == {}
        started = time.monotonic()
        self.launcher = self.cluster.launcher()
        done = {"fw_id": fw_id, "state": "COMPLETED"}
        until(lambda: self.cluster.database["fireworks"].count_documents(done), 60)
        return time.monotonic() - started

    def kill_launcher_between_result_and_commit(self) -> float:
        """The answer on the disk is taken over: it is not computed again."""
        launches, home = self.cluster.database["launches"], self.cluster.home
        _, fw_id = caught(computing(self.cluster, self.launcher))
        launch = launches.find_one({"fw_id": fw_id, "state": "RUNNING"})
        before = set(answered(home))
        with self.cluster.held("launches", launch["_id"]):
            os.kill(self.launcher, signal.SIGCONT)
            (answer,) = until(lambda: set(answered(home)) - before, 60)
            until(lambda: not self._running_dft(), 30)
            self.cluster.kill(self.launcher)
        assert self._firework(fw_id)["state"] == "RUNNING"
        assert not launches.find_one({"_id": launch["_id"]}).get("action")
        started = time.monotonic()
        self.launcher = self.cluster.launcher()
        until(lambda: self._firework(fw_id)["state"] == "COMPLETED", 60)
        took = time.monotonic() - started
        told = launches.find_one({"fw_id": fw_id, "state": "COMPLETED"})["action"]["stored_data"]
        assert told["attempts"][-1]["folder"] == str(answer.parent)
        return took

    def kill_loop_between_dft_result_and_commit(self) -> float:
        """The next loop collects the result."""
        database = self.cluster.database
        calculation = until(lambda: database["calculations"].find_one({"state": "submitted"}), 60)
        name = calculation["_id"]
        with self.cluster.held("calculations", name):
            done = {"spec.hash": name, "state": "COMPLETED"}
            until(lambda: database["fireworks"].count_documents(done), 30)
            time.sleep(1.0)  # by now the loop has seen it, and waits to write it down
            self.cluster.kill(self.loop)
            assert database["calculations"].find_one({"_id": name})["state"] == "submitted"
        assert database["calculations"].find_one({"_id": name})["state"] == "submitted"
        started = time.monotonic()
        self.loop = self.cluster.loop("--json")
        completed = {"_id": name, "state": "completed"}
        until(lambda: database["calculations"].count_documents(completed), 60)
        return time.monotonic() - started

    def kill_worker_during_fine_tuning(self) -> float:
        """Another process learns."""
        pid, _ = caught(training(self.cluster))
        self.cluster.kill(pid)
        started = time.monotonic()
        until(lambda: self.cluster.events("learning"), 120)
        return time.monotonic() - started

    def _kill_holder(self, state: str) -> float:
        pid, (name, token) = caught(leased(self.cluster, state))
        self.cluster.kill(pid)
        started = time.monotonic()
        until(lambda: self._state(name) != state, 60)
        assert self._token(name) > token
        return time.monotonic() - started

    def _state(self, name: str) -> str:
        return str(self.cluster.candidates(_id=name)[0]["state"])

    def _token(self, name: str) -> int:
        return int(self.cluster.candidates(_id=name)[0]["token"])

    def _firework(self, fw_id: int) -> dict[str, object]:
        found = self.cluster.database["fireworks"].find_one({"fw_id": fw_id})
        assert found is not None
        return found

    def _running_dft(self) -> list[int]:
        return [
            pid
            for pid, command in self.cluster.left_over().items()
            if "chaos_dft" in command or command.startswith("sleep")
        ]

    def _outside(self, own: set[int]) -> dict[int, str]:
        """Find processes that are neither one of these nor below one of them."""
        known = set(own)
        frontier = set(own)
        while frontier:
            frontier = {child for pid in frontier for child in children(pid)} - known
            known |= frontier
        return {pid: text for pid, text in self.cluster.left_over().items() if pid not in known}


FAULTS: tuple[tuple[str, Callable[[Site], float]], ...] = (
    (
        "loop killed between proposal and dispatch",
        Site.kill_loop_between_proposal_and_dispatch,
    ),
    ("worker killed in mid-relaxation", Site.kill_worker_in_mid_relaxation),
    ("worker stopped beyond its lease", Site.stop_worker_beyond_its_lease),
    ("worker killed in mid-screen", Site.kill_worker_in_mid_screen),
    (
        "messages twice, then the broker wiped",
        Site.deliver_messages_twice_and_wipe_the_broker,
    ),
    (
        "second loop started, then the leader killed",
        Site.start_a_second_loop_then_kill_the_leader,
    ),
    ("launcher killed with its DFT", Site.kill_launcher_with_its_dft),
    (
        "launcher killed between DFT result and commit",
        Site.kill_launcher_between_result_and_commit,
    ),
    (
        "loop killed between DFT result and commit",
        Site.kill_loop_between_dft_result_and_commit,
    ),
    ("worker killed during fine-tuning", Site.kill_worker_during_fine_tuning),
)


def test_faults_at_precise_moments_change_nothing(
    found: Callable[..., Cluster], undisturbed: Callable[[], Outcome], row: Callable[[str], Row]
) -> None:
    site = Site(found(**SLOW))
    cluster = site.cluster
    rows = []
    for fault, inject in FAULTS:
        rows.append(row(fault))
        rows[-1].injected(inject(site))
    assert cluster.wait(site.loop, 180) == 0, cluster.log("run")

    cluster.at_rest()
    records = read(cluster.database, cluster.campaign)
    broken = judged(cluster, records, cluster.status())
    paid = Counter(cluster.paid())
    for one in rows:
        one.count(broken, paid)
    assert not broken, report(broken)
    assert max(paid.values()) == 1
    assert not difference(outcome(records), undisturbed())
    site.retire()
