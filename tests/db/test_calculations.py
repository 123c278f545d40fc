"""Calculations are paid for once; generations are recorded once."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from db import calculations, generations
from db.calculations import UnknownCalculation
from db.connection import Session

CLAIMER = """
import sys
from db import calculations
from db.connection import connect_worker
session = connect_worker(sys.argv[1], sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
spec = dict(kind="compound", code="gpaw", version="1", settings={}, structure={}, formula="NaCl")
for number in range(50):
    print(int(calculations.claim({"hash": str(number), **spec})[1]))
"""


def spec(name: str = "h", **fields: Any) -> dict[str, Any]:
    return {
        "hash": name,
        "kind": "compound",
        "code": "gpaw",
        "version": "26.7.0",
        "settings": {"cutoff": 400},
        "structure": {"species": ["Na", "Cl"]},
        "formula": "NaCl",
        **fields,
    }


def test_exactly_one_of_two_processes_claims_each_calculation(database: Session) -> None:
    arguments = [sys.executable, "-c", CLAIMER, database.uri, database.database_name]
    claimers = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for claimer in claimers:
        assert claimer.stdout is not None
        assert claimer.stdout.readline() == "ready\n"
    first, second = (claimer.communicate("go\n")[0].split() for claimer in claimers)
    assert [int(a) + int(b) for a, b in zip(first, second, strict=True)] == [1] * 50
    assert len(calculations.find(state="submitting")) == 50


def test_a_claimed_calculation_keeps_its_first_record(database: Session) -> None:
    found, created = calculations.claim(spec(settings={"$x"[1:]: "$state"}, control=True))
    assert created is True
    assert (found.state, found.control, found.settings) == ("submitting", True, {"x": "$state"})
    assert found.created_at is not None
    again, created = calculations.claim(spec(settings={"other": 1}))
    assert created is False
    assert again.to_mongo() == found.to_mongo()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "molecule"},
        {"state": "completed"},
        {"settings": {"cutoff": float("nan")}},
    ],
)
def test_a_wrong_calculation_is_refused(database: Session, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"molecule|state|nan"):
        calculations.claim(spec(**wrong))
    assert calculations.find() == []


def test_calculations_advance_once_and_only_forwards(database: Session) -> None:
    calculations.claim(spec())
    assert calculations.advance("h", "submitting", "submitted", fw_id=3) is True
    assert calculations.advance("h", "submitting", "submitted", fw_id=4) is False
    assert calculations.load("h").fw_id == 3
    assert calculations.load("h").completed_at is None
    assert calculations.advance("h", "submitted", "submitted", info={"note": 1}) is True
    assert calculations.advance("h", "submitted", "completed", result={"energy": -3.0}) is True
    done = calculations.load("h")
    assert (done.state, done.result, done.info) == ("completed", {"energy": -3.0}, {"note": 1})
    assert done.completed_at >= done.created_at
    with pytest.raises(ValueError, match="completed calculation cannot become"):
        calculations.advance("h", "completed", "submitting")
    with pytest.raises(ValueError, match="cannot be set"):
        calculations.advance("h", "submitted", "completed", settings={})
    with pytest.raises(UnknownCalculation):
        calculations.advance("no-such", "submitting", "failed", error="lost")


def test_calculations_are_found_by_formula_and_candidate(database: Session) -> None:
    calculations.claim(spec("a", candidates=["c-1"]))
    calculations.claim(spec("b", formula="KCl"))
    calculations.claim(spec("r", kind="reference", formula="Na"))
    calculations.link_candidate("b", "c-1")
    calculations.link_candidate("b", "c-1")
    assert calculations.load("b").candidates == ["c-1"]
    assert [found.hash for found in calculations.find(candidate="c-1")] == ["a", "b"]
    assert [found.hash for found in calculations.find(kind="compound", formula="KCl")] == ["b"]
    with pytest.raises(UnknownCalculation):
        calculations.link_candidate("no-such", "c-1")


def test_the_first_record_of_a_generation_stands(database: Session) -> None:
    def record(episode: int, generation: int, ids: list[str]) -> list[str]:
        stored = generations.record(
            "c",
            episode,
            generation,
            proposer="genetic",
            base_id="b",
            seed=1,
            candidate_ids=ids,
            info={"invalid": 0},
        )
        return list(stored.candidate_ids)

    assert record(1, 0, ["z", "a"]) == ["z", "a"]
    assert record(0, 1, ["q"]) == ["q"]
    assert record(0, 0, ["p"]) == ["p"]
    assert record(1, 0, ["other"]) == ["z", "a"]
    found = [(one.episode, one.generation) for one in generations.load("c")]
    assert found == [(0, 0), (0, 1), (1, 0)]
    assert [one.generation for one in generations.load("c", episode=0)] == [0, 1]
    assert generations.load("d") == []
