"""Conditions on values that are not stored: read once for a filter, and not too many of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from db.filters import Expression, InvalidFilter, parse
from discovery.serve import conditions
from discovery.serve.names import find_property

SERVED = conditions.ALWAYS
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read of the database, of which two candidates are served."""
    made: list[str] = []
    answers = {
        "_formulas": ["GaN", "Ga2O3"],
        "_times": [(one, START + timedelta(days=day)) for day, one in enumerate("ab")],
        "_numbers_of_sites": [("a", 2), ("b", 5)],
    }

    def reader(name: str) -> object:
        def read(served: Expression) -> object:
            assert served is SERVED
            made.append(name)
            return answers[name]

        return read

    for name in answers:
        monkeypatch.setattr(conditions, name, reader(name))
    return made


def resolved(text: str) -> Expression:
    return conditions.resolve(parse(text, find_property), SERVED)


def test_each_value_is_read_once_for_a_filter(reads: list[str]) -> None:
    times = 'last_modified > "2026-11-01T12:00:00Z" AND last_modified < "2026-12-01T00:00:00Z"'
    formulas = " OR ".join(['chemical_formula_reduced = "GaN"'] * 50)
    found = resolved(f"nsites >= 2 AND NOT nsites = 5 AND {times} AND ({formulas})")
    assert sorted(reads) == ["_formulas", "_numbers_of_sites", "_times"]
    assert "'b'" in repr(found)
    resolved("nsites = 2")
    assert len(reads) == 4  # nothing is remembered for the next filter


@pytest.mark.parametrize("name", ["nsites > {}", 'last_modified > "2026-11-0{}T00:00:00Z"'])
def test_more_lists_of_ids_are_refused(name: str, reads: list[str]) -> None:
    most = conditions.MOST_ASKED_AS_IDS
    terms = [name.format(number) for number in range(1, most + 2)]
    resolved(" OR ".join(terms[:most]))
    with pytest.raises(InvalidFilter, match="4 conditions on nsites and last_modified at most"):
        resolved(" AND ".join(terms))
