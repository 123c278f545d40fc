"""While a command works: one line on a terminal that disappears, a line now and then elsewhere."""

from __future__ import annotations

import re
import time

import pytest
from terminal import record

from discovery.cli import bars
from discovery.cli.bars import Working, clock, working

WORK = """
import time
from discovery.cli import bars
bars.DELAY, bars.FIRST_ESTIMATE = 0.1, 0.3
with bars.working("loading a potential with a long name") as work:
    time.sleep(0.3)
    work.part("relaxing", total=12, unit="crystals")
    for done in range(1, 13):
        time.sleep(0.25)
        work.at(done)
        if done == 6:
            work.say("a sentence that stays")
print("the result")
"""


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_terminal_shows_one_line_that_disappears(columns: int) -> None:
    shown = record(["python", "-c", WORK], columns=columns)
    working_lines = [line for frame in shown.frames for line in frame if "relaxing" in line]
    assert working_lines
    assert any(re.search(r"\d+ of 12 crystals.*\b0:0\d left", line) for line in working_lines)
    assert all(len(line) <= columns for line in working_lines)
    # Never two at once: a line that wraps would leave its first half behind.
    for frame in shown.frames:
        assert sum("relaxing" in line or "loading" in line for line in frame) <= 1
    assert shown.last == ["a sentence that stays", "the result"]
    assert any("━" in line for line in working_lines) == (columns > 40)


def test_colours_are_left_out_where_nobody_wants_them() -> None:
    shown = record(["python", "-c", WORK], environment={"NO_COLOR": "1"})
    assert not re.search("\x1b\\[[0-9;]*3[0-9]", shown.text)
    assert shown.last == ["a sentence that stays", "the result"]


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_poor_terminals_are_not_filled_with_signs(environment: dict[str, str]) -> None:
    shown = record(["python", "-c", WORK], environment=environment)
    assert shown.text.isascii()
    assert "loading a potential" in shown.text or "relaxing" in shown.text
    if environment.get("TERM") == "dumb":
        assert "\x1b" not in shown.text


def test_elsewhere_a_line_is_printed_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "DELAY", 0.05)
    monkeypatch.setattr(bars, "EVERY", 0.2)
    monkeypatch.setattr(bars, "FIRST_ESTIMATE", 0.1)
    with working("opening the database") as work:
        time.sleep(0.15)
        work.part("counting", total=10, unit="candidates")
        for done in range(1, 11):
            time.sleep(0.05)
            work.at(done)
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert lines[0] == "opening the database, 0:00"
    assert 1 <= len(lines[1:]) <= 4
    assert all(re.match(r"counting, \d+ of 10 candidates, 0:0\d", line) for line in lines[1:])
    assert "\x1b" not in told.err


def test_what_is_over_at_once_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with working("opening the database") as work:
        work.at(1, 2)
    assert capsys.readouterr().err == ""


def test_the_time_that_is_left_is_that_of_the_rate_since_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(bars.time, "monotonic", lambda: now)
    work = Working("fetching")
    work.part("fetching", total=1000, unit="MB")
    work.at(600)  # there before: says nothing about the rate
    now = 1010.0
    work.at(700)
    assert work.line() == "fetching, 700.0 of 1,000.0 MB, 0:10, about 0:30 left"
    work.at(1000)
    assert work.line() == "fetching, 1,000.0 of 1,000.0 MB, 0:10"


def test_durations() -> None:
    assert [clock(one) for one in (0.4, 59.6, 61, 3600, 36_065)] == [
        *("0:00", "1:00", "1:01", "1:00:00", "10:01:05"),
    ]
