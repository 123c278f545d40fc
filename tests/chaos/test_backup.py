"""A backup of a running campaign, restored elsewhere, comes to the end that the campaign had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bson import json_util
from cluster import Cluster, until
from crew import Crew
from history import read, report
from outcome import Outcome, difference, judged, outcome

from discovery.archive.reading import open_archive

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(1500)]

SLOW = {"CHAOS_EVALUATION_SECONDS": "0.02", "CHAOS_DFT_SECONDS": "0.6"}


def relaxing(cluster: Cluster) -> bool:
    """Workers hold candidates of the first round."""
    return bool(cluster.candidates(state="relaxing", **{"lease.owner": {"$type": "string"}}))


def verifying(cluster: Cluster) -> bool:
    """Some calculations are done and others are not."""
    calculations = cluster.database["calculations"]
    done = calculations.count_documents({"state": "completed"})
    return bool(done and calculations.count_documents({"state": "submitted"}))


@pytest.mark.parametrize("moment", [relaxing, verifying], ids=lambda m: m.__name__)
def test_what_is_restored_continues_to_the_same_end(
    moment: Callable[[Cluster], bool],
    found: Callable[..., Cluster],
    undisturbed: Callable[[], Outcome],
    tmp_path: Path,
) -> None:
    source = found(**SLOW)
    Crew(source)
    until(lambda: moment(source), 400)
    path = tmp_path / "chaos.zip"
    taken = source.command("backup", "chaos", "--out", str(path), "--db", source.uri)
    assert source.wait(taken, 60) == 0, source.log("backup")
    assert source.record()["state"] == "running"
    source.stop()

    copy = found(**SLOW)
    put_back = copy.command("restore", str(path), "--db", copy.uri)
    assert copy.wait(put_back, 60) == 0, copy.log("restore")
    completed = {one["_id"]: one for one in records(path, "calculations") if done(one)}
    assert copy.record()["state"] == "stopped"
    assert not copy.candidates(**{"lease.owner": {"$type": "string"}})

    crew = Crew(copy)
    assert copy.wait(crew.loop, 600) == 0, copy.log("run")
    copy.at_rest()
    after = read(copy.database, "chaos")
    assert not difference(outcome(after), undisturbed())
    violations = judged(copy, after, copy.status())
    assert not violations, report(violations)
    paid_again = copy.database["fireworks"].count_documents(
        {"spec.hash": {"$in": sorted(completed)}}
    )
    assert paid_again == 0
    for one in after.calculations:
        if one["_id"] in completed:
            assert one["result"] == completed[one["_id"]]["result"]
            assert one["attempts"] == completed[one["_id"]]["attempts"]
    if moment is verifying:
        assert completed
        assert len(completed) < len(after.calculations)


def records(path: Path, collection: str) -> list[dict[str, Any]]:
    with open_archive(path, format="discovery-backup") as archive:
        lines = archive.lines(f"records/{collection}.jsonl")
        return [json_util.loads(line) for line in lines]


def done(calculation: dict[str, Any]) -> bool:
    return bool(calculation["state"] == "completed")
