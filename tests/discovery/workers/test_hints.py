"""Hints of a queue that nobody listens to do not fill the broker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from discovery.campaign import loop
from discovery.workers.celery_app import unheard
from discovery.campaign.loop import CampaignLoop, Tick

loop.HINT_SECONDS = 0.0
leader = CampaignLoop.__new__(CampaignLoop)
leader.name, leader.parallel, leader._hinted = "c", 3, {}
for _ in range(20):
    leader._hint(Tick(), "relax", workers=2)
leader._hint(Tick(), "screen", workers=1)
print(unheard("relax"), unheard("screen"), unheard("learn"))
"""


def test_they_stop_when_there_is_one_for_every_worker(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "DISCOVERY_BROKER"}
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, "DISCOVERY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["3", "1", "0"]
    assert len(list((tmp_path / "broker" / "messages").glob("*.relax.msg"))) == 3
