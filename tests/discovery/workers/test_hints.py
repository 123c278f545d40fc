"""Hints of a queue that nobody listens to do not fill the broker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from discovery.campaign import hints
from discovery.workers.celery_app import unheard

hints.HINT_SECONDS = 0.0
sent = hints.Hints("c", parallel=3)
assert all(sent.send("relax", workers=2) for _ in range(20))
assert sent.send("screen")
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
