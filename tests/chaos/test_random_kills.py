"""SIGKILL at random: whoever dies when, the same candidates end in the same states and numbers.

The schedule has a fixed seed: who is killed next, and after what pause. One kill is left out: that
of a process which holds a candidate whose last two workers died too. Three deaths are how the
product tells a crystal that kills its worker from bad luck (`db.leases.MAX_ATTEMPTS`), and then
gives it up.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from cluster import Cluster, alive, frozen
from crew import Crew
from history import read, report
from moments import process_of
from outcome import Outcome, Row, difference, judged, outcome

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

SLOW = {"CHAOS_EVALUATION_SECONDS": "0.01", "CHAOS_DFT_SECONDS": "0.4"}
PARTS = ("pool", "pool", "loop", "worker", "launcher")
PAUSES = (0.3, 1.6)
PATIENCE = 240.0
"""How long the campaign may take after the last kill, s."""


@dataclass
class Schedule:
    """Who is killed when.

    Attributes:
        crew: The campaign's processes.
        draw: Source of the schedule.
        rows: The table's line for each part.
        spared: Kills that were left out.
    """

    crew: Crew
    draw: random.Random
    rows: dict[str, Row]
    spared: int = 0
    waiting: list[tuple[Row, float, int]] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Kills so far, those of the campaigns before included."""
        return sum(row.times for row in self.rows.values()) + len(self.waiting)

    def strike(self) -> None:
        """Wait for a while, and kill one process."""
        self.watch(self.draw.uniform(*PAUSES))
        part, place = self.draw.choice(PARTS), self.draw.random()
        crew = self.crew
        pool = crew.pool
        if part == "pool" and not pool:
            return
        victim = pool[int(place * len(pool))] if part == "pool" else getattr(crew, part)
        with frozen(victim, *(pool if part == "worker" else ())):
            if self._would_be_blamed({victim, *pool} if part == "worker" else {victim}):
                self.spared += 1
                return
            before = crew.cluster.progress()
            if part == "pool":
                died = crew.kill_pool_process(victim)
            else:
                died = getattr(crew, f"replace_{part}")()
        self.waiting.append((self.rows[part], died, before))

    def watch(self, seconds: float) -> None:
        """Look for progress after the kills so far, until the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            progress = self.crew.cluster.progress()
            for row, died, before in [one for one in self.waiting if progress > one[2]]:
                row.injected(time.monotonic() - died)
                self.waiting.remove((row, died, before))
            time.sleep(0.05)

    def over(self) -> bool:
        """Say whether the campaign is complete."""
        return bool(self.crew.cluster.record().get("state") == "complete")

    def _would_be_blamed(self, pids: set[int]) -> bool:
        held = self.crew.cluster.candidates(
            **{"lease.owner": {"$type": "string"}, "attempts": {"$gte": 2}}
        )
        return any(process_of(one["lease"]["owner"]) in pids for one in held)


def campaign_under_fire(
    cluster: Cluster, seed: int, kills: int, rows: dict[str, Row], expected: Callable[[], Outcome]
) -> int:
    """Run one campaign, kill so many of its processes, and judge how it ends.

    Returns:
        The number of kills; fewer than asked for when the campaign was over before.
    """
    schedule = Schedule(Crew(cluster), random.Random(seed), rows)
    before = schedule.kills  # in other campaigns
    while schedule.kills - before < kills and not schedule.over():
        schedule.strike()
    end = time.monotonic() + PATIENCE
    while not schedule.over():
        schedule.watch(0.2)
        assert time.monotonic() < end, f"{cluster.log('run')}\n{cluster.log('worker')}"
        assert alive(schedule.crew.loop) or schedule.over(), cluster.log("run")
    done = schedule.kills - before
    for row, died, _ in schedule.waiting:  # nothing was left to do after them
        row.injected(time.monotonic() - died)
    assert cluster.wait(schedule.crew.loop, 30) == 0, cluster.log("run")
    cluster.at_rest()
    records = read(cluster.database, cluster.campaign)
    broken, paid = judged(cluster, records, cluster.status()), Counter(cluster.paid())
    for row in rows.values():
        row.count(broken, paid)
    assert not broken, report(broken)
    assert max(paid.values()) == 1
    assert not difference(outcome(records), expected())
    schedule.crew.retire()
    return done


def kill_at_random(
    found: Callable[..., Cluster],
    undisturbed: Callable[[], Outcome],
    row: Callable[[str], Row],
    seed: int,
    kills: int,
) -> int:
    rows = {part: row(f"random SIGKILL of {part}") for part in dict.fromkeys(PARTS)}
    done = 0
    while done < kills:
        cluster = found(**SLOW)
        done += campaign_under_fire(cluster, seed, kills - done, rows, undisturbed)
        seed += 1
    return done


def test_fifteen_random_kills_change_nothing(
    found: Callable[..., Cluster], undisturbed: Callable[[], Outcome], row: Callable[[str], Row]
) -> None:
    assert kill_at_random(found, undisturbed, row, seed=15, kills=15) >= 15


@pytest.mark.long
def test_a_hundred_random_kills_change_nothing(
    found: Callable[..., Cluster], undisturbed: Callable[[], Outcome], row: Callable[[str], Row]
) -> None:
    assert kill_at_random(found, undisturbed, row, seed=100, kills=100) >= 100
