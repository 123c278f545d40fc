"""Logs: the ids of what a line is about, as text or as JSON lines."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.log_context import current_ids, log_context
from agents.stage import Outcome, Stage, work
from db import campaigns, candidates
from db.connection import Session
from db.documents import Candidate
from db.states import State
from discovery.logs import JsonLines, TextFormatter, UnknownLogFormat, log_format


@pytest.fixture
def lines() -> Iterator[Any]:
    """What is logged meanwhile, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


class Screen(Stage):
    """Moves every candidate on; a library says something meanwhile."""

    name = "screen"
    agent = "test"
    takes = State.PROPOSED
    batch = 4
    lease_seconds = 30

    def process(self, leased: Sequence[Candidate]) -> Iterator[Outcome]:
        logging.getLogger("some.library").warning("slow")
        for candidate in leased:
            if candidate.seq:
                yield Outcome(candidate.id, State.EVALUATED)
            else:
                yield Outcome(candidate.id, State.REJECTED, reason="min_distance")


def test_a_stages_lines_say_which_candidate_they_are_about(database: Session, lines: Any) -> None:
    campaigns.create("c", config={}, seed=0)
    first, second = candidates.insert_proposals(
        "c",
        [
            {"generator_version": "g", "codes_hash": name, "codes": {"crystal": [1]}}
            for name in ("a", "b")
        ],
    )
    with log_context(campaign="c", queue="screen"):
        assert work(Screen(), "c", "host/w") == 2
    library, rejected, evaluated = lines()
    assert library["logger"] == "some.library"
    assert library["level"] == "WARNING"
    assert {"campaign": "c", "queue": "screen", "stage": "screen"}.items() <= library.items()
    assert "candidate" not in library
    assert (rejected["candidate"], evaluated["candidate"]) == (first, second)
    assert rejected["message"] == "screen: rejected (min_distance)"
    age = datetime.now(UTC) - datetime.fromisoformat(rejected["time"])
    assert timedelta(0) <= age < timedelta(minutes=5)


def test_ids_end_with_their_block_and_stay_in_their_thread() -> None:
    seen: list[dict[str, str]] = []
    with log_context(campaign="c", candidate=None):
        with log_context(candidate="x"):
            assert current_ids() == {"campaign": "c", "candidate": "x"}
            plain = threading.Thread(target=lambda: seen.append(current_ids()))
            copied = copy_context()
            told = threading.Thread(target=lambda: copied.run(lambda: seen.append(current_ids())))
            for thread in (plain, told):
                thread.start()
                thread.join()
        assert current_ids() == {"campaign": "c"}
    assert current_ids() == {}
    assert seen == [{}, {"campaign": "c", "candidate": "x"}]


@pytest.mark.parametrize("formatter", [TextFormatter, JsonLines])
def test_one_record_is_told_with_its_error(formatter: type[logging.Formatter]) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, "f", 1, "lost %s", ("x",), sys.exc_info())
    with log_context(candidate="c-1"):
        text = formatter().format(record)
    assert "lost x" in text
    assert "ValueError: two" in text
    assert "c-1" in text
    if formatter is JsonLines:
        assert "\n" not in text
        assert json.loads(text)["exception"].endswith("ValueError: two\nlines")


def test_an_unknown_format_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISCOVERY_LOG_FORMAT", "xml")
    with pytest.raises(UnknownLogFormat, match="use text or json"):
        log_format()
    ended = subprocess.run(
        [sys.executable, "-m", "discovery", "worker", "--queue", "relax"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "DISCOVERY_LOG_FORMAT=xml: use text or json" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("secret", ["plain-and-long", 'quo"ted\\word', "pässwörd-é"])
def test_secrets_are_hidden_however_json_writes_them(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("SOME_SECRET", secret)
    record = logging.LogRecord("a", logging.INFO, "f", 1, "it is %s!", (secret,), None)
    assert json.loads(JsonLines().format(record))["message"] == "it is ***!"
