"""`discovery run` and `status` of a real campaign, as a narrow terminal shows them."""

from __future__ import annotations

import json
import sys

import pytest
from terminal import record
from workplace import Workplace

WIDTH = 40


@pytest.mark.campaign
def test_a_campaign_that_is_over_is_summed_up_in_a_narrow_terminal(finished: Workplace) -> None:
    command = [sys.executable, "-m", "discovery", "run", "--campaign", str(finished.campaign)]
    shown = record(
        command, folder=finished.folder, environment=finished.environment(), columns=WIDTH
    )
    assert shown.code == 0
    text = " ".join(" ".join(shown.last).split())
    assert "campaign tiny is already complete" in text
    assert "tiny is complete" in text
    assert "starting tiny" not in text  # the view is gone
    assert "discovery query tiny --status" in text
    # Sentences break between words: one that was cut would be two here.
    words = "proposed evaluated prescreened relaxed screened selected verified submitted completed"
    for word in (*words.split(), "elemental references", "core-hours", "Rejected:"):
        assert word in text


@pytest.mark.campaign
def test_a_terminal_and_a_file_get_what_is_for_them(finished: Workplace) -> None:
    command = f"{sys.executable} -m discovery status tiny --json > status.json"
    shown = record(
        ["bash", "-c", command],
        folder=finished.folder,
        environment=finished.environment(),
        columns=WIDTH,
    )
    assert shown.code == 0
    assert shown.last == []
    assert json.loads((finished.folder / "status.json").read_text())["campaign"] == "tiny"
