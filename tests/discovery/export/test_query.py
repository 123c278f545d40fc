"""`discovery query` and the Python interface: eight forms, one order, files whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from filter_cases import make_candidate
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from db import campaigns
from db.connection import Session, ensure_indexes
from db.crystals import record_to_structure, structure_to_record
from db.filters import InvalidFilter, UnknownName
from db.filters.fields import BY_NAME
from db.selection import best_structure, select
from discovery import connect
from discovery.cli import app
from discovery.export.candidates import choose, records
from discovery.export.formats import Format
from discovery.export.output_files import OutputExists
from discovery.export.writing import write

DOCS = Path(__file__).parents[3] / "docs" / "query.md"
COUNT = 40
Record = dict[str, Any]


def crystal(source: random.Random) -> Record:
    symbols = source.sample(["Ga", "N", "In", "As"], 2)
    lattice = Lattice.from_parameters(3.5 + source.random(), 4, 5, 90, 90, 100)
    place = [source.random() for _ in range(3)]
    return structure_to_record(Structure(lattice, symbols, [[0, 0, 0], place]))


@pytest.fixture(scope="module")
def stored(mongo_session: Session) -> list[Record]:
    """Candidates of campaign "one", in order of proposal; every tenth has no crystal."""
    database, source = mongo_session.database, random.Random(5)
    for name in ("candidates", "campaigns", "calculations"):
        database[name].delete_many({})
    ensure_indexes()
    for campaign in ("one", "two"):
        campaigns.create(campaign, config={}, seed=0)
    made = []
    for number in range(COUNT):
        one = make_candidate(number, source)
        one |= {"_id": f"one-{number:03d}", "campaign": "one", "base_id": str(number)}
        if one["state"] == "verified":
            one.setdefault("verification", {"band_gap": None})
        if number % 10:
            one["structure"] = crystal(source)
            one["relaxation"] = {"max_force": 0.1, "structure": crystal(source)}
        if number % 10 == 1:
            one["relaxation"] = {"structure": None}
        made.append(one)
    made[2]["verification"] = {"band_gap": 9.0, "hit": True, "calculations": {"compound": "h1"}}
    made[2]["properties"] |= {"band_gap": 9.0}
    database["candidates"].insert_many(made)
    database["calculations"].insert_one({"_id": "h1", "kind": "compound", "state": "completed"})
    return made


@pytest.fixture
def ask(stored: list[Record], mongo_session: Session) -> Any:
    """Run `discovery query` on the stored candidates and return what it prints."""

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(
            app, ["query", *arguments, "--db", address(mongo_session)], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def address(session: Session) -> str:
    base, _, options = session.uri.partition("?")
    return f"{base.rpartition('/')[0]}/{session.database_name}?{options}"


SORT = ("--sort", "-band_gap_head")


def expected(stored: list[Record], *, with_crystal: bool = False) -> list[Record]:
    known = [one for one in stored if "band_gap_head" in one["properties"]]
    unknown = [one for one in stored if "band_gap_head" not in one["properties"]]
    known.sort(key=lambda one: (one["properties"]["band_gap_head"], one["seq"]), reverse=True)
    return [one for one in known + unknown if best_structure(one) or not with_crystal]


def same_crystal(found: Structure, one: Record) -> bool:
    wanted = record_to_structure(best_structure(one) or {})
    apart = found.frac_coords - wanted.frac_coords
    return (
        [site.specie.symbol for site in found] == [site.specie.symbol for site in wanted]
        and np.allclose(found.lattice.parameters, wanted.lattice.parameters, atol=1e-4)
        and np.allclose(apart - np.round(apart), 0, atol=1e-7)
    )


def test_text_forms_hold_the_same_candidates_in_the_same_order(
    ask: Any, stored: list[Record], tmp_path: Path
) -> None:
    names = [one["_id"] for one in expected(stored)]
    whole = json.loads(ask("one", *SORT, "--format", "json"))
    assert [one["id"] for one in whole] == names
    assert whole == [
        json.loads(line) for line in ask("one", *SORT, "--format", "jsonl").split("\n") if line
    ]
    by_id = {one["id"]: one for one in whole}
    assert by_id[stored[2]["_id"]]["verification"]["records"] == [
        {"hash": "h1", "kind": "compound", "state": "completed"}
    ]
    assert "history" in whole[0]
    rows = list(csv.DictReader(io.StringIO(ask("one", *SORT, "--format", "csv"))))
    assert [one["id"] for one in rows] == names
    for flat in rows:
        for name, value in by_id[flat["id"]]["properties"].items():
            assert float(flat[name]) == value
    table = ask("one", *SORT).splitlines()
    assert [line.split()[0] for line in table[1:-1]] == names
    assert table[-1] == f"{COUNT} candidates"
    out = tmp_path / "all.csv"
    ask("one", *SORT, "--format", "csv", "--out", str(out))
    assert list(csv.DictReader(out.open())) == rows


def test_fields_are_the_columns(ask: Any, stored: list[Record]) -> None:
    fields = ("--fields", "formula, band_gap_head,elements", "--limit", "5")
    flat = json.loads(ask("one", *fields, "--format", "json"))
    assert [list(one) for one in flat] == [["id", "formula", "band_gap_head", "elements"]] * 5
    assert [one["formula"] for one in flat] == [one.get("formula") for one in stored[:5]]
    text = ask("one", *fields, "--format", "csv")
    assert text.splitlines()[0] == "id,formula,band_gap_head,elements"
    assert ask("one", *fields).split()[:4] == ["id", "formula", "band_gap_head", "elements"]


def test_crystals_read_back_in_order_with_their_numbers(
    ask: Any, stored: list[Record], tmp_path: Path
) -> None:
    from ase.db import connect as ase_connect
    from ase.io import read
    from monty.serialization import loadfn
    from pymatgen.io.ase import AseAtomsAdaptor

    wanted = expected(stored, with_crystal=True)
    names = [one["_id"] for one in wanted]
    assert len(names) == COUNT - 4
    for form, out in (
        *(("cif", "cif"), ("extxyz", "a.extxyz")),
        *(("ase-db", "a.db"), ("pymatgen", "a.json")),
    ):
        ask("one", *SORT, "--format", form, "--out", str(tmp_path / out))
    files = sorted((tmp_path / "cif").glob("*.cif"))
    assert [file.stem.partition("-")[2] for file in files] == names
    index = list(csv.DictReader((tmp_path / "cif" / "candidates.csv").open()))
    assert [one["file"] for one in index] == [file.name for file in files]
    frames = read(tmp_path / "a.extxyz", ":")
    assert [frame.info["id"] for frame in frames] == names
    rows = list(ase_connect(tmp_path / "a.db").select())
    assert [one.candidate_id for one in rows] == names
    structures = loadfn(tmp_path / "a.json")
    assert [one.properties["id"] for one in structures] == names
    to_structure = AseAtomsAdaptor.get_structure
    for number, one in enumerate(wanted):
        assert same_crystal(structures[number], one)
        assert same_crystal(to_structure(frames[number]), one)
        assert same_crystal(to_structure(rows[number].toatoms()), one)
        assert structures[number].properties.get("band_gap") == one["properties"].get("band_gap")
        assert frames[number].info.get("hit") == (one.get("verification") or {}).get("hit")
        assert rows[number].data["candidate"].get("band_gap_head") == one["properties"].get(
            "band_gap_head"
        )
    for file, one in zip(files[:5], wanted):
        original = record_to_structure(best_structure(one) or {})
        assert StructureMatcher(scale=False).fit(Structure.from_file(file), original)


def test_frames_are_what_the_files_are(stored: list[Record], mongo_session: Session) -> None:
    with connect(address(mongo_session)) as found:
        frame = found.query("one", sort="-band_gap_head", structures=True)
        assert list(frame["id"]) == [one["_id"] for one in expected(stored)]
        for crystal_found, one in zip(frame["structure"], expected(stored)):
            assert (crystal_found is None) == (best_structure(one) is None)
            assert crystal_found is None or same_crystal(crystal_found, one)
        hits = found.hits("one", fields=["band_gap"])
        assert list(hits.columns) == ["id", "band_gap"]
        wanted = [one for one in stored if (one.get("verification") or {}).get("hit")]
        assert list(hits["id"]) == [one["_id"] for one in wanted]
        assert list(hits["band_gap"].dropna()) == [
            gap for one in wanted if (gap := one["verification"]["band_gap"]) is not None
        ]
        nothing = found.query("two", fields=["formula"])
        assert (len(nothing), list(nothing.columns)) == (0, ["id", "formula"])
        assert found.candidate(stored[2]["_id"])["verification"]["records"]
        assert {one["campaign"] for one in found.campaigns()} == {"one", "two"}
        assert len(list(found.records(where="seq < 3"))) == 3
        with pytest.raises(UnknownName, match="band_gap_nobody"):
            found.query(where="band_gap_nobody > 1")


def test_records_are_written_as_they_come(stored: list[Record]) -> None:
    """No writer holds more than the record it writes (a table: than the rows it measures)."""
    ahead: list[int] = []

    class Counting(io.StringIO):
        written = 0

        def write(self, text: str) -> int:
            self.written += text.count('"id"') + text.count("id=one")
            ahead.append(produced - self.written)
            return super().write(text)

    def produce(chosen: Any) -> Iterator[Record]:
        nonlocal produced
        for record in records(chosen):
            produced += 1
            yield record

    for form in (Format.JSON, Format.JSON_LINES, Format.EXTXYZ, Format.PYMATGEN):
        produced = 0
        ahead.clear()
        with patch("sys.stdout", Counting()):
            write(produce(choose("one", form)), form, None)
        assert produced == COUNT
        assert max(ahead) <= 6, form  # four have no crystal


def test_a_file_appears_whole_or_not_at_all(stored: list[Record], tmp_path: Path) -> None:
    def failing(chosen: Any) -> Iterator[Record]:
        yield from list(records(chosen))[:7]
        raise RuntimeError("lost")

    for form in Format:
        out = tmp_path / "out"
        with pytest.raises(RuntimeError, match="lost"):
            write(failing(choose("one", form)), form, out)
        assert list(tmp_path.iterdir()) == [], form


def test_nothing_is_replaced_without_saying_so(ask: Any, tmp_path: Path) -> None:
    out, folder, mine = tmp_path / "a.csv", tmp_path / "cif", tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    out.write_text("mine")
    arguments = ("one", "--limit", "5", "--format")
    for form in ("csv", "ase-db", "extxyz"):
        with pytest.raises(OutputExists, match="exists: choose another name"):
            ask(*arguments, form, "--out", str(out))
        with pytest.raises(OutputExists, match="is a folder"):
            ask(*arguments, form, "--out", str(mine), "--overwrite")
    assert out.read_text() == "mine"
    ask(*arguments, "csv", "--out", str(out), "--overwrite")
    assert len(out.read_text().splitlines()) == 6
    ask(*arguments, "cif", "--out", str(folder))
    with pytest.raises(OutputExists, match="exists"):
        ask(*arguments, "cif", "--out", str(folder))
    ask("one", "--limit", "2", "--format", "cif", "--out", str(folder), "--overwrite")
    assert len(list(folder.glob("*.cif"))) == 1  # the first has no crystal
    for overwrite in ((), ("--overwrite",)):
        with pytest.raises(OutputExists, match=r"notes\.txt|exists"):
            ask(*arguments, "cif", "--out", str(mine), *overwrite)
    with pytest.raises(OutputExists, match="no folder"):
        ask(*arguments, "cif", "--out", str(out), "--overwrite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "cif", "mine"]
    assert (mine / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--where", '{"$where": "sleep(1000)"}'], "cannot be read at character 1"),
        (["--where", "lease.owner IS KNOWN"], "no field of a candidate"),
        (["--where", "hit = TRUE", "--sort", "-history"], "no field of a candidate"),
    ],
)
def test_a_hostile_question_ends_in_one_sentence_and_touches_nothing(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "discovery", "query", *arguments, "--out", "file"],
        cwd=tmp_path,
        env={"DISCOVERY_HOME": str(tmp_path / "home"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert sentence in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_every_filter_and_command_of_the_page_is_understood(
    stored: list[Record], ask: Any, mongo_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS.read_text()
    commands = re.findall(r"^discovery query (.*)$", page, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        words = [word for word in shlex.split(command) if word != "photovoltaic-3d"]
        ask("one", *(words[: words.index("--out")] if "--out" in words else words), *cif(words))
    language = page.partition("## The language")[2].partition("Conditions are joined")[0]
    filters = [
        text
        for row in language.splitlines()
        if row.startswith("| `")
        for text in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    assert len(filters) >= 16
    for text in [*filters, "NOT band_gap > 1", "nelements = 3"]:
        assert select(where=text).where is not None
    for name in BY_NAME:
        assert f"| `{name}` | {BY_NAME[name].meaning} |" in page
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("MONGODB_URI", address(mongo_session))
    exec(program.replace("photovoltaic-3d", "one"), {})


def cif(words: list[str]) -> list[str]:
    """Formats that need a file are asked for as a table."""
    return ["--format", "table"] if "cif" in words else []


def test_a_filter_that_cannot_be_understood_says_so_in_python_too() -> None:
    with pytest.raises(InvalidFilter, match="cannot be read"):
        choose("one", Format.CSV, where="$where")
