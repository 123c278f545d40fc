"""A launcher dies between the end of its calculation and its report, on the real queue."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fireworks.core import rocket
from pymatgen.core import Lattice, Structure

from agents.verify import firetask
from agents.verify.queue import left_behind
from agents.verify.queue.left_behind import finished_attempt
from agents.verify.queue.outputs import keep, missing
from agents.verify.submission import Submission
from db.documents import Calculation
from db.owners import owner_name

Script = dict[str, Any]
Run = Callable[..., int]


class Died(BaseException):
    """SIGKILL, as seen from inside: nothing catches it, nothing is written any more."""


def die_before_keeping(folder: Path, **options: Any) -> dict[str, Any]:
    raise Died


def die_while_compressing(folder: Path, **options: Any) -> dict[str, Any]:
    for path in list(folder.glob("attempt-*/*.json")):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:20])
    raise Died


def die_after_keeping(folder: Path, **options: Any) -> dict[str, Any]:
    keep(folder, **options)
    raise Died


def cscl() -> Structure:
    return Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch, run: Run, queue: Submission) -> Callable[..., None]:
    """Run the queue in a launcher that dies where a function of the task is replaced."""

    def last_words(*_: Any) -> None:
        raise Died

    def run_until_death(name: str, replacement: Callable[..., Any]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(firetask, name, replacement)
            patch.setattr(rocket, "do_ping", last_words)
            with pytest.raises(Died):
                run()
        bury(queue)

    return run_until_death


def bury(queue: Submission) -> None:
    """Make the launcher of whatever runs one that no longer exists."""
    host, machine, process, started, random = owner_name().split("/")
    dead = "/".join([host, machine, process, str(int(started) + 1), random])
    changed = queue.pad.launches.update_many({"state": "RUNNING"}, {"$set": {"fworker.name": dead}})
    assert changed.modified_count == 1


def runs_of(home: Path, task: str) -> list[Path]:
    """Return the folders in which the code computed a task of the compound."""
    places = [path.parent for path in home.rglob("attempt-*/seen.json*")]
    asked = {place: json.loads(_content(place / "input.json")) for place in places}
    compound = [p for p, one in asked.items() if len(set(one["structure"]["species"])) > 1]
    return [place for place in compound if asked[place]["task"] == task]


def _content(path: Path) -> bytes:
    packed = path.with_name(path.name + ".gz")
    return path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())


@pytest.mark.parametrize("death", [die_before_keeping, die_while_compressing, die_after_keeping])
def test_an_answer_that_was_not_reported_is_taken_over_and_paid_once(
    queue: Submission,
    add_candidate: Any,
    run: Run,
    die: Callable[..., None],
    tmp_path: Path,
    death: Callable[..., dict[str, Any]],
) -> None:
    queue.submit(add_candidate(cscl()))
    die("keep", death)  # the relaxation comes first
    run()
    relaxation = Calculation.objects(kind="compound", task="relax").first()
    assert relaxation.state == "completed"
    assert relaxation.result["energy_per_atom"] == -3.0
    (computed,) = runs_of(tmp_path / "home", "relax")
    assert relaxation.outputs["folder"] == str(computed.parent)
    assert missing(relaxation.outputs) == []
    assert len({one["path"] for one in relaxation.outputs["files"]}) == len(
        relaxation.outputs["files"]
    )
    (attempt,) = relaxation.attempts  # and not the lost launch beside it
    assert attempt["left_behind"] is True
    assert attempt["folder"] == str(computed)
    assert 0.0 < attempt["core_seconds"] < 20.0
    assert Calculation.objects(task="static", kind="compound").first().state == "completed"


def test_a_calculation_without_an_answer_is_run_again(
    queue: Submission, add_candidate: Any, run: Run, die: Callable[..., None], tmp_path: Path
) -> None:
    queue.submit(add_candidate(cscl()))

    def never_ends(*_: Any, **__: Any) -> dict[str, Any]:
        raise Died

    die("run_process", never_ends)
    run()
    relaxation = Calculation.objects(kind="compound", task="relax").first()
    assert relaxation.state == "completed"
    assert len(runs_of(tmp_path / "home", "relax")) == 1
    assert [bool(one["error"]) for one in relaxation.attempts] == [True, False]  # the lost launch


def test_the_ladder_goes_on_where_it_was(
    queue: Submission,
    script: Script,
    add_candidate: Any,
    run: Run,
    die: Callable[..., None],
    tmp_path: Path,
) -> None:
    script.update({"relax": {"unconverged_below": 0.06}})
    queue.submit(add_candidate(cscl()))
    asked = 0
    run_process = firetask.run_process

    def die_at_the_third(*arguments: Any, **options: Any) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Died
        return run_process(*arguments, **options)

    die("run_process", die_at_the_third)
    run()
    relaxation = Calculation.objects(kind="compound", task="relax").first()
    assert relaxation.state == "completed"
    taken = [one.get("left_behind", False) for one in relaxation.attempts]
    assert taken == [True, True, False]
    assert sorted(place.name for place in runs_of(tmp_path / "home", "relax")) == [
        "attempt-1",
        "attempt-2",
        "attempt-3",
    ]


def test_an_answer_to_another_question_is_none(tmp_path: Path) -> None:
    place = tmp_path / "attempt-1"
    place.mkdir()
    (place / "input.json").write_text(json.dumps({"task": "static", "changes": {}}))
    (place / "output.json").write_text(json.dumps({"result": {"cpu_seconds": 2.5}}))
    found = finished_attempt([tmp_path], "attempt-1", {"task": "static", "changes": {}})
    assert found is not None
    assert found[1]["cpu_seconds"] == 2.5
    other = {"task": "static", "changes": {"smearing": 0.1}}
    assert finished_attempt([tmp_path], "attempt-1", other) is None
    assert finished_attempt([tmp_path], "attempt-2", {"task": "static", "changes": {}}) is None
    (place / "output.json").write_text("{")
    assert finished_attempt([tmp_path], "attempt-1", {"task": "static", "changes": {}}) is None


@pytest.mark.parametrize(
    "written",
    [
        {"error": {"message": "no kind"}},
        {"error": {"kind": "scf", "message": "no"}, "result": [1]},
        {"result": {"cpu_seconds": "many"}},
        {"result": {"cpu_seconds": None}},
        {"result": {"text": "x" * (15 * 2**20)}},
    ],
)
def test_answers_are_checked_as_those_of_a_process_are(
    tmp_path: Path, written: dict[str, Any]
) -> None:
    place = tmp_path / "attempt-1"
    place.mkdir()
    (place / "input.json").write_text("{}")
    (place / "output.json").write_text(json.dumps(written))
    read = firetask.read_answer(place / "output.json", place)
    found = finished_attempt([tmp_path], "attempt-1", {})
    if read.get("error", {}).get("kind") == "output":
        assert found is None
    else:
        assert found is not None
        assert found[0] == read
        assert found[1]["cpu_seconds"] == found[1]["wall_seconds"]


def test_folders_of_other_users_are_not_looked_into(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Forbidden(type(tmp_path)):  # type: ignore[misc]
        """A path below a folder of somebody else; those who run tests may be root."""

        def stat(self, *_: Any, **__: Any) -> Any:
            raise PermissionError(13, "Permission denied", str(self))

        open = stat

    class Launches:
        def find(self, *_: Any) -> Any:
            return self

        def sort(self, *_: Any) -> list[dict[str, Any]]:
            return [{"launch_dir": str(tmp_path)}]

    monkeypatch.setattr(left_behind, "Path", Forbidden)
    queue: Any = SimpleNamespace(launches=Launches())
    assert left_behind.directories(queue, 1, Path("/own")) == []
    assert finished_attempt([Forbidden(tmp_path)], "attempt-1", {}) is None
