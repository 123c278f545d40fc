"""Filters beside what they mean in Python, and candidates with every kind of gap to try them on."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from db.property_table import table_fields
from db.states import State

Record = dict[str, Any]

SYMBOLS = ("Ga", "In", "N", "O", "As", "Cs", "Pb", "I", "Si", "C")
START = datetime(2026, 1, 1, tzinfo=UTC)


def make_candidate(number: int, source: random.Random) -> Record:
    """Make a stored candidate; each value is missing, null or there."""
    elements = sorted(source.sample(SYMBOLS, source.randint(1, 4)))
    campaign = source.choice(["one", "two"])
    document: Record = {
        "_id": f"{campaign}-{number:06d}",
        "campaign": campaign,
        "seq": number,
        "generator_version": "g1",
        "codes_hash": str(number),
        "codes": {},
        "proposer": source.choice(["genetic", "random", "optuna_tpe", 'a"b\\c', "ge.etic", None]),
        "episode": source.randint(0, 3),
        "generation": source.choice([0, 1, 2, None]),
        "state": source.choice([str(state) for state in State]),
        "lease": None,
        "token": 0,
        "attempts": 0,
        "created_at": START + timedelta(hours=number),
        "predictions": [],
        "history": [],
    }
    if source.random() < 0.8:
        document |= {
            "elements": elements,
            "chemical_system": "-".join(elements),
            "formula": "".join(elements) if len(elements) != 2 else _binary(elements),
            "n_atoms": source.randint(1, 20),
        }
    for model, level in (("head", "pbe"), ("head", "castelli2012"), ("megnet", "pbe-mp2018")):
        for name in ("band_gap", "formation_energy_per_atom"):
            for _ in range(source.choice([0, 0, 1, 2])):
                document["predictions"].append(
                    {
                        "property": name,
                        "model": model,
                        "level": level,
                        "value": _number(source),
                    }
                )
    if source.random() < 0.1:
        value = {"property": "energy_above_hull", "model": "DPA-3.1-3M:Omat24", "level": "dpa"}
        document["predictions"].append({**value, "value": _number(source)})
    if source.random() < 0.5:
        document["verification"] = {
            "band_gap": source.choice([None, 0.0, _number(source)]),
            "formation_energy_per_atom": _number(source),
            "hit": source.choice([True, False, None]),
            "space_group": source.choice([1, 62, 194, 221, 225, 227, None]),
        }
    if source.random() < 0.3:
        document["rejection"] = {"reason": source.choice(["smact", "max_force"]), "detail": {}}
    return {**document, **table_fields(document)}


def _binary(elements: list[str]) -> str:
    return "GaN" if elements == ["Ga", "N"] else "".join(elements)


def _number(source: random.Random) -> float:
    return round(source.uniform(-3.0, 3.0), 1)


def predicted(record: Record, name: str, model: str, level: str | None = None) -> Any:
    """The last prediction of a model, or None."""
    values = [
        one["value"]
        for one in record["predictions"]
        if (one["property"], one["model"]) == (name, model) and level in (None, one["level"])
    ]
    return values[-1] if values else None


def verified(record: Record, name: str) -> Any:
    """A number of the verification, or None."""
    return (record.get("verification") or {}).get(name)


def _is(value: Any, test: Callable[[Any], bool]) -> bool:
    return value is not None and test(value)


def _gap(record: Record) -> Any:
    return verified(record, "band_gap")


def _set(record: Record) -> set[str]:
    return set(record.get("elements") or [])


CASES: list[tuple[str, Callable[[Record], bool]]] = [
    ("band_gap >= 0.5", lambda r: _is(_gap(r), lambda v: v >= 0.5)),
    ("band_gap<0.5", lambda r: _is(_gap(r), lambda v: v < 0.5)),
    ("band_gap = 0", lambda r: _gap(r) == 0),
    ("band_gap != 0", lambda r: _is(_gap(r), lambda v: v != 0)),
    ("NOT band_gap = 0", lambda r: _is(_gap(r), lambda v: v != 0)),
    ("NOT band_gap > 1.0", lambda r: _is(_gap(r), lambda v: v <= 1.0)),
    ("0.5 <= band_gap AND 2.5 >= band_gap", lambda r: _is(_gap(r), lambda v: 0.5 <= v <= 2.5)),
    ("band_gap IS KNOWN", lambda r: _gap(r) is not None),
    ("band_gap IS UNKNOWN", lambda r: _gap(r) is None),
    ("NOT band_gap IS KNOWN", lambda r: _gap(r) is None),
    ("band_gap_megnet > 1.5", lambda r: _is(predicted(r, "band_gap", "megnet"), lambda v: v > 1.5)),
    (
        "band_gap_head <= -1.0",
        lambda r: _is(predicted(r, "band_gap", "head"), lambda v: v <= -1.0),
    ),
    (
        "band_gap_head.castelli2012 > 0",
        lambda r: _is(predicted(r, "band_gap", "head", "castelli2012"), lambda v: v > 0),
    ),
    (
        "band_gap_megnet.pbe_mp2018 != 1.0",
        lambda r: _is(predicted(r, "band_gap", "megnet", "pbe-mp2018"), lambda v: v != 1.0),
    ),
    (
        "energy_above_hull_dpa_3_1_3m_omat24 < 0.05",
        lambda r: _is(predicted(r, "energy_above_hull", "DPA-3.1-3M:Omat24"), lambda v: v < 0.05),
    ),
    (
        "energy_above_hull_dpa_3_1_3m_omat24 IS UNKNOWN AND natoms < 3",
        lambda r: (
            predicted(r, "energy_above_hull", "DPA-3.1-3M:Omat24") is None
            and _is(r.get("n_atoms"), lambda v: v < 3)
        ),
    ),
    (
        "band_gap_megnet > 0 AND band_gap_head > 0 AND formation_energy_per_atom_megnet < -0.5",
        lambda r: (
            _is(predicted(r, "band_gap", "megnet"), lambda v: v > 0)
            and _is(predicted(r, "band_gap", "head"), lambda v: v > 0)
            and _is(predicted(r, "formation_energy_per_atom", "megnet"), lambda v: v < -0.5)
        ),
    ),
    ('elements HAS "Ga"', lambda r: "Ga" in _set(r)),
    ('elements HAS ALL "Ga","N"', lambda r: {"Ga", "N"} <= _set(r)),
    ('elements HAS ANY "Cs","Pb"', lambda r: bool({"Cs", "Pb"} & _set(r))),
    (
        'elements HAS ONLY "Ga","N","As"',
        lambda r: bool(_set(r)) and _set(r) <= {"Ga", "N", "As"},
    ),
    ('NOT elements HAS "Ga"', lambda r: bool(_set(r)) and "Ga" not in _set(r)),
    ('NOT elements HAS ALL "Ga","N"', lambda r: bool(_set(r)) and not {"Ga", "N"} <= _set(r)),
    (
        'NOT elements HAS ONLY "Ga","N","As"',
        lambda r: not _set(r) <= {"Ga", "N", "As"},
    ),
    ("elements LENGTH 3", lambda r: len(_set(r)) == 3),
    ("elements LENGTH >= 3", lambda r: len(_set(r)) >= 3),
    ("nelements != 2", lambda r: len(_set(r)) not in (0, 2)),
    ("elements IS UNKNOWN", lambda r: not _set(r)),
    ("natoms <= 4 OR n_atoms > 18", lambda r: _is(r.get("n_atoms"), lambda v: v <= 4 or v > 18)),
    ("4 < nsites AND nsites < 6", lambda r: r.get("n_atoms") == 5),
    ('formula = "NGa"', lambda r: r.get("formula") == "GaN"),
    ('formula != "GaN"', lambda r: _is(r.get("formula"), lambda v: v != "GaN")),
    ('formula STARTS WITH "As"', lambda r: _is(r.get("formula"), lambda v: v.startswith("As"))),
    ('formula STARTS "As"', lambda r: _is(r.get("formula"), lambda v: v.startswith("As"))),
    ('formula ENDS WITH "O"', lambda r: _is(r.get("formula"), lambda v: v.endswith("O"))),
    ('NOT formula CONTAINS "In"', lambda r: _is(r.get("formula"), lambda v: "In" not in v)),
    ('formula CONTAINS "."', lambda r: _is(r.get("formula"), lambda v: "." in v)),
    ('chemical_system = "N-Ga"', lambda r: r.get("chemical_system") == "Ga-N"),
    ('chemsys = "O-In-Ga"', lambda r: r.get("chemical_system") == "Ga-In-O"),
    ('state = "verified"', lambda r: r["state"] == "verified"),
    ('status != "rejected"', lambda r: r["state"] != "rejected"),
    (
        'state = "screened" OR state = "selected" AND hit = TRUE',
        lambda r: (
            r["state"] == "screened" or (r["state"] == "selected" and verified(r, "hit") is True)
        ),
    ),
    (
        '(state = "screened" OR state = "selected") AND hit = TRUE',
        lambda r: r["state"] in ("screened", "selected") and verified(r, "hit") is True,
    ),
    ("hit = TRUE", lambda r: verified(r, "hit") is True),
    ("hit = FALSE", lambda r: verified(r, "hit") is False),
    ("hit != TRUE", lambda r: verified(r, "hit") is False),
    ("NOT hit = FALSE", lambda r: verified(r, "hit") is True),
    ('campaign = "two" AND seq < 100', lambda r: r["campaign"] == "two" and r["seq"] < 100),
    (
        'proposer = "genetic" AND episode = 1 AND generation != 0',
        lambda r: r["proposer"] == "genetic" and r["episode"] == 1 and r["generation"] in (1, 2),
    ),
    ('proposer CONTAINS "e.e"', lambda r: "e.e" in (r["proposer"] or "")),
    ('proposer = "a\\"b\\\\c"', lambda r: r["proposer"] == 'a"b\\c'),
    ('proposer ENDS WITH "\\\\c"', lambda r: (r["proposer"] or "").endswith("\\c")),
    ("proposer IS UNKNOWN", lambda r: r["proposer"] is None),
    ('reason = "smact"', lambda r: (r.get("rejection") or {}).get("reason") == "smact"),
    ("space_group >= 195", lambda r: _is(verified(r, "space_group"), lambda v: v >= 195)),
    ("space_group = 225 OR space_group = 227", lambda r: verified(r, "space_group") in (225, 227)),
    (
        'created_at >= "2026-01-03" AND created_at < "2026-01-04T00:00:00Z"',
        lambda r: START + timedelta(days=2) <= r["created_at"] < START + timedelta(days=3),
    ),
    (
        'NOT (band_gap > 0 AND NOT (hit = TRUE OR elements HAS "O"))',
        # Of what is unknown, neither a comparison nor its contrary is true.
        lambda r: _is(_gap(r), lambda v: v <= 0) or verified(r, "hit") is True or "O" in _set(r),
    ),
    (
        "verification.band_gap > 2 AND verification.hit = TRUE",
        lambda r: _is(_gap(r), lambda v: v > 2) and verified(r, "hit") is True,
    ),
]
"""Filter, and whether a stored candidate fulfils it, by what is in its lists and tables."""

ATOMS: list[tuple[str, Callable[[Record], Any], Callable[[Any], bool]]] = [
    ("band_gap > 0.3", _gap, lambda v: v > 0.3),
    ("hit = TRUE", lambda r: verified(r, "hit"), lambda v: v),
    ("band_gap_megnet <= 0.7", lambda r: predicted(r, "band_gap", "megnet"), lambda v: v <= 0.7),
    ("natoms != 7", lambda r: r.get("n_atoms"), lambda v: v != 7),
    ('formula CONTAINS "Ga"', lambda r: r.get("formula"), lambda v: "Ga" in v),
    ('elements HAS ANY "O","N"', lambda r: _set(r) or None, lambda v: bool(v & {"O", "N"})),
    ('elements HAS ONLY "O","N","C"', lambda r: _set(r) or None, lambda v: v <= {"O", "N", "C"}),
    ('state = "verified"', lambda r: r["state"], lambda v: v == "verified"),
]
"""Filter, its value in a candidate (None: unknown), and whether that value fulfils it."""


def random_filter(
    source: random.Random, depth: int = 4
) -> tuple[str, Callable[[Record], bool | None]]:
    """Draw a filter and its meaning in the three-valued logic of Kleene (None: unknown)."""
    kind = source.choice(["atom", "not", "and", "or"]) if depth else "atom"
    if kind == "atom":
        text, value, test = source.choice(ATOMS)

        def atom(record: Record) -> bool | None:
            found = value(record)
            return None if found is None else test(found)

        return text, atom
    if kind == "not":
        text, inner = random_filter(source, depth - 1)

        def contrary(record: Record) -> bool | None:
            found = inner(record)
            return None if found is None else not found

        return f"NOT ({text})", contrary
    terms = [random_filter(source, depth - 1) for _ in range(source.randint(2, 3))]
    deciding = kind == "or"

    def joined(record: Record) -> bool | None:
        found = [term(record) for _, term in terms]
        if deciding in found:
            return deciding
        return None if None in found else not deciding

    return f" {kind.upper()} ".join(f"({text})" for text, _ in terms), joined
