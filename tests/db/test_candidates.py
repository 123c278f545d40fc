"""Proposals and transitions of candidates."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from db import candidates, events
from db.candidates import IllegalTransition, StaleLease, UnknownCandidate
from db.connection import Session
from db.counters import reserve
from db.documents import Candidate, UnguardedWrite
from db.states import State

STRAIGHT = [
    ("proposed", "evaluated"),
    ("evaluated", "prescreened"),
    ("prescreened", "relaxing"),
    ("relaxing", "relaxed"),
    ("relaxed", "screened"),
    ("screened", "selected"),
    ("selected", "verifying"),
    ("verifying", "verified"),
]
LEGAL = {
    *STRAIGHT,
    ("screened", "screened"),  # a result is added
    ("verified", "verified"),
    ("failed", "verifying"),  # a person has a calculation run again
    *((source, end) for source, _ in STRAIGHT for end in ("rejected", "failed")),
}


def proposal(name: str, **fields: Any) -> dict[str, Any]:
    return {"generator_version": "g1", "codes_hash": name, "codes": {"crystal": [1]}, **fields}


def raw(database: Session, name: str) -> dict[str, Any]:
    found = database.database["candidates"].find_one({"_id": name})
    assert found is not None
    return found


def to_evaluated(name: str, **options: Any) -> None:
    candidates.transition(
        name,
        **{
            "source": State.PROPOSED,
            "to": State.EVALUATED,
            "token": 0,
            "agent": "relax",
            **options,
        },
    )


def test_proposals_exist_once_and_ids_come_in_the_order_given(database: Session) -> None:
    first = candidates.insert_proposals("c", [proposal("a"), proposal("b")])
    second = candidates.insert_proposals("c", [proposal("c"), proposal("b"), proposal("c")])
    assert second == [second[0], first[1], second[0]]
    assert [candidates.load(name).seq for name in (*first, second[0])] == [0, 1, 2]
    other = candidates.insert_proposals("d", [proposal("a")])
    newer = candidates.insert_proposals("c", [proposal("a", generator_version="g2")])
    assert len({*first, *second, *other, *newer}) == 5
    assert candidates.counts("c")["proposed"] == 4


def test_processes_that_propose_the_same_at_once_make_no_doubles(database: Session) -> None:
    script = (
        "import sys\nfrom db.connection import connect_worker\nfrom db import candidates\n"
        "s = connect_worker(sys.argv[1], sys.argv[2])\nprint('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for n in range(30):\n"
        "    print(*candidates.insert_proposals('c', [dict(generator_version='g',"
        " codes_hash=str(k), codes={'a': [k]}) for k in range(n, n + 5)]))\n"
    )
    arguments = [sys.executable, "-c", script, database.uri, database.database_name]
    workers = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    outputs = [worker.communicate("go\n")[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert outputs[0] == outputs[1]
    stored = list(database.database["candidates"].find({}, {"seq": 1}))
    assert len(stored) == 34
    assert len({found["seq"] for found in stored}) == 34


def test_an_interrupted_insertion_is_completed_by_repeating_it(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [proposal(name) for name in "abc"]
    candidates.insert_proposals("c", wanted[:1])
    reserve("seq/c", 3)  # a crash after the numbers were taken
    ids = candidates.insert_proposals("c", wanted)
    assert len(set(ids)) == 3
    numbers = [candidates.load(name).seq for name in ids]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"generator_version": "g", "codes_hash": "x"},
        {"generator_version": "", "codes_hash": "x", "codes": {"a": 1}},
        proposal("x", state="verified"),
        proposal("x", codes={"a": float("nan")}),
    ],
)
def test_a_wrong_proposal_writes_nothing(database: Session, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="proposal"):
        candidates.insert_proposals("c", [proposal("a"), wrong])
    assert sum(candidates.counts("c").values()) == 0


def test_only_the_designed_transitions_are_legal(
    propose: Callable[..., list[str]], database: Session
) -> None:
    (name,) = propose(1)
    before = raw(database, name)
    for source, to in itertools.product(State, State):
        if (source.value, to.value) in LEGAL:
            with pytest.raises(StaleLease):  # legal, but this candidate has another token
                candidates.transition(
                    name, source=source, to=to, token=99, agent="test", reason="why"
                )
        else:
            with pytest.raises(IllegalTransition, match=f"{source.value} cannot become"):
                candidates.transition(
                    name, source=source, to=to, token=0, agent="test", reason="why"
                )
    assert raw(database, name) == before


def test_transition_stores_everything_in_one_document(
    propose: Callable[..., list[str]], database: Session
) -> None:
    (name,) = propose(1)
    before = datetime.now(UTC) - timedelta(seconds=5)
    leased = candidates.lease("c", State.PROPOSED, "worker", 1, 60)[0]
    to_evaluated(
        name,
        token=leased.token,
        updates={
            "evaluation": {"energy": np.float64(-1.5), "note": "$state", "$$NOW".strip("$"): 1},
            "screening.prescreen": {"volume": np.array([1.0, 2.0])},
        },
        predictions=[{"property": "band_gap", "model": "head", "value": 1.0}],
        inputs={"hash": "abc"},
    )
    found = raw(database, name)
    assert found["state"] == "evaluated"
    assert found["evaluation"] == {"energy": -1.5, "note": "$state", "NOW": 1}
    assert found["screening"] == {"prescreen": {"volume": [1.0, 2.0]}}
    assert found["predictions"] == [{"property": "band_gap", "model": "head", "value": 1.0}]
    assert found["lease"] is None
    assert found["attempts"] == 0
    first, second = found["history"]
    assert (first["from"], first["to"]) == (None, "proposed")
    assert {key: second[key] for key in ("from", "to", "agent", "token", "inputs")} == {
        "from": "proposed",
        "to": "evaluated",
        "agent": "relax",
        "token": 1,
        "inputs": {"hash": "abc"},
    }
    assert second["code_version"].startswith("0.1.0")
    assert before < second["at"] < before + timedelta(minutes=1)


def test_rejection_keeps_its_reason_and_numbers(
    propose: Callable[..., list[str]], database: Session
) -> None:
    rejected, failed = propose(2)
    with pytest.raises(ValueError, match="without a reason"):
        to_evaluated(rejected, to=State.REJECTED)
    to_evaluated(rejected, to=State.REJECTED, reason="volume", detail={"ratio": 9.0})
    to_evaluated(failed, to=State.FAILED, reason="CUDA out of memory")
    assert raw(database, rejected)["rejection"] == {
        "reason": "volume",
        "detail": {"ratio": 9.0},
        "stage": "relax",
    }
    assert raw(database, failed)["error"] == "CUDA out of memory"
    assert candidates.rejections("c") == {"volume": 1}


def test_a_second_write_with_the_same_token_is_refused_and_recorded(
    propose: Callable[..., list[str]], database: Session
) -> None:
    (name,) = propose(1)
    to_evaluated(name)
    before = raw(database, name)
    with pytest.raises(StaleLease, match="is evaluated with token 0") as caught:
        to_evaluated(name, updates={"evaluation": {"energy": 7.0}})
    assert caught.value.candidate_id == name
    assert raw(database, name) == before
    (event,) = database.database["events"].find({"kind": "stale_write_refused"})
    assert event["data"]["candidate"] == name
    assert event["data"]["expected"] == {"state": "proposed", "token": 0}
    assert event["data"]["found"] == {"state": "evaluated", "token": 0}
    with pytest.raises(UnknownCandidate, match="no-such"):
        to_evaluated("no-such")


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ({"evaluation": {"energy": float("nan")}}, r"evaluation\.energy is nan"),
        ({"evaluation.energy": float("-inf")}, r"evaluation\.energy is -inf"),
        ({"evaluation": {"when": object()}}, r"evaluation\.when is a object"),
        ({"evaluation": {1: 2}}, "keys must be strings"),
        ({"evaluation": {"$set": 2}}, r"\$set"),
        ({"evaluation.0": 1}, "not a path of names"),
        ({"state": "verified"}, "state is not a result field"),
        ({"lease": None}, "lease is not a result field"),
        ({"history": []}, "history is not a result field"),
    ],
)
def test_values_that_are_no_results_are_refused(
    propose: Callable[..., list[str]], database: Session, updates: dict[str, Any], message: str
) -> None:
    (name,) = propose(1)
    before = raw(database, name)
    with pytest.raises(ValueError, match=message):
        to_evaluated(name, updates=updates)
    with pytest.raises(ValueError, match=message):
        candidates.set_fields(name, state=State.PROPOSED, token=0, updates=updates)
    with pytest.raises(ValueError, match=r"predictions.*nan"):
        to_evaluated(name, predictions=[{"value": float("nan")}])
    assert raw(database, name) == before


def test_annotation_needs_the_same_state_and_token(
    propose: Callable[..., list[str]], database: Session
) -> None:
    (name,) = propose(1)
    candidates.set_fields(
        name, state=State.PROPOSED, token=0, updates={"selection": {"score": 1.0}}
    )
    assert raw(database, name)["selection"] == {"score": 1.0}
    assert raw(database, name)["state"] == "proposed"
    with pytest.raises(StaleLease):
        candidates.set_fields(name, state=State.PROPOSED, token=1, updates={"selection": {}})
    assert raw(database, name)["selection"] == {"score": 1.0}


def test_documents_cannot_be_written_around_the_guard(propose: Callable[..., list[str]]) -> None:
    (name,) = propose(1)
    candidate = candidates.load(name)
    candidate.state = "verified"
    attempts: list[Callable[[], object]] = [
        candidate.save,
        candidate.delete,
        lambda: candidate.update(state="verified"),
        lambda: candidate.modify(state="verified"),
        lambda: Candidate.objects(id=name).update(state="verified"),
        lambda: Candidate.objects(id=name).update_one(state="verified"),
        lambda: Candidate.objects(id=name).modify(state="verified"),
        lambda: Candidate.objects(id=name).delete(),
        lambda: Candidate.objects.insert(Candidate(id="x")),
        lambda: Candidate.objects.create(id="x"),
    ]
    for attempt in attempts:
        with pytest.raises(UnguardedWrite):
            attempt()
    assert candidates.load(name).state == "proposed"
    assert sum(candidates.counts("c").values()) == 1


def test_summaries_add_up(
    propose: Callable[..., list[str]], advance: Callable[[str, State], None]
) -> None:
    a, b, c, _ = propose(3, proposer="genetic") + propose(1, proposer="tpe")
    propose(5, campaign="other")
    advance(a, State.RELAXED)
    advance(b, State.EVALUATED)
    candidates.transition(
        b, source=State.EVALUATED, to=State.REJECTED, token=0, agent="screen", reason="smact"
    )
    to_evaluated(c, to=State.REJECTED, reason="smact")
    counts = candidates.counts("c")
    assert {state: count for state, count in counts.items() if count} == {
        "proposed": 1,
        "relaxed": 1,
        "rejected": 2,
    }
    assert list(counts) == [state.value for state in State]
    assert candidates.rejections("c") == {"smact": 2}
    assert candidates.count_by("c", "proposer") == {"genetic": 3, "tpe": 1}
    reached = candidates.reached("c")
    assert reached["proposed"] == 4
    assert reached["evaluated"] == 2
    assert reached["relaxed"] == 1
    assert reached["screened"] == 0


def test_events_are_the_histories_and_the_campaigns_own_in_time_order(
    propose: Callable[..., list[str]],
) -> None:
    (name,) = propose(1)
    time.sleep(0.01)  # times have milliseconds
    events.record("c", "generation_asked", agent="propose", data={"generation": 0})
    time.sleep(0.01)
    to_evaluated(name)
    time.sleep(0.01)
    events.record("c", "model_promoted")
    events.record("other", "model_promoted")
    happened = events.events("c")
    assert [(event["kind"], event.get("to")) for event in happened] == [
        ("transition", "proposed"),
        ("generation_asked", None),
        ("transition", "evaluated"),
        ("model_promoted", None),
    ]
    times = [event["at"] for event in happened]
    assert times == sorted(times)
    assert happened[2]["candidate"] == name
    assert [event["kind"] for event in events.events("c", limit=1)] == ["model_promoted"]
    assert len(events.events("c", since=times[2])) == 2
