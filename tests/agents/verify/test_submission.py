"""Submission and collection on the real database, with answers written by hand."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.targets import Window
from agents.verify import submission as submission_module
from agents.verify.backend import DFTBackend
from agents.verify.collection import collect
from agents.verify.identity import calculation_spec
from agents.verify.queue.attempts import retry
from agents.verify.queue.launchpad import add_firework, launchpad
from agents.verify.settings import VerifySettings
from agents.verify.submission import Submission
from db import calculations, candidates
from db.connection import Session
from db.crystals import structure_to_record
from db.documents import Calculation
from db.states import State

SETTINGS = VerifySettings()
WINDOWS = (
    Window(property="formation_energy_per_atom", max=-0.5),
    Window(property="band_gap", min=0.5, max=2.5),
)


def rocksalt(cation: str, anion: str, a: float) -> Structure:
    """The primitive cell of a rocksalt crystal."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], sites)
    return cubic.get_primitive_structure()


@pytest.fixture
def queue(database: Session, backend: DFTBackend, dft: Any) -> Submission:
    return Submission(launchpad(database), backend, dft, SETTINGS)


def answer_of(structure: Structure, energy_per_atom: float, gap: float = 0.0) -> dict[str, Any]:
    return {
        "energy_per_atom": energy_per_atom,
        "structure": structure_to_record(structure),
        "band_gap": gap,
        "is_metal": gap <= 0,
        "direct": False,
        "gap_confirmed": True,
        "spin_polarised": False,
        "magnetic_moment": 0.0,
        "symmetry": {"space_group": 225},
        "cpu_seconds": 2.0,
    }


def finish(queue: Submission, hash: str, stored: dict[str, Any]) -> None:
    """Do what a launcher does to the Firework of a calculation."""
    fw_id = calculations.load(hash).fw_id
    launch_id = queue.pad.get_new_launch_id()
    queue.pad.launches.insert_one(
        {
            "launch_id": launch_id,
            "fw_id": fw_id,
            "state": "COMPLETED",
            "action": {"stored_data": stored},
        }
    )
    queue.pad.fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": "COMPLETED"}})


def fireworks(queue: Submission) -> int:
    return int(queue.pad.fireworks.count_documents({}))


def test_candidate_gets_its_calculation_and_its_references(
    queue: Submission, add_candidate: Any
) -> None:
    name = add_candidate(rocksalt("Na", "Cl", 5.69))
    hashes = queue.submit(name)
    assert set(hashes["references"]) == {"Na", "Cl"}
    assert fireworks(queue) == 3
    candidate = candidates.load(name)
    assert candidate.state == State.VERIFYING
    assert candidate.lease is None
    assert candidate.verification["calculations"] == hashes
    assert {one.state for one in Calculation.objects} == {"submitted"}


def test_launchers_are_told_the_limits_of_the_campaign(
    database: Session, backend: DFTBackend, dft: Any, add_candidate: Any
) -> None:
    settings = VerifySettings(ping_seconds=2.0, lost_seconds=17.0, max_launches=5)
    queue = Submission(launchpad(database), backend, dft, settings)
    queue.submit(add_candidate(rocksalt("Na", "Cl", 5.69)))
    for firework in queue.pad.fireworks.find({}):
        found = [firework["spec"][k] for k in ("ping_seconds", "lost_seconds", "max_launches")]
        assert found == [2.0, 17.0, 5]


def test_of_an_element_the_energy_alone_is_computed(queue: Submission, add_candidate: Any) -> None:
    hashes = queue.submit(add_candidate(rocksalt("Si", "Cl", 5.69)))
    assert calculations.load(hashes["references"]["Si"]).options == {"gap": False}
    assert calculations.load(hashes["compound"]).options == {"gap": True}


def test_reference_recorded_with_its_gap_answers_one_without(
    queue: Submission, backend: DFTBackend, dft: Any, add_candidate: Any
) -> None:
    phase = backend.reference("Si")
    with_gap = calculation_spec(backend, phase, dft, kind="reference", options={"gap": True})
    recorded = queue.queue(with_gap)
    hashes = queue.submit(add_candidate(rocksalt("Si", "Cl", 5.69)))
    assert hashes["references"]["Si"] == recorded


def test_references_are_shared(queue: Submission, add_candidate: Any) -> None:
    first = queue.submit(add_candidate(rocksalt("Na", "Cl", 5.69)))
    second = queue.submit(add_candidate(rocksalt("Na", "F", 4.7)))
    assert first["references"]["Na"] == second["references"]["Na"]
    assert fireworks(queue) == 5
    linked = calculations.load(first["references"]["Na"]).candidates
    assert len(linked) == 2


def test_same_crystal_under_another_hash_is_not_paid_again(
    queue: Submission, add_candidate: Any
) -> None:
    crystal = rocksalt("Na", "Cl", 5.690)
    again = rocksalt("Na", "Cl", 5.6952)  # 0.1 % longer: another relaxation of the same crystal
    again.translate_sites([0, 1], [0.13, 0.2, 0.31])
    again.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    first = queue.submit(add_candidate(crystal))
    second = queue.submit(add_candidate(again))
    spec = submission_module.calculation_spec(queue.backend, again, queue.dft, kind="compound")
    assert spec["hash"] != first["compound"]
    assert second["compound"] == first["compound"]
    assert fireworks(queue) == 3


@pytest.mark.parametrize("length", [5.4, 5.9])
def test_another_volume_is_another_calculation(
    queue: Submission, add_candidate: Any, length: float
) -> None:
    first = queue.submit(add_candidate(rocksalt("Na", "Cl", 5.69)))
    second = queue.submit(add_candidate(rocksalt("Na", "Cl", length)))
    assert first["compound"] != second["compound"]


def test_queueing_one_calculation_from_many_threads_gives_one_firework(
    queue: Submission, database: Session
) -> None:
    spec = {
        "calculation": "h",
        "code": "gpaw",
        "input": {},
        "timeout_seconds": 1.0,
        "nice": 0,
    }
    pads = [launchpad(database) for _ in range(8)]
    found: list[int] = []
    start = threading.Barrier(len(pads))

    def add(pad: Any) -> None:
        start.wait()
        found.append(add_firework(pad, spec, "x"))

    threads = [threading.Thread(target=add, args=(pad,)) for pad in pads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert fireworks(queue) == 1
    assert queue.pad.workflows.count_documents({}) == 1


def test_distorted_supercell_is_another_calculation_than_its_average(
    queue: Submission, add_candidate: Any
) -> None:
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    cubic = Structure(Lattice.cubic(3.945), ["Sr", "Ti", "O", "O", "O"], sites)
    undistorted = cubic.make_supercell([1, 1, 2], in_place=False)
    antiphase = undistorted.copy()
    for sign, number in ((1, 2), (-1, 3)):
        assert antiphase[number].specie.symbol == "Ti"
        antiphase.translate_sites([number], [0, 0, sign * 0.1 / 7.89])
    first = queue.submit(add_candidate(cubic))["compound"]
    assert queue.submit(add_candidate(undistorted))["compound"] == first
    other = queue.submit(add_candidate(antiphase))["compound"]
    assert other != first
    noisy = antiphase.copy()
    noisy.perturb(0.005)
    assert queue.submit(add_candidate(noisy))["compound"] == other


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("calls_before_crash", range(6))
def test_crash_anywhere_in_submission_is_repaired(
    queue: Submission,
    add_candidate: Any,
    monkeypatch: pytest.MonkeyPatch,
    calls_before_crash: int,
) -> None:
    name = add_candidate(rocksalt("Na", "Cl", 5.69))
    remaining = iter([False] * calls_before_crash + [True])

    def dies(function: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(remaining, False):
                raise Crash
            return function(*arguments, **options)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(submission_module, "add_firework", dies(add_firework))
        patch.setattr(calculations, "advance", dies(calculations.advance))
        with pytest.raises(Crash):
            queue.submit(name)
    queue.reconcile()
    if candidates.load(name).state == State.SELECTED:
        queue.submit(name)
    assert queue.reconcile() == 0
    assert fireworks(queue) == 3
    assert {one.state for one in Calculation.objects} == {"submitted"}
    assert candidates.load(name).state == State.VERIFYING


def test_crash_between_record_and_queue_adds_exactly_one(
    queue: Submission, add_candidate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> int:
        raise Crash

    name = add_candidate(rocksalt("Na", "Cl", 5.69))
    with monkeypatch.context() as patch:
        patch.setattr(submission_module, "add_firework", die)
        with pytest.raises(Crash):
            queue.submit(name)
    assert Calculation.objects.count() == 1
    assert fireworks(queue) == 0
    assert queue.reconcile() == 1
    assert fireworks(queue) == 1
    assert queue.reconcile() == 0


def test_verified_candidate_carries_formation_energy_gap_and_verdict(
    queue: Submission, database: Session, add_candidate: Any
) -> None:
    crystal = rocksalt("Na", "Cl", 5.69)
    name = add_candidate(crystal)
    hashes = queue.submit(name)
    finish(queue, hashes["compound"], {"result": answer_of(crystal, -3.4, gap=5.0)})
    finish(queue, hashes["references"]["Na"], {"result": answer_of(crystal, -1.3)})
    assert collect("test", WINDOWS, queue.pad, SETTINGS).verified == []
    finish(queue, hashes["references"]["Cl"], {"result": answer_of(crystal, -1.7)})
    assert collect("test", WINDOWS, queue.pad, SETTINGS).verified == [name]
    record = candidates.load(name)
    assert record.state == State.VERIFIED
    found = record.verification
    assert found["formation_energy_per_atom"] == pytest.approx(-3.4 + 1.5)
    assert found["formation_energy_per_atom_mp2020"] == pytest.approx(-1.9 - 0.307)
    assert found["targets"] == {"formation_energy_per_atom": True, "band_gap": False}
    assert found["hit"] is False
    assert found["level"] == queue.backend.level(queue.dft)
    assert found["calculations"] == hashes
    before = database.database["candidates"].find_one({"_id": name})
    again = collect("test", WINDOWS, queue.pad, SETTINGS)
    assert (again.calculations, again.verified, again.failed) == (0, [], [])
    assert database.database["candidates"].find_one({"_id": name}) == before


def test_failed_compound_fails_the_candidate_with_its_reason(
    queue: Submission, add_candidate: Any
) -> None:
    name = add_candidate(rocksalt("Na", "Cl", 5.69))
    hashes = queue.submit(name)
    failure = {"kind": "scf", "message": "SCF did not converge", "log_tail": "..."}
    finish(queue, hashes["compound"], {"error": failure})
    assert collect("test", WINDOWS, queue.pad, SETTINGS).failed == [name]
    record = candidates.load(name)
    assert record.state == State.FAILED
    assert record.error == "dft: scf: SCF did not converge"
    assert calculations.load(hashes["compound"]).info["failure"]["log_tail"] == "..."


def test_failed_reference_fails_the_candidate_and_names_the_element(
    queue: Submission, add_candidate: Any
) -> None:
    crystal = rocksalt("Na", "Cl", 5.69)
    name = add_candidate(crystal)
    hashes = queue.submit(name)
    finish(queue, hashes["compound"], {"result": answer_of(crystal, -3.4)})
    failure = {"kind": "timeout", "message": "no result within 180 s"}
    finish(queue, hashes["references"]["Cl"], {"error": failure})
    collect("test", WINDOWS, queue.pad, SETTINGS)
    expected = "dft: the elemental reference of Cl failed: timeout: no result within 180 s"
    assert candidates.load(name).error == expected


def test_firework_taken_out_of_the_queue_is_a_failure(
    queue: Submission, add_candidate: Any
) -> None:
    name = add_candidate(rocksalt("Na", "Cl", 5.69))
    hashes = queue.submit(name)
    queue.pad.defuse_fw(calculations.load(hashes["compound"]).fw_id)
    collect("test", WINDOWS, queue.pad, SETTINGS)
    assert "defused" in candidates.load(name).error


def test_candidate_whose_numbers_cannot_be_judged_fails_alone(
    queue: Submission, add_candidate: Any
) -> None:
    broken, fine = rocksalt("Na", "Cl", 5.69), rocksalt("Na", "F", 4.7)
    names = [add_candidate(broken), add_candidate(fine)]
    for name, crystal in zip(names, (broken, fine), strict=True):
        hashes = queue.submit(name)
        answer = answer_of(crystal, -3.4)
        if crystal is broken:
            del answer["is_metal"]
        finish(queue, hashes["compound"], {"result": answer})
        for hash in hashes["references"].values():
            finish(queue, hash, {"result": answer_of(crystal, -1.3)})
    found = collect("test", WINDOWS, queue.pad, SETTINGS)
    assert (found.failed, found.verified) == ([names[0]], [names[1]])
    assert candidates.load(names[0]).error == "dft: KeyError: 'is_metal'"


def test_candidate_that_cannot_be_set_up_fails_with_the_reason(
    queue: Submission, add_candidate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("flat cell")

    name = add_candidate(rocksalt("Na", "Cl", 5.69))
    monkeypatch.setattr(submission_module, "calculation_spec", fails)
    assert queue.submit(name) == {}
    assert candidates.load(name).error == "dft: ZeroDivisionError: flat cell"


def fail(queue: Submission, hash: str, kind: str) -> None:
    """Let the present attempt of a calculation fail."""
    finish(queue, hash, {"error": {"kind": kind, "message": "no"}})
    collect("test", WINDOWS, queue.pad, SETTINGS)
    assert calculations.load(hash).state == "failed"


@pytest.mark.parametrize("kind", ["killed", "lost", "defused"])
def test_failure_by_circumstances_is_tried_again_for_another_candidate(
    queue: Submission, add_candidate: Any, kind: str
) -> None:
    crystal = rocksalt("Na", "Cl", 5.69)
    hash = queue.submit(add_candidate(crystal))["compound"]
    old = calculations.load(hash).fw_id
    fail(queue, hash, kind)
    name = add_candidate(crystal)
    hashes = queue.submit(name)
    assert hashes["compound"] == hash
    again = calculations.load(hash)
    assert (again.state, again.error) == ("submitted", None)
    assert again.fw_id != old
    assert fireworks(queue) == 4
    for one in (hash, *hashes["references"].values()):
        finish(queue, one, {"result": answer_of(crystal, -3.4)})
    assert collect("test", WINDOWS, queue.pad, SETTINGS).verified == [name]


def test_attempts_end(queue: Submission, add_candidate: Any) -> None:
    crystal = rocksalt("Na", "Cl", 5.69)
    for _ in range(3):
        hash = queue.submit(add_candidate(crystal))["compound"]
        fail(queue, hash, "killed")
    queue.submit(add_candidate(crystal))
    assert calculations.load(hash).state == "failed"
    assert fireworks(queue) == 3 + 2


def test_physics_is_not_tried_again(queue: Submission, add_candidate: Any) -> None:
    crystal = rocksalt("Na", "Cl", 5.69)
    hash = queue.submit(add_candidate(crystal))["compound"]
    fail(queue, hash, "scf")
    queue.submit(add_candidate(crystal))
    assert calculations.load(hash).state == "failed"


def test_timeout_is_tried_again_with_more_time_only(
    queue: Submission, backend: DFTBackend, dft: Any, add_candidate: Any
) -> None:
    crystal = rocksalt("Na", "Cl", 5.69)
    hash = queue.submit(add_candidate(crystal))["compound"]
    fail(queue, hash, "timeout")
    queue.submit(add_candidate(crystal))
    assert calculations.load(hash).state == "failed"
    patient = SETTINGS.model_copy(update={"timeout_seconds": 900.0})
    longer = Submission(queue.pad, backend, dft, patient)
    longer.submit(add_candidate(crystal))
    again = calculations.load(hash)
    assert again.state == "submitted"
    firework = queue.pad.fireworks.find_one({"fw_id": again.fw_id})
    assert firework["spec"]["timeout_seconds"] == 900.0
    fail(queue, hash, "timeout")
    longer.submit(add_candidate(crystal))
    assert calculations.load(hash).state == "failed"


def test_crash_between_retry_and_queue_is_repaired_with_the_right_time(
    queue: Submission, backend: DFTBackend, dft: Any, add_candidate: Any
) -> None:
    crystal = rocksalt("Na", "Cl", 5.69)
    hash = queue.submit(add_candidate(crystal))["compound"]
    fail(queue, hash, "timeout")
    assert retry(calculations.load(hash), 900.0)
    assert not retry(calculations.load(hash), 900.0)
    assert queue.reconcile() == 1
    firework = queue.pad.fireworks.find_one({"fw_id": calculations.load(hash).fw_id})
    assert firework["spec"]["timeout_seconds"] == 900.0
