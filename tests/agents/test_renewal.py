"""What a process holds is renewed while it works, and soon again after an attempt that failed."""

from __future__ import annotations

import threading

import pytest
from pymongo.errors import AutoReconnect

from agents import renewal
from agents.renewal import renewing


def test_after_a_failure_it_is_tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "AGAIN_SECONDS", 0.05)
    calls, second = [], threading.Event()

    def renew() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise AutoReconnect("away")
        second.set()

    with renewing("lease", renew, 1.5):
        assert second.wait(5)
    assert len(calls) >= 2
