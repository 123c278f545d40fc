"""The pages of one candidate: every number, hostile text, questions of no page."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from dashboard_browser import CAMPAIGN, HOSTILE, Browser, Record, links, stored_candidate, table
from dashboard_browser import text as written
from filter_cases import START
from pymatgen.core import Lattice, Structure

from db.connection import Session
from db.crystals import structure_to_record
from discovery.dashboard import markup
from discovery.dashboard.candidate_numbers import numbers

CRYSTAL = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ONE, OTHER = f"{CAMPAIGN}-a", f"{CAMPAIGN}-b"


def prediction(name: str, model: str, value: float, **more: Any) -> Record:
    known = {"unit": "eV", "version": "2", "level": "pbe", "in_domain": True, "on": "relaxed"}
    return {"property": name, "model": model, "value": value, **known, **more}


def candidate(name: str, seq: int) -> Record:
    """A candidate of CsCl that equals the other one."""
    other = OTHER if name == ONE else ONE
    larger = CRYSTAL.copy()
    larger.scale_lattice(1.1 * CRYSTAL.volume)
    match = {"id": other, "rms": 0.01, "rms_angstrom": 0.02, "label": HOSTILE}
    tolerances = {"ltol": 0.3, "stol": 0.5, "angle_tol": 10}
    compared = {"reference": "campaign", "compared": 7, "matches": [match], "vacuum": None}
    return {
        **stored_candidate(seq, random.Random(1)),
        "_id": name,
        "codes_hash": name,
        "seq": seq,
        "state": "rejected",
        "rejection": {"reason": HOSTILE, "detail": {"by": HOSTILE}, "stage": "screen"},
        "codes": {"species": [[1]], "crystal": [2], "local": [[3], [4]]},
        "base_id": HOSTILE,
        "history": [
            {"to": "proposed", "at": START, "agent": "test", "code_version": HOSTILE, "inputs": {}}
        ],
        "formula": "CsCl",
        "elements": ["Cl", "Cs"],
        "structure": structure_to_record(CRYSTAL),
        "relaxation": {
            **{"energy": -7.5, "max_force": 0.01, "max_stress": 0.0002, "potential": "chgnet"},
            **{"version": "0.3.0", "structure": structure_to_record(larger)},
        },
        "predictions": [
            prediction("band_gap", "megnet", 5.4321),
            prediction("band_gap", HOSTILE, -1234.5, std=0.25, in_domain=False),
        ],
        "verification": {
            **{"band_gap": 5.1, "formation_energy_per_atom": -2.0, "level": "gpaw-pbe"},
            **{"targets": {"band_gap": False}, "hit": False, "space_group": 221},
        },
        "duplicates": {"campaign": {**compared, "tolerances": tolerances}},
    }


@pytest.fixture
def pair(database: Session, browser: Browser) -> Browser:
    """A dashboard with two candidates that equal one another."""
    database.database["candidates"].insert_many([candidate(ONE, 900), candidate(OTHER, 901)])
    return browser


def test_every_number_has_its_source(pair: Browser) -> None:
    page = pair.open(f"/candidate/{ONE}")
    head, *rows = table(page, "numbers")
    assert head == ["Quantity", "Value", "Unit", "Source", "Crystal", "Remark"]
    assert [row[:5] for row in rows] == [
        ["formation_energy_per_atom", "−2.0000", "eV/atom", "DFTgpaw-pbe", "as DFT computed it"],
        ["band_gap", "5.1000", "eV", "DFTgpaw-pbe", "as DFT computed it"],
        ["band_gap", "5.4321", "eV", "megnet 2pbe", "relaxed"],
        ["band_gap", "−1,234.5000 ± 0.250", "eV", f"{HOSTILE} 2pbe", "relaxed"],
        ["energy of the cell", "−7.5000", "eV", "chgnet 0.3.0", "relaxed"],
        ["largest force", "0.0100", "eV/Å", "chgnet 0.3.0", "relaxed"],
        ["largest stress", "0.00020", "eV/Å³", "chgnet 0.3.0", "relaxed"],
    ]
    assert [row[5] for row in rows] == ["", "outside the window", "", "out of domain", "", "", ""]


def test_the_cell_is_compared_and_the_match_is_linked(pair: Browser) -> None:
    page = pair.open(f"/candidate/{ONE}")
    (volume,) = [row for row in table(page, "cell") if row[0].startswith("V")]
    assert [float(cell) for cell in volume[1:]] == pytest.approx(
        [4.1**3 / 2, 1.1 * 4.1**3 / 2, 0.1 * 4.1**3 / 2], abs=1e-4
    )
    assert table(page, "matches")[1] == [OTHER, "campaign", "0.0100", "0.0200", HOSTILE]
    assert links(page)[OTHER] == f"/candidate/{OTHER}"
    assert links(page)["Side by side"] == f"/candidate/{ONE}/duplicates"
    assert "Pm-3m (221), of the crystal DFT computed" in written(page)


def test_text_of_records_stays_text(pair: Browser) -> None:
    page = pair.open(f"/candidate/{ONE}")
    assert HOSTILE in written(page)
    raw = json.dumps(page)
    for forbidden in ("dangerously", "Markdown", "javascript:"):
        assert forbidden not in raw


def asked(browser: Browser, part: str, about: Any) -> tuple[int, str]:
    answer = browser.ask(f"{part}.children", [(f"{part}-about", "data", about)])
    if answer.status_code != 200:
        return answer.status_code, answer.text
    return 200, written(json.loads(answer.text)["response"][part]["children"])


def test_duplicates_come_side_by_side(pair: Browser) -> None:
    assert "Laying the crystals" in written(pair.open(f"/candidate/{ONE}/duplicates"))
    status, said = asked(pair, "duplicates-matches", ONE)
    assert status == 200
    assert "In this campaign" in said
    assert OTHER in said
    assert "0.0200" in said


@pytest.mark.parametrize("about", [None, 3, "", "x" * 201, {"id": ONE}, [ONE], "no-such"])
@pytest.mark.parametrize("part", ["duplicates-matches", "candidate-family", "map-part"])
def test_what_no_page_sends_is_refused_in_a_sentence(pair: Browser, part: str, about: Any) -> None:
    status, said = asked(pair, part, about)
    assert status == 200
    assert said.startswith("Not possible: ")
    assert said.endswith(".")
    assert "Traceback" not in said


def test_a_candidate_without_crystal_says_so(pair: Browser, database: Session) -> None:
    bare = {**candidate(f"{CAMPAIGN}-c", 902), "structure": None, "relaxation": {}}
    bare |= {"formula": None, "predictions": [], "verification": {}, "duplicates": {}}
    database.database["candidates"].insert_one(bare)
    said = written(pair.open(f"/candidate/{CAMPAIGN}-c"))
    for sentence in (
        "Its codes decode to no crystal.",
        "No model has judged it yet.",
        "It was compared with no other crystal.",
        "There is no crystal.",
    ):
        assert sentence in said
    assert "compared with no other" in written(pair.open(f"/candidate/{CAMPAIGN}-c/duplicates"))


def test_an_unknown_candidate_is_said_in_a_sentence(pair: Browser) -> None:
    for path in ("/candidate/nothing", "/candidate/nothing/duplicates"):
        assert "there is no candidate 'nothing'" in written(pair.open(path))


def test_the_window_is_noted_at_the_energy_that_was_judged() -> None:
    plain = {"formation_energy_per_atom": -2.0, "formation_energy_per_atom_mp2020": -2.5}
    plain |= {"mp2020_terms": ["oxide"], "targets": {"formation_energy_per_atom": True}}
    plain |= {"level": "gpaw-pbe"}
    raw, corrected = "formation_energy_per_atom", "formation_energy_per_atom_mp2020"
    inside = "inside the window"
    for judged, notes in (
        ({}, {raw: inside, corrected: "oxide"}),
        ({f"{raw}_judged": -2.0}, {raw: inside, corrected: "oxide"}),
        ({f"{raw}_judged": -2.5}, {raw: "", corrected: f"{inside}, oxide"}),
        ({f"{raw}_judged": -2.7}, {raw: "", corrected: "oxide", f"{raw}_judged": inside}),
    ):
        found = numbers({"predictions": [], "verification": {**plain, **judged}})
        assert {one.property: one.note for one in found} == notes


def test_numbers_of_a_record_without_any() -> None:
    assert numbers({"predictions": []}) == []
    assert markup.number(None) == markup.NOTHING
