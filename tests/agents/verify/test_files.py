"""A person's own structures on the real database and queue, with answers written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.verify.backend import DFTBackend
from agents.verify.files import FileVerification
from agents.verify.queue.launchpad import launchpad
from agents.verify.settings import VerifySettings
from db import calculations
from db.connection import Session
from db.crystals import structure_to_record
from db.documents import Calculation


def rocksalt(cation: str, anion: str, a: float) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], sites)
    return cubic.get_primitive_structure()


CRYSTALS = {"salt": rocksalt("Na", "Cl", 5.69), "xenon": rocksalt("Na", "Xe", 5.0)}


@pytest.fixture
def work(database: Session, backend: DFTBackend[Any], dft: Any) -> FileVerification:
    return FileVerification(launchpad(database), backend, dft, VerifySettings(), CRYSTALS)


def finish(work: FileVerification, hash: str, stored: dict[str, Any]) -> None:
    """Do what a launcher does to the Firework of a calculation."""
    fw_id = calculations.load(hash).fw_id
    launch = {"launch_id": work.pad.get_new_launch_id(), "fw_id": fw_id, "state": "COMPLETED"}
    work.pad.launches.insert_one({**launch, "action": {"stored_data": stored}})
    work.pad.fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": "COMPLETED"}})


def answer(energy_per_atom: float, gap: float = 0.0) -> dict[str, Any]:
    return {
        "result": {
            "energy": 2 * energy_per_atom,
            "energy_per_atom": energy_per_atom,
            "n_atoms": 2,
            "structure": structure_to_record(CRYSTALS["salt"]),
            "band_gap": gap,
            "is_metal": gap <= 0,
            "direct": True,
            "gap_confirmed": True,
            "spin_polarised": False,
            "magnetic_moment": 0.0,
            "symmetry": {"space_group": 225},
            "cpu_seconds": 2.0,
        }
    }


def test_estimate_counts_what_is_missing_and_names_what_cannot_be_computed(
    work: FileVerification,
) -> None:
    estimate = work.estimate()
    assert set(estimate.structures) == {"salt"}
    assert set(estimate.references) == {"Na", "Cl"}
    assert estimate.core_seconds == pytest.approx(2 + 0.6 + 2)  # no gap of sodium
    assert estimate.refused == {"xenon": "no set for Xe"}
    assert Calculation.objects.count() == 0
    work.queue()
    assert Calculation.objects.count() == 3
    assert work.waiting() == 3
    assert work.record("salt")["status"] == "waiting"
    refused = work.record("xenon")
    assert (refused["status"], refused["reason"]) == ("failed", "no set for Xe")


def test_results_are_those_of_a_candidate_and_are_paid_once(
    work: FileVerification, database: Session, backend: DFTBackend[Any], dft: Any
) -> None:
    work.estimate()
    work.queue()
    hashes = work.record("salt")["hashes"]
    finish(work, hashes["compound"], answer(-3.4, gap=5.0))
    finish(work, hashes["references"]["Na"], answer(-1.3))
    assert work.step() == 1
    finish(work, hashes["references"]["Cl"], answer(-1.7))
    assert work.step() == 0
    record = work.record("salt")
    assert record["status"] == "completed"
    assert record["formation_energy_per_atom"] == pytest.approx(-3.4 + 1.5)
    assert record["formation_energy_per_atom_mp2020"] == pytest.approx(-1.9 - 0.307)
    assert (record["band_gap"], record["energy"], record["n_atoms"]) == (5.0, -6.8, 2)
    assert record["level"] == backend.level(dft)
    assert "hit" not in record
    shifted = CRYSTALS["salt"].copy()
    shifted.translate_sites([0, 1], [0.13, 0.2, 0.31])
    settings = VerifySettings()
    again = FileVerification(launchpad(database), backend, dft, settings, {"same": shifted})
    assert again.estimate().core_seconds == 0
    again.queue()
    assert again.waiting() == 0
    assert again.record("same")["formation_energy_per_atom"] == record["formation_energy_per_atom"]
    assert Calculation.objects.count() == 3


def test_files_of_following_tasks_go_when_nobody_needs_them(
    work: FileVerification, tmp_path: Any
) -> None:
    work.estimate()
    work.queue()
    density = tmp_path / "density.gpw"
    density.write_text("density")
    entry = {"path": density.name, "size": 7, "sha256": "0"}
    outputs = {"folder": str(tmp_path), "files": [entry], "left_out": []}
    hashes = work.record("salt")["hashes"]
    finish(work, hashes["compound"], {**answer(-3.4, gap=5.0), "outputs": outputs})
    work.step()
    calculations.link_candidate(hashes["compound"], "a-candidate")
    work.release()
    assert density.is_file()
    candidates = {"$set": {"candidates": []}}
    work.pad.db["calculations"].update_one({"_id": hashes["compound"]}, candidates)
    work.release()
    assert not density.exists()


def test_a_failure_says_whose_it_was(work: FileVerification) -> None:
    work.estimate()
    work.queue()
    hashes = work.record("salt")["hashes"]
    finish(work, hashes["compound"], answer(-3.4, gap=5.0))
    finish(work, hashes["references"]["Na"], answer(-1.3))
    finish(work, hashes["references"]["Cl"], {"error": {"kind": "scf", "message": "no"}})
    assert work.step() == 0
    record = work.record("salt")
    assert record["status"] == "failed"
    assert record["reason"] == "the elemental reference of Cl failed: scf: no"
    assert record["energy"] == -6.8
