"""What a person sees of a running campaign, in terminals of any size and without one."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import made_up_run
import pytest
from made_up_run import CAMPAIGN
from terminal import record

from db.states import State
from discovery.campaign.config import parse_campaign
from discovery.reports import remaining
from discovery.reports.remaining import Estimate, Remaining, in_words

RUN = str(Path(made_up_run.__file__))


@pytest.mark.parametrize(("columns", "rows"), [(40, 24), (80, 24), (120, 40), (60, 10)])
def test_the_view_fits_the_terminal_and_leaves_a_summary(columns: int, rows: int) -> None:
    wide = {"NO_COLOR": "1"} if columns == 120 else {}
    shown = record(["python", RUN], columns=columns, rows=rows, environment=wide)
    assert shown.code == 0, shown.text
    views = [frame for frame in shown.frames if any("  round " in line for line in frame)]
    assert len(views) >= 3
    for frame in views:
        lines = [line for line in frame if line]
        # A line that wraps leaves a part that begins in no known way.
        known = re.compile(
            r"a-campaign-with|(proposed|evaluated|prescreened|relax|screened|selected|verif)|DFT: |"
            r"waits for |(id +)?formula |a-campaign|K2NaGaAs2|the database is|starting |\d:\d\d, "
        )
        assert all(known.match(line) for line in lines), "\n".join(lines)
        assert sum("round" in line for line in lines) == 1
    bars = [line for frame in views for line in frame if line.startswith("proposed")]
    assert not any(line.endswith("…") for line in bars)
    full = max(views, key=lambda frame: sum(bool(line) for line in frame))
    assert sum("K2NaGaAs2" in line for line in full) == (5 if rows > 20 else 0)
    assert any("minute left" in line for frame in views for line in frame)
    if wide:
        assert not re.search("\x1b\\[[0-9;]*3[0-9]", shown.text)
    assert "\x1b[2J" not in shown.text  # the screen is never emptied: it would flicker
    assert not any("waits for" in line for line in shown.last)
    text = " ".join(shown.last)
    assert "the database is away" in text
    assert "is complete" in text
    assert "discovery show a-campaign-with-a-long-name-000000000000" in "".join(shown.last)
    assert "discovery report" in text
    (header,) = [line for line in shown.last if line.startswith("id ") or line == "id"]
    rows = [line for line in shown.last if re.match(r"a-campaign-with-a-long-name-0{11}\d", line)]
    assert len(rows) == 5
    assert ("E_f DFT" in header) == (columns >= 80)
    assert ("hull pot." in header) == (columns >= 120)


def test_without_a_terminal_lines_are_printed(tmp_path: Path) -> None:
    shown = record(["bash", "-c", f"{sys.executable} {RUN} 2>log >out"], folder=tmp_path)
    assert shown.last == []
    lines = (tmp_path / "log").read_text().splitlines()
    assert 3 <= len(lines) <= 8
    assert lines[0].startswith("[0:00] round 1 of 4: 400 proposed, 200 evaluated")
    assert all("waits for relax: 11" in line for line in lines if line.startswith("["))
    assert "\x1b" not in "".join(lines)
    assert "is complete" in (tmp_path / "out").read_text()


def test_a_dumb_terminal_gets_lines() -> None:
    dumb = record(["python", RUN], environment={"TERM": "dumb"})
    assert "\x1b" not in dumb.text
    assert "round 1 of 4: 400 proposed" in " ".join(dumb.last)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(remaining.time, "monotonic", lambda: self.now)


def at(proposed: int, through: int, **dft: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("submitted", "running", "completed", "failed"), 0)
    hours = {"spent": dft.pop("spent", 0.0), "in_flight": dft.pop("in_flight", 0.0), "limit": None}
    counts = {str(State.REJECTED): through, str(State.RELAXING): proposed - through}
    return {
        **{"candidates": proposed, "counts": counts},
        "dft": {**nothing, **dft, "core_hours": hours},
    }


def test_the_search_is_left_with_what_comes_at_the_rate_of_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    without_dft = CAMPAIGN.replace("backend: gpaw, ", "backend: none, ")
    estimate = Estimate(parse_campaign(without_dft, source="here"))
    assert estimate.remaining(at(0, 0), 0).seconds is None
    clock.now += 10
    assert estimate.remaining(at(100, 10), 1).seconds is None  # too early for a rate
    clock.now += 10
    # Two a second since the beginning; of 4 rounds of 100, 360 are left.
    assert estimate.remaining(at(100, 40), 1) == Remaining(180.0)
    clock.now += 60
    # 110 in 80 s; 4 rounds of 90 by now, 250 are left.
    assert estimate.remaining(at(180, 110), 2).seconds == pytest.approx(250 * 80 / 110)
    clock.now += 500  # what was before the window no longer counts, nor does what is proposed
    assert estimate.remaining(at(400, 400), 4) == Remaining(0.0)


def test_dft_is_left_with_its_estimates_and_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    estimate = Estimate(parse_campaign(CAMPAIGN, source="here"))
    estimate.remaining(at(400, 380), 4)
    clock.now += 20
    # Before the first result only what is in flight is known: 0.1 core-hours on two launchers.
    found = estimate.remaining(at(400, 400, submitted=2, running=2, in_flight=0.1), 4)
    assert found == Remaining(180.0, at_least=True)
    # Four are wanted, two are there, one runs: one more at the mean of 0.05 core-hours.
    dft = {"submitted": 3, "running": 1, "completed": 2, "in_flight": 0.1, "spent": 0.1}
    assert estimate.remaining(at(400, 400, **dft), 4) == Remaining(180.0 + 90.0)


def test_a_time_limit_comes_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    estimate = Estimate(parse_campaign(CAMPAIGN, source="here"), max_minutes=2)
    assert str(estimate.remaining(at(100, 10), 1)) == "stops in 2 min"
    clock.now += 100
    assert str(estimate.remaining(at(100, 30), 1)) == "stops in less than a minute"
    assert estimate.remaining(at(400, 400, submitted=6), 4) == Remaining(0.0)


def test_durations_are_as_coarse_as_an_estimate() -> None:
    seconds = (20, 50, 150, 5000, 20_000, 100_000)
    assert [in_words(one) for one in seconds] == [
        *("less than a minute", "1 min", "2 min", "83 min", "5.6 h", "28 h"),
    ]
