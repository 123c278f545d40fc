"""A whole campaign: real database, worker processes, relaxations and DFT."""

from __future__ import annotations

import csv
import io
import itertools
import time
from pathlib import Path

import pytest
from pymatgen.core import Structure
from workplace import Workplace

from db.connection import connect
from db.states import ALLOWED, TERMINAL, State

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]


def test_status_adds_up(finished: Workplace) -> None:
    status = finished.json("status", "tiny", "--json")
    assert status["campaign"] == "tiny"
    assert status["state"] == "complete"
    counts = status["counts"]
    assert sum(counts.values()) == status["candidates"] >= 46
    assert sum(status["rejections"].values()) == counts["rejected"]
    reached = status["reached"]
    funnel = [str(state) for state in State if state not in (State.REJECTED, State.FAILED)]
    assert [reached[a] >= reached[b] for a, b in itertools.pairwise(funnel)] == [True] * 8
    assert reached["relaxed"] >= 4
    assert set(status["proposers"]) == {"genetic", "optuna_tpe", "random"}
    dft = status["dft"]
    assert dft["submitted"] == dft["completed"] + dft["failed"]
    assert dft["completed"] == 1
    assert 0 < dft["core_hours"]["spent"] < dft["core_hours"]["limit"] == 2
    assert sum(arm["submitted"] for arm in status["arms"]) == dft["submitted"]
    assert sum(arm["windows"]["all"]["of"] for arm in status["arms"]) == dft["completed"]
    assert sum(arm["windows"]["all"]["inside"] for arm in status["arms"]) == dft["hits"]
    assert status["model_version"]
    assert status["learning"], "no learning event"
    assert {event["decision"] for event in status["learning"]} <= {"promoted", "refused"}


def test_no_candidate_is_left_between_two_states(finished: Workplace) -> None:
    counts = finished.json("status", "tiny", "--json")["counts"]
    settled = {*TERMINAL, State.SCREENED}
    assert {name for name, count in counts.items() if count} <= {str(state) for state in settled}


def test_histories_are_legal_and_every_number_has_its_source(finished: Workplace) -> None:
    for record in finished.json("query", "tiny", "--format", "json"):
        steps = [(entry["from"], entry["to"]) for entry in record["history"]]
        assert steps[0] == (None, "proposed")
        for (_, reached), (left, entered) in itertools.pairwise(steps):
            assert reached == left
            assert State(entered) in ALLOWED[State(left)]
        assert steps[-1][1] == record["state"]
        times = [entry["at"] for entry in record["history"]]
        assert times == sorted(times)
        tokens = [entry["token"] for entry in record["history"]]
        assert tokens == sorted(tokens)
        for prediction in record["predictions"]:
            assert prediction["model"]
            assert prediction["version"]
            assert prediction["level"]
            assert prediction["unit"]
        if record["state"] == "rejected":
            assert record["rejection"]["reason"]


def test_verified_candidates_carry_everything(finished: Workplace) -> None:
    (record,) = finished.json("query", "tiny", "--status", "verified", "--format", "json")
    verification = record["verification"]
    windows = {
        "formation_energy_per_atom": verification["formation_energy_per_atom"] <= -0.5,
        "band_gap": 0.5 <= verification["band_gap"] <= 2.5,
    }
    assert verification["targets"] == windows
    assert verification["hit"] is all(windows.values())
    assert verification["level"].startswith("gpaw-")
    calculations = verification["records"]
    elements = set(record["elements"])
    references = {one["formula"] for one in calculations if one["kind"] == "reference"}
    assert len(references) == len(elements)
    assert all(one["state"] == "completed" and one["settings"] for one in calculations)
    heads = [one for one in record["predictions"] if one["model"] == "head"]
    assert {one["on"] for one in heads} == {"decoded", "relaxed"}
    assert record["relaxation"]["max_force"] < 0.05
    assert record["relaxed_codes"]


def test_optuna_finds_its_episode_as_a_study(finished: Workplace) -> None:
    import optuna

    from agents.propose.optuna_studies import studies

    told = finished.json("query", "tiny", "--format", "json")
    energies = {r["id"]: r["evaluation"].get("formation_energy_per_atom") for r in told}
    with connect(home=finished.folder / ".discovery", create=False):
        study = optuna.load_study(study_name="episode 1: optuna_tpe", storage=studies("tiny"))
        trials = study.trials
    assert len(trials) == 16  # both rounds, the last one too
    for trial in trials:
        energy = energies[trial.user_attrs["candidate"]]
        assert trial.value == (10.0 if energy is None else energy)


def test_predictions_are_older_than_the_labels_they_are_judged_by(finished: Workplace) -> None:
    for record in finished.json("query", "tiny", "--format", "json"):
        if record["structure"] is not None:
            first = record["predictions"][0]
            assert (first["model"], first["on"]) == ("head", "decoded")


def test_cif_and_csv_read_back(finished: Workplace, tmp_path: Path) -> None:
    (record,) = finished.json("query", "tiny", "--status", "verified", "--format", "json")
    finished.run(
        "query", "tiny", "--status", "verified", "--format", "cif", "--out", str(tmp_path / "cif")
    )
    (file,) = (tmp_path / "cif").glob("*.cif")
    structure = Structure.from_file(file)
    assert structure.composition.reduced_formula == record["formula"]
    expected = Structure(
        **{
            "lattice": record["relaxation"]["structure"]["lattice"],
            "species": record["relaxation"]["structure"]["species"],
            "coords": record["relaxation"]["structure"]["frac_coords"],
        }
    )
    assert structure.volume == pytest.approx(expected.volume, rel=1e-4)
    rows = list(csv.DictReader(io.StringIO(finished.run("query", "tiny", "--format", "csv"))))
    assert len(rows) == finished.json("status", "tiny", "--json")["candidates"]
    mine = next(row for row in rows if row["id"] == record["id"])
    assert float(mine["band_gap"]) == pytest.approx(record["verification"]["band_gap"])


def test_show_names_every_model(finished: Workplace) -> None:
    (record,) = finished.json("query", "tiny", "--status", "verified", "--format", "json")
    shown = finished.run("show", record["id"])
    for word in (record["formula"], "chgnet", "head", "DFT", "verifying", record["base_id"]):
        assert word in shown


def test_a_second_run_says_that_it_is_complete(finished: Workplace) -> None:
    before = finished.json("status", "tiny", "--json")
    started = time.monotonic()
    finished.run("run", "--campaign", str(finished.campaign))
    assert time.monotonic() - started < 60
    after = finished.json("status", "tiny", "--json")
    assert after == before
    assert "already complete" in (finished.folder / "run.log").read_text()


def test_another_configuration_of_the_same_name_is_refused(finished: Workplace) -> None:
    changed = finished.folder / "changed.yaml"
    changed.write_text(finished.campaign.read_text().replace("seed: 7", "seed: 8"))
    process = finished.start("run", "--campaign", str(changed), log="changed.log")
    process.communicate(timeout=120)
    assert process.returncode == 2
    message = (finished.folder / "changed.log").read_text()
    assert "other values of seed" in message
    assert "Traceback" not in message
