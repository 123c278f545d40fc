"""A campaign's backup holds one moment of it, and what is restored is that moment, or nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import json_util

from db import calculations, campaigns, candidates, events, generations, model_versions
from db.connection import Session, connect
from db.leases import lease
from db.optuna_journal import MongoJournalBackend
from db.owners import owner_name
from db.proposals import insert_proposals
from db.restoration import CampaignExists, Restoration
from db.states import CalculationState, State
from discovery.archive.manifest import ArchiveError
from discovery.archive.reading import Archive, open_archive
from discovery.archive.writing import new_archive
from discovery.backup.renaming import Renaming
from discovery.backup.restoration import CannotRestore, restore
from discovery.backup.snapshot import FORMAT, VERSION, backup

PASSWORD = "correct/'\"horse"
CELL = {
    "lattice": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]],
    "species": ["Na", "Cl"],
    "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.1 + 0.2]],
}
OWNED = ("campaigns", "candidates", "calculations", "generations", "model_versions", "events")
ALL = (*OWNED, "optuna_journal", "counters")


def propose(number: int, campaign: str = "c", **fields: Any) -> str:
    codes = {"generator_version": "g", "codes": {"n": number}, "codes_hash": str(number)}
    (name,) = insert_proposals(campaign, [{**codes, "proposer": "genetic", **fields}])
    return name


def calculation(name: str, candidate: str, **fields: Any) -> str:
    hash = f"{name:0>64}"
    spec = {
        **{"hash": hash, "kind": "compound", "code": "gpaw", "version": "1", "level": "gpaw-1"},
        **{"settings": {}, "structure": CELL, "formula": "NaCl", "candidates": [candidate]},
        "info": {"campaign": "c", "molecule": False},
        **fields,
    }
    calculations.claim(spec)
    return hash


def move(hash: str, *states: CalculationState, **fields: Any) -> None:
    source = CalculationState.SUBMITTING
    for to in states:
        last = to is states[-1]
        assert calculations.advance(hash, source, to, **(fields if last else {}))
        source = to


def launched(session: Session, hash: str, fw_id: int, state: str, stored: dict[str, Any]) -> None:
    """Write what FireWorks keeps of a launch."""
    spec = {"calculation": hash, "hash": hash, "cores": 1}
    session.database["fireworks"].insert_one({"fw_id": fw_id, "state": state, "spec": spec})
    launch = {"fw_id": fw_id, "launch_id": fw_id, "state": state, "state_history": []}
    session.database["launches"].insert_one({**launch, "action": {"stored_data": stored}})


@pytest.fixture
def filled(database: Session, tmp_path: Path) -> Session:
    """A campaign with something of everything, in the middle of its work."""
    mp = {"used": True, "name": "mp", "version": "v1", "checksum": "d" * 64, "n": 3}
    campaigns.create("c", config={"name": "c", "x": 0.1 + 0.2}, seed=1, resolved={"hull": mp})
    for number in range(8):
        propose(number)
    first = propose(0)
    child = propose(99, parents=[first], structure=CELL)
    generations.record(
        *("c", 0, 0), proposer="genetic", base_id="b", seed=1, candidate_ids=[first, child]
    )
    version = model_versions.store(
        *("c", "property_head", os.urandom(700_000)),
        **{"parent": None, "metrics": {}, "decision": "promoted"},
        labels={"counts": {}, "gate": [], "trained": [f"{first}:decoded:x"]},
    )
    campaigns.swap_live_model("c", None, version)
    events.record("c", "learning", data={"version": version, "labels": {"a": 1}})
    journal = MongoJournalBackend("c")
    journal.append_logs([{"op_code": 0, "user_attrs": {"candidate": child}}, {"op_code": 1}])
    folder = tmp_path / "launch"
    (folder / "attempt-1").mkdir(parents=True)
    (folder / "attempt-1" / "scf.txt.gz").write_bytes(b"kept")
    (folder / "attempt-1" / "POTCAR").write_bytes(b"licensed")
    sha = "f0b7aab4bdb9aecb6d3d5ecfcd0b3e9bb0ba7a02a6d6b9dc53ad6b0d3f8c4a57"
    files = [
        {"path": "attempt-1/scf.txt.gz", "size": 4, "sha256": _sha(b"kept")},
        {"path": "attempt-1/POTCAR", "size": 8, "sha256": _sha(b"licensed")},
        {"path": "attempt-1/gone.gz", "size": 4, "sha256": sha},
    ]
    outputs = {"folder": str(folder), "attempt": "attempt-1", "files": files, "left_out": []}
    done = calculation("d", child)
    move(
        done,
        *(CalculationState.SUBMITTED, CalculationState.COMPLETED),
        **{"result": {"energy": -1.25}, "outputs": outputs, "fw_id": 1},
        attempts=[{"core_seconds": 5.0, "campaign": "c", "folder": str(folder / "attempt-1")}],
    )
    for fw_id, (name, state, stored) in enumerate(
        [
            ("a", "COMPLETED", {"result": {"energy": -2.5}, "attempts": [{"core_seconds": 7.0}]}),
            ("b", "RUNNING", {}),
            ("e", "COMPLETED", {"error": {"kind": "timeout", "message": "late"}}),
        ],
        start=2,
    ):
        hash = calculation(name, child)
        move(hash, CalculationState.SUBMITTED, fw_id=fw_id)
        launched(database, hash, fw_id, state, stored)
    calculation("0", child, parent=done)
    calculation("9", "other-candidate", info={"campaign": "other", "molecule": False})
    (leased,) = lease("c", State.PROPOSED, "worker", 1, 600)
    candidates.transition(
        *(leased.id,), source=State.PROPOSED, to=State.FAILED, token=leased.token, agent="relax",
        reason=f"lost mongodb://ann:{PASSWORD}@db.example/x",
    )  # fmt: skip
    lease("c", State.PROPOSED, "worker", 1, 600)
    return database


def _sha(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def elsewhere(mongo_session: Session) -> Iterator[Session]:
    """An empty database beside the first; restoring goes there while it is open."""
    with connect(home=mongo_session.home, database="elsewhere") as session:
        yield session
        session.database.client.drop_database("elsewhere")


def everything(session: Session) -> dict[str, list[dict[str, Any]]]:
    hidden = {name: {"_id": 0} for name in ("generations", "events", "optuna_journal")}
    return {name: list(session.database[name].find({}, hidden.get(name))) for name in ALL}


def saved(session: Session, path: Path) -> Path:
    backup("c", path)
    return path


def test_what_is_restored_is_what_was_backed_up(
    filled: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(filled)
    path = saved(filled, tmp_path / "c.zip")
    assert everything(filled) == before
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path / "home"))
    with connect(home=filled.home, database="elsewhere") as other:
        try:
            done = restore(path)
            after = everything(other)
            head = campaigns.load("c").live_model
            payload = model_versions.load_payload(head)
        finally:
            other.database.client.drop_database("elsewhere")
    assert payload == model_versions.load_payload(head)
    assert done.campaign == "c"
    for name in ("generations", "counters", "optuna_journal"):
        assert after[name] == before[name]
    assert after["events"][:-1] == before["events"]
    assert after["events"][-1]["kind"] == "restored"
    changed = {"candidates": {"lease", "error", "history"}, "model_versions": {"payload"}}
    for name, fields in changed.items():
        left, right = ([_without(one, fields) for one in side[name]] for side in (before, after))
        assert right == left
    assert all(one["lease"] is None for one in after["candidates"])
    (campaign,) = after["campaigns"]
    assert (campaign["state"], campaign["leader"]) == ("stopped", None)
    assert campaign["config"] == before["campaigns"][0]["config"]


def _without(document: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in fields}


def test_what_fireworks_knows_becomes_part_of_the_calculations(
    filled: Session, tmp_path: Path, elsewhere: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(home=filled.home, database=filled.database_name):
        info = backup("c", tmp_path / "c.zip")
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path / "home"))
    done = restore(tmp_path / "c.zip")
    found = {one.hash.lstrip("0") or "0": one for one in calculations.find()}
    assert set(found) == {"d", "a", "b", "e", "0"}, "of another campaign"
    assert info.calculations_unfinished == done.info.calculations_unfinished == 2
    collected = found["a"]
    assert (collected.state, collected.result) == ("completed", {"energy": -2.5})
    assert [one["core_seconds"] for one in collected.attempts] == [7.0]
    assert collected.attempts[0]["campaign"] == "c"
    assert found["e"].state == "failed"
    assert found["e"].error == "timeout: late"
    for name in ("b", "0"):
        assert (found[name].state, found[name].fw_id) == ("submitting", None)
    assert found["0"].parent == found["d"].hash
    kept = found["d"].outputs
    assert [one["path"] for one in kept["files"]] == ["attempt-1/scf.txt.gz"]
    assert (Path(kept["folder"]) / "attempt-1" / "scf.txt.gz").read_bytes() == b"kept"
    assert Path(kept["folder"]).is_relative_to(tmp_path / "home")
    assert len(info.left_out) == 2
    assert any("licence" in one for one in info.left_out)
    assert any("mp" in one and "discovery data import mp" in one for one in done.missing)


def test_no_credentials_are_in_a_backup(filled: Session, tmp_path: Path) -> None:
    path = saved(filled, tmp_path / "c.zip")
    with zipfile.ZipFile(path) as file:
        texts = [file.read(name) for name in file.namelist()]
    assert any(b"db.example" in text for text in texts)
    assert not any(b"correct" in text or b"horse" in text for text in texts)


def test_a_copy_under_another_name_knows_nothing_of_the_old_one(
    filled: Session, tmp_path: Path
) -> None:
    path = saved(filled, tmp_path / "c.zip")
    done = restore(path, name="my-copy")
    assert done.paid_here == 5
    own = [
        *filled.database["candidates"].find({"campaign": "my-copy"}),
        *filled.database["generations"].find({"campaign": "my-copy"}),
        *filled.database["model_versions"].find({"campaign": "my-copy"}),
        *filled.database["events"].find({"campaign": "my-copy", "kind": {"$ne": "restored"}}),
        *filled.database["optuna_journal"].find({"journal": "my-copy"}),
        *filled.database["campaigns"].find({"_id": "my-copy"}),
    ]
    assert len(own) == 9 + 1 + 1 + 1 + 2 + 1
    text = json_util.dumps(own)
    assert not re.search(r"(?<![\w-])c-[0-9a-f]{12}", text)
    assert campaigns.load("my-copy").config["name"] == "my-copy"
    ids = {one["_id"] for one in filled.database["candidates"].find({"campaign": "my-copy"})}
    (generation,) = generations.load("my-copy")
    assert set(generation.candidate_ids) <= ids
    child = next(one for one in own if one.get("parents"))
    assert set(child["parents"]) <= ids
    assert model_versions.load_payload(campaigns.load("my-copy").live_model)
    for one in calculations.find():
        if one.info["campaign"] == "c":
            assert len(one.candidates) == 2, "the copy's candidate is linked, too"
    assert propose(0, "my-copy") in ids, "the same codes are the same candidate"
    assert filled.database["counters"].find_one({"_id": "seq/my-copy"})


def test_nothing_is_overwritten(filled: Session, tmp_path: Path) -> None:
    path = saved(filled, tmp_path / "c.zip")
    before = everything(filled)
    with pytest.raises(CampaignExists, match="--as"):
        restore(path)
    with pytest.raises(CannotRestore):
        restore(path, name="../x")
    assert everything(filled) == before


def test_a_restoration_that_fails_leaves_nothing(
    filled: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(filled, tmp_path / "c.zip")
    before = everything(filled)
    files = filled.database["weights.files"].count_documents({})
    insert = Restoration.insert

    def failing(self: Restoration, collection: str, documents: Any) -> int:
        if collection == "events":
            raise KeyboardInterrupt
        return insert(self, collection, documents)

    monkeypatch.setattr(Restoration, "insert", failing)
    with pytest.raises(KeyboardInterrupt):
        restore(path, name="copy")
    after = everything(filled)
    assert after == before
    assert filled.database["weights.files"].count_documents({}) == files


KILLED = """
import os, sys
from pathlib import Path
from db.connection import connect_worker
from db.restoration import Restoration
from discovery.backup.restoration import restore
add = Restoration.add_calculations
Restoration.add_calculations = lambda self, documents: os.kill(os.getpid(), 9)
connect_worker(sys.argv[1], sys.argv[2])
restore(Path(sys.argv[3]), name="copy")
"""


def test_a_killed_restoration_is_not_there_and_starts_again(
    filled: Session, tmp_path: Path
) -> None:
    path = saved(filled, tmp_path / "c.zip")
    command = [sys.executable, "-c", KILLED, filled.uri, filled.database_name, str(path)]
    environment = {**os.environ, "DISCOVERY_HOME": str(tmp_path / "home")}
    assert subprocess.run(command, env=environment, timeout=120).returncode == -9
    assert filled.database["candidates"].count_documents({"campaign": "copy"}) == 9
    with pytest.raises(campaigns.BeingRestored, match="discovery restore"):
        campaigns.load("copy")
    with pytest.raises(campaigns.BeingRestored):
        campaigns.create("copy", config={}, seed=1)
    done = restore(path, name="copy")
    assert done.counts["candidates"] == 9
    assert campaigns.load("copy").state == "stopped"
    assert filled.database["candidates"].count_documents({"campaign": "copy"}) == 9
    assert filled.database["optuna_journal"].count_documents({"journal": "copy"}) == 2
    assert filled.database["weights.files"].count_documents({}) == 2


def test_two_do_not_restore_the_same_name_at_once(filled: Session, tmp_path: Path) -> None:
    path = saved(filled, tmp_path / "c.zip")
    Restoration("copy", "somebody/elsewhere/1/2/3")
    with pytest.raises(CampaignExists, match="is being restored by somebody"):
        restore(path, name="copy")


def test_a_completed_calculation_takes_the_place_of_one_that_failed_here(
    filled: Session, tmp_path: Path, elsewhere: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(home=filled.home, database=filled.database_name):
        path = saved(filled, tmp_path / "c.zip")
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path / "home"))
    failed, other = calculation("d", "x-1"), calculation("a", "x-1")
    move(failed, CalculationState.SUBMITTED, CalculationState.FAILED, error="timeout: late")
    move(
        other,
        *(CalculationState.SUBMITTED, CalculationState.COMPLETED),
        result={"energy": -77.0},
    )
    done = restore(path)
    assert done.paid_here == 2
    assert calculations.load(failed).result == {"energy": -1.25}
    assert "x-1" in calculations.load(failed).candidates
    assert calculations.load(other).result == {"energy": -77.0}, "what is here stands"
    assert len(calculations.load(other).candidates) == 2


@pytest.fixture
def taken(
    filled: Session, elsewhere: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A backup, and an empty database with a home of its own to restore it into."""
    with connect(home=filled.home, database=filled.database_name):
        path = saved(filled, tmp_path / "c.zip")
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path / "home"))
    return path


def interrupted(self: Restoration, *arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt


def kept_file(name: str = "d") -> Path:
    outputs = calculations.load(f"{name:0>64}").outputs
    return Path(outputs["folder"], outputs["files"][0]["path"])


def test_an_interrupted_restoration_that_is_repeated_keeps_the_files(
    taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Restoration, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            restore(taken)
    assert calculations.load(f"{'d':0>64}").state == "completed"
    restore(taken)
    assert kept_file().read_bytes() == b"kept"


def test_no_calculation_waits_for_a_campaign_that_is_not_there(
    taken: Path, elsewhere: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        finish = Restoration._finish

        def stopped(self: Restoration, *arguments: Any) -> int:
            finish(self, *arguments)
            raise KeyboardInterrupt

        patch.setattr(Restoration, "_finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            restore(taken)
    assert not list(elsewhere.database["campaigns"].find())
    assert {one.state for one in calculations.find()} == {"completed", "failed"}
    assert restore(taken).counts["calculations"] == 2
    assert [one.state for one in calculations.find()].count("submitting") == 2


def test_a_restoration_that_lives_is_not_taken_over(taken: Path, elsewhere: Session) -> None:
    Restoration("c", owner_name())
    past = {"$set": {"leader.expires_at": datetime(2000, 1, 1, tzinfo=UTC)}}
    elsewhere.database["campaigns"].update_one({"_id": "c"}, past)
    with pytest.raises(CampaignExists, match="is being restored by"):
        restore(taken)


def test_the_name_is_kept_while_files_are_unpacked(
    taken: Path, elsewhere: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.restoration.SECONDS", 0.0)
    extract, ends = Archive.extract_file, []

    def slow(self: Archive, *arguments: Any) -> None:
        ends.append(elsewhere.database["campaigns"].find_one({"_id": "c"})["updated_at"])
        time.sleep(0.02)
        extract(self, *arguments)

    monkeypatch.setattr(Archive, "extract_file", slow)
    counted = Restoration.known_calculations

    def known(self: Restoration, hashes: Any) -> Any:
        ends.append(elsewhere.database["campaigns"].find_one({"_id": "c"})["updated_at"])
        time.sleep(0.02)
        return counted(self, hashes)

    monkeypatch.setattr(Restoration, "known_calculations", known)
    restore(taken)
    assert len(ends) == 2
    assert ends[0] < ends[1]


def test_what_a_restoration_wrote_too_late_is_there_once(
    taken: Path, elsewhere: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore(taken)
    collections = ("events", "generations", "optuna_journal", "candidates")
    late = {
        name: list(elsewhere.database[name].find({"kind": {"$ne": "restored"}}))
        for name in collections
    }
    counts = {name: len(found) for name, found in late.items()}
    for name in (*ALL, "weights.files", "weights.chunks"):
        elsewhere.database[name].delete_many({})
    insert = Restoration.insert

    def taken_over(self: Restoration, collection: str, documents: Any) -> int:
        if collection in late:
            elsewhere.database[collection].insert_many(late.pop(collection))
        return insert(self, collection, documents)

    monkeypatch.setattr(Restoration, "insert", taken_over)
    restore(taken)
    assert not late
    for name, count in counts.items():
        own = {"kind": {"$ne": "restored"}}
        assert elsewhere.database[name].count_documents(own) == count


def test_what_goes_wrong_behind_the_end_is_said_as_it_is(
    taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("discovery.backup.restoration.events.record", fails)
    with pytest.raises(OSError, match="the disk is full"):
        restore(taken)
    assert campaigns.load("c").state == "stopped"


def test_files_that_are_gone_are_unpacked_again(
    taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore(taken)
    first = kept_file()
    shutil.rmtree(first.parents[1])
    restore(taken, name="copy")
    assert kept_file() != first
    assert kept_file().read_bytes() == b"kept"


def test_restorations_of_one_name_in_two_databases_share_no_files(
    taken: Path, filled: Session
) -> None:
    restore(taken)
    first = kept_file()
    with connect(home=filled.home, database="third") as third:
        try:
            restore(taken)
            assert kept_file() != first
        finally:
            third.database.client.drop_database("third")
    assert first.read_bytes() == b"kept"


def test_what_is_in_the_queue_here_is_left_to_its_launch(taken: Path, elsewhere: Session) -> None:
    paid = [{"core_seconds": 1000.0, "campaign": "x"}]
    submitted = calculation("d", "x-1", info={"campaign": "x", "molecule": False})
    move(submitted, CalculationState.SUBMITTED, fw_id=77, attempts=paid)
    launched(elsewhere, submitted, 77, "READY", {})
    behind = calculation("a", "x-1", info={"campaign": "x", "molecule": False})
    launched(elsewhere, behind, 78, "READY", {})  # its submission was killed after this
    restore(taken)
    found = calculations.load(submitted)
    assert (found.state, found.fw_id, found.attempts) == ("submitted", 77, paid)
    assert len(found.candidates) == 2
    assert calculations.load(behind).state == "submitting"


def test_what_was_paid_here_stays_paid_by_whom_it_was(taken: Path) -> None:
    paid = {"core_seconds": 1000.0, "campaign": "x"}
    for name in "da":
        calculation(name, "x-1", info={"campaign": "x", "molecule": False})
    failed, waiting = f"{'d':0>64}", f"{'a':0>64}"
    states = (CalculationState.SUBMITTED, CalculationState.FAILED)
    move(failed, *states, error="timeout: late", attempts=[paid])
    created = calculations.load(failed).created_at
    restore(taken, name="copy")
    found = calculations.load(failed)
    assert (found.state, found.error, found.info["campaign"]) == ("completed", None, "x")
    spent = [(one["core_seconds"], one["campaign"]) for one in found.attempts]
    assert spent == [(1000.0, "x"), (5.0, "copy")]
    assert [one["to"] for one in found.history] == ["submitted", "failed", "completed"]
    assert found.created_at == created
    assert calculations.load(waiting).info["campaign"] == "x"
    assert calculations.load(waiting).state == "completed"


def test_a_backup_taken_while_everything_grows_has_no_loose_ends(
    database: Session, tmp_path: Path
) -> None:
    campaigns.create("c", config={"name": "c"}, seed=1)
    stop = threading.Event()

    def grow() -> None:
        number = 0
        while not stop.is_set():
            name = propose(number)
            hash = calculation(f"{number:x}", name)
            generations.record(
                *("c", 0, number), proposer="p", base_id="b", seed=1, candidate_ids=[name]
            )
            candidates.transition(
                *(name,), source=State.PROPOSED, to=State.FAILED, token=0, agent="test", reason="x",
                updates={"verification": {"calculations": {"compound": hash}}},
            )  # fmt: skip
            number += 1

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        sizes: list[int] = []
        while len(sizes) < 3 or sizes[-1] < sizes[0] + 10:  # grew by ten while we looked
            path = tmp_path / f"{len(sizes)}.zip"
            sizes.append(backup("c", path).counts["candidates"])
            with open_archive(path) as archive:
                records = {
                    name: [json_util.loads(line) for line in archive.lines(f"records/{name}.jsonl")]
                    for name in ("candidates", "generations", "calculations", "counters")
                }
            ids = {one["_id"] for one in records["candidates"]}
            hashes = {one["_id"] for one in records["calculations"]}
            asked = {name for one in records["generations"] for name in one["candidate_ids"]}
            assert asked <= ids
            # written one after the other: at one moment they differ by one at most
            assert 0 <= len(ids) - len(asked) <= 1
            assert 0 <= len(hashes) - len(asked) <= 1
            for one in records["candidates"]:
                named = one.get("verification", {}).get("calculations", {}).values()
                assert set(named) <= hashes
            (counter,) = records["counters"] or [{"next": 0}]
            assert counter["next"] >= len(ids)
    finally:
        stop.set()
        writer.join()


def rewritten(path: Path, target: Path, name: str, change: Any) -> Path:
    """Copy a backup with one file changed, its manifest made anew."""
    with (
        open_archive(path) as archive,
        new_archive(target, format=FORMAT, version=VERSION, overwrite=True) as copy,
    ):
        for file in archive.names():
            content = archive.read(file)
            copy.add_bytes(file, change(content) if file == name else content)
    return target


CANDIDATES, CALCULATIONS = "records/candidates.jsonl", "records/calculations.jsonl"


def _counting(text: bytes, **changes: int | None) -> bytes:
    """Change what a backup counts; None: not counted."""
    info = json.loads(text)
    counts = {**info["counts"], **changes}
    info["counts"] = {name: count for name, count in counts.items() if count is not None}
    return json.dumps(info).encode()


def _line_twice(text: bytes) -> bytes:
    first, _, *others = text.splitlines()
    return b"\n".join([first, first, *others])


def _deep(text: bytes, levels: int) -> bytes:
    nested = b'{"a": ' * levels + b"1" + b"}" * levels
    return b'{"campaign": "c", "data": ' + nested + b"}\n" + b"".join(text.splitlines(True)[1:])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (CANDIDATES, lambda text: text[: len(text) // 2]),
        (CANDIDATES, lambda text: text + text.splitlines()[0] + b"\n"),
        (CANDIDATES, lambda text: b"\n".join(text.splitlines()[1:])),
        (CANDIDATES, lambda text: text.replace(b'"g"', b'{"$code": "f()"}', 1)),
        (CANDIDATES, lambda text: text.replace(b'"g"', b'{"$regularExpression": 1}', 1)),
        (CANDIDATES, lambda text: text.replace(b'"g"', b'{"$numberInt": "x"}', 1)),
        (CANDIDATES, lambda text: text.replace(b'"g"', b"[" * 10_000, 1)),
        ("records/campaigns.jsonl", lambda text: text.replace(b'"c"', b'"d"', 1)),
        (CANDIDATES, lambda text: _line_twice(text)),
        (CANDIDATES, lambda text: text.replace(b'"campaign": "c"', b'"campaign": "victim"')),
        (CANDIDATES, lambda text: text.replace(b'"_id": "c-', b'"_id": "victim-')),
        ("records/model_versions.jsonl", lambda text: text.replace(b'"_id": "c-', b'"_id": "d-')),
        ("records/generations.jsonl", lambda text: text.replace(b'"c"', b'"victim"')),
        ("records/events.jsonl", lambda text: text.replace(b'"campaign": "c"', b'"campaign": "d"')),
        ("records/events.jsonl", lambda text: _deep(text, 400)),
        ("records/optuna_journal.jsonl", lambda text: text.replace(b'"c"', b'"victim"')),
        ("records/counters.jsonl", lambda text: text.replace(b"seq/c", b"seq/victim")),
        (CALCULATIONS, lambda text: text.replace(b'"_id": "000', b'"_id": "x00')),
        (CALCULATIONS, lambda text: text.replace(b'"completed"', b'"done"')),
        (CALCULATIONS, lambda text: text.replace(b'"attempt-1"', b'"../attempt-1"')),
        ("records/campaigns.jsonl", lambda text: b""),
        ("backup.json", lambda text: _counting(text, campaigns=0)),
        ("backup.json", lambda text: _counting(text, candidates=None)),
        ("backup.json", lambda text: _counting(text, fireworks=0)),
        ("backup.json", lambda text: b"{}"),
        ("backup.json", lambda text: text.replace(b'"records": 2', b'"records": 99')),
        ("backup.json", lambda text: text.replace(b'"campaign": "c"', b'"campaign": "../c"')),
    ],
)
def test_a_broken_backup_touches_nothing(
    filled: Session, tmp_path: Path, name: str, change: Any
) -> None:
    path = saved(filled, tmp_path / "c.zip")
    before = everything(filled)
    broken = rewritten(path, tmp_path / "broken.zip", name, change)
    with pytest.raises((ArchiveError, CannotRestore)) as caught:
        restore(broken, name="copy")
    assert str(broken) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert everything(filled) == before


def test_ids_are_found_wherever_they_stand() -> None:
    renaming = Renaming("a.b", "new")
    one = f"a.b-{'0' * 12}"
    text = f"{one}:decoded:x, xa.b-{'0' * 12}, a.b-{'0' * 13}, axb-{'0' * 12}, my-{one}"
    assert renaming.text(text) == text.replace(f"{one}:", f"new-{'0' * 12}:")
    document = {"_id": one, "campaign": "a.b", "keys": {one: [one, 1]}, "text": "a.b"}
    assert renaming.document(document) == {
        **{"_id": f"new-{'0' * 12}", "campaign": "new", "text": "a.b"},
        "keys": {f"new-{'0' * 12}": [f"new-{'0' * 12}", 1]},
    }
    assert json.loads(renaming.text(json.dumps({"a": one}))) == {"a": f"new-{'0' * 12}"}
