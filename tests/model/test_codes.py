"""Crystal codes: round trips, digests, genes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from model.codes import CrystalCodes

CODES = CrystalCodes(
    species=((3, 1), (5, 0)), crystal=(7, 8, 9), local=((1, 2, 3, 4), (5, 6, 7, 8), (0, 0, 0, 0))
)


def test_record_survives_json() -> None:
    assert CrystalCodes.from_record(json.loads(json.dumps(CODES.record()))) == CODES


def test_genes_are_species_then_crystal_and_can_be_replaced() -> None:
    assert CODES.global_genes == (3, 1, 5, 0, 7, 8, 9)
    other = CODES.with_global_genes([9, 9, 4, 4, 1, 2, 3])
    assert other.species == ((9, 9), (4, 4))
    assert other.crystal == (1, 2, 3)
    assert other.local == CODES.local
    assert CODES.with_global_genes(CODES.global_genes) == CODES


def test_many_replacements_at_once_equal_single_ones() -> None:
    rows = [[9, 9, 4, 4, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]]
    many = CODES.with_many_global_genes(rows)
    assert many == [CODES.with_global_genes(row) for row in rows]
    assert [codes.digest() for codes in many] == [
        CODES.with_global_genes(row).digest() for row in rows
    ]
    cell_only = CrystalCodes((), (3, 4), ((1, 2), (5, 6)))
    assert cell_only.with_many_global_genes([[7, 8]]) == [cell_only.with_global_genes([7, 8])]
    with pytest.raises(ValueError, match="7 global genes, got 6"):
        CODES.with_many_global_genes([[0] * 6])
    with pytest.raises(ValueError, match="got -1"):
        CODES.with_many_global_genes([[0, 0, 0, 0, 0, 0, -1]])


def test_digest_tells_codes_apart_and_is_the_same_in_another_process() -> None:
    changed = CODES.with_global_genes([3, 1, 5, 0, 7, 8, 10])
    # The same flat integers in another shape are another crystal.
    regrouped = CrystalCodes(((3,), (1,), (5,), (0,)), CODES.crystal, CODES.local)
    assert len({CODES.digest(), changed.digest(), regrouped.digest()}) == 3
    script = (
        "import json, sys; from model.codes import CrystalCodes; "
        "print(CrystalCodes.from_record(json.loads(sys.argv[1])).digest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, json.dumps(CODES.record())],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "77", "PATH": ""},
    )
    assert run.stdout.strip() == CODES.digest()


def test_invalid_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="7 global genes, got 6"):
        CODES.with_global_genes([0] * 6)
    with pytest.raises(ValueError, match="got -1"):
        CODES.with_global_genes([0, 0, 0, 0, 0, 0, -1])
    with pytest.raises(ValueError, match="at least one"):
        CrystalCodes((), (), ((1, 1, 1, 1),))
    with pytest.raises(ValueError, match="differ in their number of local codes"):
        CrystalCodes(((1, 1),), (1,), ((1, 1, 1), (1, 1)))
    with pytest.raises(ValueError, match="lacks"):
        CrystalCodes.from_record({"species": [[1]], "crystal": [1]})


def test_codes_without_species_tokens_have_crystal_genes_only() -> None:
    codes = CrystalCodes((), (3, 4), ((1, 2), (5, 6)))
    assert codes.global_genes == (3, 4)
    assert codes.with_global_genes([7, 8]) == CrystalCodes((), (7, 8), codes.local)
    assert CrystalCodes.from_record(codes.record()) == codes


def test_equal_codes_have_one_hash_however_they_were_made() -> None:
    codes = CrystalCodes(species=((1, 2), (3, 4)), crystal=(5, 6), local=((7, 8, 9, 10),))
    same = codes.with_many_global_genes([codes.global_genes])[0]
    assert hash(same) == hash(codes) == hash(codes)
    assert {codes: 1}[copy.deepcopy(same)] == 1
    assert replace(codes, crystal=(5, 7)) not in {codes}
