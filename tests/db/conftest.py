"""Fixtures of the record tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from db.candidates import insert_proposals, load, transition
from db.connection import Session
from db.states import FUNNEL, State


def proposal(name: str, **fields: Any) -> dict[str, Any]:
    """Describe a proposal whose codes are named."""
    return {"generator_version": "g1", "codes_hash": name, "codes": {"crystal": [1, 2]}, **fields}


@pytest.fixture
def propose(database: Session) -> Callable[..., list[str]]:
    """Insert so many proposals into campaign "c"."""

    def insert(count: int, campaign: str = "c", **fields: Any) -> list[str]:
        known = database.database["candidates"].count_documents({"campaign": campaign})
        names = [f"codes{known + number}" for number in range(count)]
        return insert_proposals(campaign, [proposal(name, **fields) for name in names])

    return insert


@pytest.fixture
def advance(database: Session) -> Callable[[str, State], None]:
    """Move a candidate along the funnel to a state."""

    def move(candidate_id: str, target: State) -> None:
        found = load(candidate_id)
        here = FUNNEL.index(State(found.state))
        for source, to in zip(FUNNEL[here:], FUNNEL[here + 1 :], strict=False):
            if source is target:
                return
            transition(candidate_id, source=source, to=to, token=found.token, agent="test")

    return move
