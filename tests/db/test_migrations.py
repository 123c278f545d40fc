"""Records of older versions get what newer ones have, once, under the guard."""

from __future__ import annotations

import random
from typing import Any

from filter_cases import make_candidate

from db import migrations
from db.candidates import load
from db.connection import Session
from db.selection import select, stream

DERIVED = ("properties", "levels", "n_elements", "element_pairs")


def test_old_records_get_their_table_and_are_found_by_it(database: Session) -> None:
    source = random.Random(3)
    new = [make_candidate(number, source) for number in range(1500)]
    old = [{key: value for key, value in one.items() if key not in DERIVED} for one in new]
    collection = database.database["candidates"]
    collection.insert_many(old)
    assert list(stream(select(where="band_gap_megnet > 0"))) == []
    migrations.migrate(database.database)
    stored = {one["_id"]: one for one in collection.find()}
    for one in new:
        found = stored[one["_id"]]
        assert {name: found.get(name) for name in DERIVED} == {n: one.get(n) for n in DERIVED}
    assert len(list(stream(select(where="band_gap_megnet > 0")))) > 100
    assert load(new[0]["_id"]).properties == new[0]["properties"]
    collection.update_one({"_id": new[0]["_id"]}, {"$unset": {"properties": 1, "element_pairs": 1}})
    migrations.migrate(database.database)  # done already: nothing is looked for again
    assert "properties" not in (collection.find_one({"_id": new[0]["_id"]}) or {})


def test_a_record_that_moves_meanwhile_is_not_overwritten(database: Session) -> None:
    source = random.Random(4)
    one: dict[str, Any] = make_candidate(0, source)
    stored = {key: value for key, value in one.items() if key not in DERIVED}
    collection = database.database["candidates"]
    collection.insert_one(stored)
    (write,) = migrations._writes(iter([stored]))
    collection.update_one({"_id": one["_id"]}, {"$inc": {"token": 1}})
    assert collection.bulk_write([write]).matched_count == 0
    migrations.migrate(database.database)
    assert (collection.find_one({"_id": one["_id"]}) or {})["properties"] == one["properties"]
