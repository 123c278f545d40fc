"""Filters that mean nothing, or mean harm: one sentence, quickly, and no query is asked."""

from __future__ import annotations

import time

import pytest
from ase.data import chemical_symbols

from db.filters import InvalidFilter, UnknownName, find_field, parse
from db.filters.values import ELEMENTS
from db.selection import select

REFUSED = {
    # not the language
    "": "empty",
    "   \n ": "empty",
    "band_gap": "ends too early",
    "band_gap >=": "ends too early",
    "band_gap >= 0.5 AND": "ends too early",
    "(band_gap >= 0.5": "ends too early",
    "band_gap >= 0.5)": "cannot be read at character 16",
    "band_gap => 0.5": "cannot be read at character",
    "band_gap == 0.5": "cannot be read at character",
    "band_gap ~ 0.5": "cannot be read at character 10",
    "NOT NOT hit = TRUE": "cannot be read at character 5",
    "hit = true": "a name where a value belongs",
    'formula = "GaN': "cannot be read at character 11",
    'formula = "Ga"N"': "cannot be read",
    "nelements = 1 natoms = 2": "side by side at character 15",
    'elements:natoms HAS "Ga":1': "in pairs",
    # operators of the database, and code
    '{"$where": "sleep(1000)"}': "cannot be read at character 1",
    "$where = 1": "cannot be read at character 1",
    'band_gap = {"$gt": 0}': "cannot be read at character 12",
    'campaign.$where = "1"': "cannot be read",
    "__import__('os').system('true')": "cannot be read",
    "band_gap >= 0 || 1 == 1": "cannot be read",
    "1 = 1": "not two values",
    "1 = band_gapp": "did you mean band_gap",
    "lease.owner IS KNOWN": "no field of a candidate",
    "codes.crystal = 1": "no field of a candidate",
    '_id = "x" OR history IS KNOWN': "no field of a candidate",
    "band_gap_megnet.a.b = 1": "no field of a candidate",
    "properties.properties.band_gap = 1": "no field of a candidate",
    # names and values that do not fit
    "bandgap > 1": "did you mean band_gap",
    "p_gap > 0.5": "did you mean p_gap_megnet",
    "band_gap = TRUE": "is a number",
    'band_gap = "1"': "is a number",
    "band_gap > natoms": "two fields are not compared",
    "hit = 1": "TRUE or FALSE",
    "hit > FALSE": "it has = and !=",
    'state = "done"': "use one of proposed, ",
    'state > "proposed"': "it has = and !=",
    'elements = "Ga"': "write elements HAS",
    'elements HAS "Xx"': "no chemical element",
    'elements HAS "ga"': "no chemical element",
    "elements HAS 31": "double quotes",
    'elements HAS < "Ga"': "without an operator",
    'elements HAS ALL "Ga", < "N"': "without an operator",
    'formula HAS "Ga"': "not a list",
    "formula LENGTH 3": "not a list",
    "formula = 7": "double quotes",
    'formula = "gallium nitride"': "is no formula",
    'formula = "Xx2"': "is no formula",
    'formula = "Ga0"': "without atoms",
    'chemical_system = "Ga-"': "no chemical element",
    'band_gap CONTAINS "1"': "for texts",
    'formula CONTAINS ""': "not empty",
    "formula CONTAINS 1": "double quotes",
    'created_at > "yesterday"': "is no time",
    # sizes
    "band_gap < 1e400": "too large",
    "band_gap < 1e300": "too large",
    "natoms < 99999999999999999999999999": "too large",
    "band_gap < " + "9" * 5000: "too large",
    "elements LENGTH " + "9" * 5000: "too large",
    "band_gap < NaN": "cannot be read",
    "band_gap < Infinity": "cannot be read",
    "a" * 9000 + " = 1": "no field of a candidate",
    "(" * 40 + "hit = TRUE" + ")" * 40: "more than 20 deep",
    "(" * 4900 + "hit = TRUE" + ")" * 4900: "more than 20 deep",
    "NOT (" * 1500 + "hit = TRUE" + ")" * 1500: "more than 20 deep",
    " OR ".join(["hit = TRUE"] * 5000): "at most 10000",
    '"' * 9001: "cannot be read",
    'formula = "' + "(" * 5000: "cannot be read",
    'formula = "' + "Ga(" * 30 + ")" * 30 + '"': "is no formula",
    # characters
    'formula = "Ga\x00N"': "which is no text",
    'formula = "Ga\udcffN"': "which is no text",
    "band_gap\u202e > 1": "cannot be read at character 9",
    "bänd_gap > 1": "cannot be read at character 2",
    "band_gap ≥ 1": "cannot be read at character 10",
    "band_gap\u00a0> 1": "cannot be read",
    'elements HAS "Ga\u200b"': "no chemical element",
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.items(), ids=[f"{t:.30}" for t in REFUSED])
def test_it_gets_one_sentence_and_never_reaches_the_database(text: str, sentence: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidFilter) as caught:
        select("c", where=text)  # not connected: any question to a database would fail otherwise
    assert time.process_time() - started < 2.0
    message = str(caught.value)
    assert sentence in message
    assert "\n" not in message
    assert len(message) < 400
    assert message.isprintable()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", ".*" * 500, "(?:" * 99, "[", "\\", "a{99999}", "$("],
)
def test_what_is_looked_for_in_a_text_is_never_a_pattern(pattern: str) -> None:
    from bson import encode

    from db.filters import to_mongo

    quoted = pattern.replace("\\", "\\\\").replace('"', '\\"')
    query = to_mongo(parse(f'proposer CONTAINS "{quoted}"'))
    encode(query)
    (condition,) = query.values()
    assert (
        condition["$regex"].replace("\\\\", "\0").replace("\\", "").replace("\0", "\\") == pattern
    )


def test_long_filters_are_read_in_time_that_grows_with_their_length() -> None:
    text = " OR ".join(f"seq = {number}" for number in range(600))
    assert len(text) > 7000
    started = time.process_time()
    parse(text)
    assert time.process_time() - started < 2.0


def test_names_and_elements_are_whitelists() -> None:
    assert set(chemical_symbols[1:]) == ELEMENTS
    for name in ("state", "verification.band_gap", "band_gap_megnet", "band_gap_head@pbe"):
        assert find_field(name).path.split(".")[0] in (*("state", "properties", "levels"),)
    for name in ("", "-", "$where", "lease", "history", "band_gap_", "band_gap_$where", "p_gap_A"):
        with pytest.raises(UnknownName):
            find_field(name)
    for sort in ("lease.owner", "-$where", "--band_gap"):
        with pytest.raises(UnknownName):
            select(sort=sort)
