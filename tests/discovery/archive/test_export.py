"""An exported candidate can be redone from its archive alone, and a changed one is found."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Structure
from workplace import Workplace

from discovery.archive.citations import SOURCES, bibliography, citations
from discovery.archive.export import _add_candidate
from discovery.archive.manifest import ArchiveError
from discovery.archive.models import ModelFiles
from discovery.archive.precision import LIMITS, OTHERWISE
from discovery.archive.reading import open_archive
from discovery.archive.redo import redo
from discovery.archive.values import Value, values
from discovery.archive.writing import new_archive
from model.checkpoint import generator_version, resolve_checkpoint

ROOT = Path(__file__).resolve().parents[3]


def redone(archive: Path, folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run `redo` in a process that has neither home, database, nor weights."""
    folder.mkdir(exist_ok=True)
    process = subprocess.run(
        [sys.executable, "-m", "discovery", "redo", str(archive), "--json", *options],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.stdout, process.stderr[-4000:]
    assert not (folder / ".discovery").exists(), "a database was opened"
    return process.returncode, json.loads(process.stdout)


def test_every_source_has_its_entry_and_every_entry_its_source() -> None:
    entries = bibliography()
    named = {key for keys in SOURCES.values() for key in keys}
    assert named <= set(entries)
    assert set(entries) - named == {"vqcrystal", "pymatgen", "ase"}
    assert len(re.findall(r"^@", "\n\n".join(entries.values()), re.MULTILINE)) == len(entries)
    for key, entry in entries.items():
        assert entry.count("{") == entry.count("}"), key
        assert re.search(r"(doi = \{10\.\d{4,5}/\S+\}|eprint = \{\d{4}\.\d{5}\})", entry), key
        assert re.search(r"year = \{(19|20)\d\d\}", entry), key


def record(**fields: Any) -> dict[str, Any]:
    generator = {"name": "perov5", "version": "g"}
    campaign = {"resolved": {"generator": generator}}
    return {
        **{"id": "c-1", "generator_version": "g", "proposer": "genetic", "predictions": []},
        **{"structure": {"species": ["Na", "Cl"]}, "lineage": {"campaign": campaign}},
        **fields,
    }


def test_what_is_cited_is_what_was_used() -> None:
    prediction = {"model": "megnet", "level": "pbe-mp2018"}
    text = citations([record(predictions=[prediction], verification={"level": "gpaw-26-pbe"})])
    cited = set(re.findall(r"@\w+\{(\w+),", text))
    assert {"megnet", "gpaw", "pbe", "perov5", "cdvae", "vqcrystal"} <= cited
    assert not {"vasp", "alignn", "chgnet", "optuna", "phonopy", "c2db"} & cited


def test_a_substituted_crystal_is_not_decoded_from_its_codes() -> None:
    assert [value.kind for value in values(record())] == ["decoder"]
    assert list(values(record(proposer="substitution"))) == []


def test_energies_are_asked_on_the_crystal_that_they_are_of() -> None:
    part = {
        **{"energy": -10.0, "formation_energy_per_atom": -1.0, "max_force": 0.1},
        **{"potential": "chgnet", "version": "0.3.0", "level": "chgnet-0.3.0"},
    }
    second = {"level": "chgnet-0.2.0", "formation_energy_per_atom": -1.1}
    relaxed = {**part, "structure": {"species": ["Na"] * 4}, "second_potential": second}
    found = list(values(record(evaluation=part, relaxation=relaxed)))[1:]
    per_atom = {v.on: v.value for v in found if v.property == "energy_per_atom"}
    assert per_atom == {"decoded": -5.0, "relaxed": -2.5}
    assert [v.value for v in found if v.level == "chgnet-0.2.0"] == [-1.1]
    assert all(v.tolerance == LIMITS["potential", v.property] for v in found)


def test_a_generator_named_by_its_path_is_known_by_its_name(tmp_path: Path) -> None:
    """The folders of whoever trained it are nobody's business; its version says what it is."""
    folder = tmp_path / "secret" / "mine"
    shutil.copytree(resolve_checkpoint("perov5"), folder)
    card = json.loads((folder / "card.json").read_text())
    generator = {"name": str(folder), "version": generator_version(card)}
    config = {"generator": str(folder), "propose": {"base": {"files": [str(folder / "a.cif")]}}}
    potential = {"name": "x", "level": "x-1", "references": "0"}
    resolved = {"generator": generator, "potential": potential, "screens": []}
    models = [{"model": "generator", **generator}]
    campaign = {"config": config, "resolved": resolved}
    lineage: dict[str, Any] = {"campaign": campaign, "models": models, "base": {}}
    lineage["elsewhere"] = [{"model": "generator", "name": "secret/mine"}, {"name": "A/B"}]
    one = record(campaign="c", structure=None, lineage=lineage)
    with new_archive(tmp_path / "a.zip", format="discovery-export", version=1) as archive:
        held = ModelFiles(archive, weights=False)
        held.add(one)
        archive.add_json("models/models.json", list(held.entries.values()))
        _add_candidate(archive, one)
    with open_archive(tmp_path / "a.zip") as archive:
        documents = [archive.read(name) for name in archive.names() if name.endswith(".json")]
        campaign = archive.json("campaigns/c.json")
        (entry,) = [m for m in archive.json("models/models.json") if m["model"] == "generator"]
        held_lineage = archive.json("candidates/c-1/record.json")["lineage"]
    assert not any(str(tmp_path).encode() in document for document in documents)
    assert [one["name"] for one in held_lineage["elsewhere"]] == ["mine", "A/B"]
    assert campaign["resolved"]["generator"] == {**generator, "name": "mine"}
    assert campaign["config"]["propose"]["base"]["files"] == ["a.cif"]
    assert (entry["name"], entry["version"]) == ("mine", generator["version"])


def test_a_potential_that_was_not_measured_has_the_limit_of_those() -> None:
    part = {
        **{"energy": -10.0, "formation_energy_per_atom": -1.0, "max_force": 0.1},
        **{"potential": "mace", "version": "1", "level": "mace-1"},
    }
    second = {"level": "m3gnet-1", "formation_energy_per_atom": -1.1}
    relaxed = {"second_potential": second}
    found = list(values(record(evaluation=part, relaxation=relaxed)))[1:]
    assert {(v.model, v.property): v.tolerance for v in found} == {
        ("mace", "energy_per_atom"): OTHERWISE,
        ("mace", "formation_energy_per_atom"): OTHERWISE,
        ("mace", "max_force"): LIMITS["potential", "max_force"],
        ("m3gnet", "formation_energy_per_atom"): OTHERWISE,
    }


class Shifted:
    """Models that give other numbers than they gave."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def compute(self, value: Value, record: Any) -> float:
        return value.value + 3.0


def small_archive(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> Path:
    """An archive of two candidates whose list of numbers was changed."""
    given = {"version": "v", "level": "l", "on": "relaxed", "unit": "eV", "model": "megnet"}
    predictions = [{**given, "property": name, "value": 1.0} for name in ("band_gap", "p_gap")]
    records = [
        record(id=name, campaign="c", proposer="substitution", predictions=predictions)
        for name in ("c-1", "c-2")
    ]
    with new_archive(path, format="discovery-export", version=1) as archive:
        stated = [value.record() for one in records for value in values(one)]
        archive.add_json("redo.json", {"values": change(stated)})
        archive.add_json("campaigns/c.json", {})
        archive.add_json("models/models.json", [])
        for one in records:
            archive.add_json(f"candidates/{one['id']}/record.json", one)
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda stated: [{**one, "tolerance": 1e9} for one in stated],
        lambda stated: stated[1:],
        lambda stated: stated[2:],
        lambda stated: [],
        lambda stated: [*stated, stated[0]],
        lambda stated: [*stated, {**stated[0], "candidate": "c-3"}],
        lambda stated: [{**one, "unit": "meV"} for one in stated],
        lambda stated: [{**one, "value": [1.0]} for one in stated],
    ],
)
def test_what_an_archive_promises_is_what_its_records_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    monkeypatch.setattr("discovery.archive.redo.ArchivedModels", Shifted)
    assert [one.agrees for one in redo(small_archive(tmp_path / "a.zip", list))] == [False] * 4
    with pytest.raises(ArchiveError, match=r"b\.zip: redo\.json"):
        redo(small_archive(tmp_path / "b.zip", change))


@pytest.fixture(scope="module")
def exported(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verified candidate of the small campaign, and one that was only relaxed."""
    out = tmp_path_factory.mktemp("export") / "two.zip"
    (verified,) = finished.json("query", "tiny", "--status", "verified", "--format", "json")
    others = finished.json("query", "tiny", "--where", 'state != "verified"', "--format", "json")
    relaxed = next(one for one in others if (one.get("relaxation") or {}).get("structure"))
    finished.run("export", verified["id"], relaxed["id"], "--out", str(out))
    return out


CRYSTAL = ("lattice", "species", "frac_coords")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def ids(archive: Path) -> list[str]:
    with open_archive(archive) as found:
        names = found.names("candidates/")
    return list(dict.fromkeys(name.split("/")[1] for name in names))


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_everything_is_reproduced_in_an_empty_environment(exported: Path, tmp_path: Path) -> None:
    code, document = redone(exported, tmp_path / "empty")
    assert (code, document["agree"], document["complete"]) == (0, True, True)
    found = {(one["kind"], one["on"]) for one in document["values"]}
    expected = {
        *(("decoder", "codes"), ("potential", "decoded"), ("potential", "relaxed")),
        *(("alignn", "relaxed"), ("head", "decoded"), ("head", "relaxed"), ("dft", "relaxed")),
    }
    with open_archive(exported) as archive:
        if archive.names("models/megnet"):  # its weights were on the machine of the campaign
            expected.add(("megnet", "relaxed"))
    assert expected <= found
    for one in document["values"]:
        assert one["difference"] <= one["tolerance"] <= 1e-2
        assert one["difference"] == abs(one["redone"] - one["value"])


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_the_archive_holds_what_is_recorded(
    exported: Path, finished: Workplace, tmp_path: Path
) -> None:
    with open_archive(exported, format="discovery-export") as archive:
        archive.extract(tmp_path / "unpacked")
    folder = tmp_path / "unpacked"
    for name in ids(exported):
        shown = finished.json("show", name, "--json")
        held = read(folder / "candidates" / name / "record.json")
        for key in ("predictions", "history", "codes", "relaxation", "evaluation", "duplicates"):
            assert held[key] == shown[key]
        crystals = folder / "candidates" / name / "structures"
        assert read(crystals / "relaxed.json") == held["relaxation"]["structure"]
        for kind in ("base", "decoded", "relaxed"):
            exact = Structure(*(read(crystals / f"{kind}.json")[key] for key in CRYSTAL))
            written = Structure.from_file(crystals / f"{kind}.cif")
            assert np.allclose(written.lattice.abc, exact.lattice.abc, rtol=1e-8)
            assert written.composition == exact.composition
            apart = [np.sort(one.distance_matrix, axis=None) for one in (written, exact)]
            assert np.allclose(*apart, atol=1e-6)
        for calculation in (shown.get("verification") or {}).get("records", []):
            place = folder / "calculations" / calculation["hash"]
            assert read(place / "record.json")["result"] == calculation["result"]
            with gzip.open(next(place.glob("outputs/attempt-*/input.json.gz"))) as stream:
                assert read(place / "input.json") == json.load(stream)
    text = (folder / "README.txt").read_text()
    assert all(name in text for name in ids(exported))
    assert max(map(len, text.splitlines())) <= 80
    versions = (folder / "requirements.txt").read_text()
    assert re.search(r"^pymatgen==", versions, re.MULTILINE)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_no_path_of_this_machine_is_in_the_archive(exported: Path, finished: Workplace) -> None:
    with zipfile.ZipFile(exported) as file:
        for name in file.namelist():
            content = file.read(name)
            if name.endswith(".gz"):
                content = gzip.decompress(content)
            if name.endswith("record.json") or not name.startswith("calculations/"):
                assert str(finished.folder).encode() not in content, name
            assert b"mongodb://" not in content, name


def changed(source: Path, target: Path, change: Callable[[str, Any], Any]) -> Path:
    """Copy an archive with JSON files changed, its manifest made anew."""
    with (
        open_archive(source) as archive,
        new_archive(target, format="discovery-export", version=1) as copy,
    ):
        for name in archive.names():
            content = archive.read(name)
            if name.endswith("record.json") or name == "redo.json":
                content = json.dumps(change(name, json.loads(content))).encode()
            copy.add_bytes(name, content)
    return target


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_crystal_that_was_moved_is_found(exported: Path, tmp_path: Path) -> None:
    """One atom of the relaxed crystal, by about 0.1 Å: all that is asked of it is different."""
    moved = ids(exported)[0]

    def change(name: str, document: Any) -> Any:
        if name == f"candidates/{moved}/record.json":
            document["relaxation"]["structure"]["frac_coords"][0][0] += 0.02
        return document

    other = changed(exported, tmp_path / "moved.zip", change)
    code, document = redone(other, tmp_path / "empty")
    assert code == 1
    assert document["agree"] is False
    wrong = {(one["kind"], one["on"]) for one in document["values"] if one["agrees"] is False}
    assert {("potential", "relaxed"), ("alignn", "relaxed")} <= wrong
    assert {on for _, on in wrong} == {"relaxed"}
    assert {one["candidate"] for one in document["values"] if one["agrees"] is False} == {moved}


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_numbers_that_are_not_the_records_are_refused(exported: Path, tmp_path: Path) -> None:
    def change(name: str, document: Any) -> Any:
        if name == "redo.json":
            document["values"][1]["value"] += 1.0
        return document

    other = changed(exported, tmp_path / "other.zip", change)
    process = subprocess.run(
        [sys.executable, "-m", "discovery", "redo", str(other)],
        **{"capture_output": True, "text": True, "timeout": 120},
        env={"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 1
    assert "redo.json has other numbers" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.models
def test_weights_of_others_stay_here_when_asked(
    exported: Path, finished: Workplace, tmp_path: Path, models_dir: Path
) -> None:
    out = tmp_path / "without.zip"
    finished.run("export", ids(exported)[0], "--without-weights", "--out", str(out))
    with open_archive(out) as archive:
        assert not archive.names("models/megnet")
        (entry,) = [m for m in archive.json("models/models.json") if m["model"] == "megnet"]
    assert set(entry["digests"]) == {"formation_energy_per_atom", "band_gap", "p_gap"}
    code, document = redone(out, tmp_path / "empty")
    assert (code, document["agree"], document["complete"]) == (1, True, False)
    missing = [one for one in document["values"] if one["redone"] is None]
    assert {one["kind"] for one in missing} == {"megnet"}
    assert all("MEGNet's weights" in one["reason"] for one in missing)
