"""Duplicates in bulk against the Materials Project: right, and how fast?

    python benchmarks/dedup.py --queries 20000 --sample 1000 --processes 2

The reference is the collection `mp` of the database (embedded, or $MONGODB_URI), imported first if
it is not there; the time of the import is not counted, that of reading it is.

Half of the queries are copies of reference crystals: other cell, other origin, other order of the
sites, rattled, with another volume. The other half are new: crystals of one compound with the
elements of another one that has the same stoichiometry, either of which exists in the reference
(so that there is something to confuse them with) or elements drawn at random. The verdict "known
or not" of a sample is compared with StructureMatcher asked about every crystal of the formula; the
matches of the new half count as it says, not as meant. Growth: the same queries against nested
parts of the reference, each a collection of its own while it is measured.
"""

from __future__ import annotations

import json
import random
import resource
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pymongo
import typer
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Structure

from agents.paths import data_path
from agents.screen.duplicates_bulk import Found, search
from agents.screen.references_mongo import MongoReference
from agents.screen.settings import MatcherSettings
from agents.tables import parse_structure, read_rows
from db import reference_collections
from db.connection import connect, current_database
from discovery.references.importing import ensure_imported
from discovery.references.sources import SOURCES

TOLERANCES = MatcherSettings()
#: Cells of the copies; determinant 1, and 2 for a doubled one.
CELLS = (
    ((1, 1, 0), (0, 1, 0), (0, 0, 1)),
    ((1, 0, 0), (1, 1, 0), (0, 1, 1)),
    ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    ((2, 0, 0), (0, 1, 0), (0, 0, 1)),
)
#: Largest change of the volume of a copy, and largest displacement of its atoms (Å).
VOLUME, RATTLE = 0.1, 0.05
#: Seconds that copying or removing a part may take.
PATIENCE = 1200.0
#: Elements of the compounds that are made up.
POOL = (
    *("Li", "Na", "K", "Mg", "Ca", "Sr", "Al", "Ga", "Ti", "Zr", "Fe"),
    *("Zn", "Si", "Ge", "P", "As", "O", "S", "Se", "F", "Cl", "Br"),
)


@dataclass(frozen=True)
class Row:
    """One crystal of the reference, as text."""

    id: str
    formula: str
    structure: str


def main(
    queries: Annotated[int, typer.Option(help="Crystals asked about.")] = 20_000,
    sample: Annotated[int, typer.Option(help="Of them judged by brute force.")] = 1000,
    growth: Annotated[int, typer.Option(help="Crystals asked about for the growth.")] = 1000,
    processes: Annotated[int, typer.Option(help="Processes.")] = 1,
    parts: Annotated[
        list[str], typer.Option("--part", help="search, judge, growth; default: all three.")
    ] = ["search", "judge", "growth"],  # noqa: B006, typer copies it
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Run everything and print it."""
    rows = [
        Row(row["material_id"], row["formula"], row["structure"])
        for table in SOURCES["mp"].tables
        for row in read_rows(data_path(table.file))
    ]
    asked = make_queries(rows, rows, queries, seed)
    result: dict[str, Any] = {"queries": queries}
    with connect():
        result["references"] = ensure_imported("mp")["n"]
        reference = MongoReference("mp")
        if "search" in parts:
            result["search"] = measure(asked, reference, processes)
            _say(result)
        if "judge" in parts:
            chosen = random.Random(seed).sample(sorted(asked), min(sample, len(asked)))
            result["brute_force"] = judge({name: asked[name] for name in chosen}, reference)
            _say(result)
        if "growth" in parts:
            result["growth"] = grow(rows, growth, seed)
            _say(result)
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _say(result: dict[str, Any]) -> None:
    print(json.dumps(result, indent=2), flush=True)


def measure(
    asked: dict[str, Structure], reference: MongoReference, processes: int
) -> dict[str, Any]:
    """Search for all queries; CPU is that of these processes, without the database server."""
    started, cpu = time.perf_counter(), _cpu()
    found = search(asked, reference, TOLERANCES, processes=processes)
    seconds, spent = time.perf_counter() - started, _cpu() - cpu
    return {
        "n": len(asked),
        "processes": processes,
        "seconds": seconds,
        "cpu_seconds": spent,
        "cpu_seconds_per_query": spent / len(asked),
        "crystals_in_blocks": sum(one.block for one in found),
        "compared": sum(one.compared for one in found),
        "errors": sum(one.error is not None for one in found),
        "not_comparable": len({name for one in found for name, _ in one.broken}),
        "copies": _copies(found, asked, reference),
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def make_queries(originals: list[Row], rows: list[Row], n: int, seed: int) -> dict[str, Structure]:
    """Make queries, half copies ("copy-ID-NUMBER") and half new ("new-NUMBER"), shuffled.

    Args:
        originals: Crystals to copy.
        rows: The reference, whose compounds the new ones are made of.
        n: How many.
        seed: Of everything drawn.
    """
    draw, noise = random.Random(seed), np.random.default_rng(seed)
    alike: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        alike[_anonymous(row.formula)].append(row)
    made = [
        (f"copy-{row.id}-{number}", copy_of(parse_structure(row.structure), noise))
        for number, row in enumerate(draw.choices(originals, k=n // 2))
    ]
    for number in range(n - n // 2):
        row = draw.choice(rows)
        other = draw.choice(alike[_anonymous(row.formula)]) if number % 2 else None
        made.append((f"new-{number}", _decorated(row, other, draw)))
    draw.shuffle(made)
    return dict(made)


def copy_of(structure: Structure, noise: np.random.Generator) -> Structure:
    """Return the same crystal in another cell, moved, rattled, shuffled, of another volume."""
    other = structure.copy()
    other.make_supercell(CELLS[noise.integers(len(CELLS))], to_unit_cell=True)
    moves = noise.normal(size=(len(other), 3))
    moves *= RATTLE * noise.uniform(size=(len(other), 1)) / np.linalg.norm(moves, axis=1)[:, None]
    places = other.cart_coords + moves + noise.uniform(0.0, 10.0, size=3)
    order = noise.permutation(len(other))
    species = [other[int(index)].specie for index in order]
    made = Structure(other.lattice, species, places[order], coords_are_cartesian=True)
    made.scale_lattice(made.volume * (1.0 + noise.uniform(-VOLUME, VOLUME)))
    return made


def _decorated(row: Row, other: Row | None, draw: random.Random) -> Structure:
    """Put the elements of another compound of the same stoichiometry, or random ones, on sites."""
    structure = parse_structure(row.structure)
    ours = _by_amount(structure.composition)
    theirs = (
        draw.sample([symbol for symbol in POOL if symbol not in ours], k=len(ours))
        if other is None
        else _by_amount(Composition(other.formula))
    )
    species = dict(zip(ours, theirs, strict=True))
    return Structure(
        structure.lattice,
        [species[site.specie.symbol] for site in structure],
        structure.frac_coords,
    )


def _by_amount(composition: Composition) -> list[str]:
    amounts = composition.get_el_amt_dict()
    return sorted(amounts, key=lambda symbol: (amounts[symbol], symbol))


def _anonymous(formula: str) -> str:
    return str(Composition(formula).anonymized_formula)


def _copies(
    found: list[Found], asked: dict[str, Structure], reference: MongoReference
) -> dict[str, Any]:
    """Count the copies that were found; of those that were not, ask StructureMatcher itself."""
    plain = StructureMatcher(**TOLERANCES.model_dump())
    copies = [one for one in found if one.id.startswith("copy-")]
    missed = [one for one in copies if not one.matches]
    wrong = [
        one.id
        for one in missed
        if any(
            plain.fit(asked[one.id], known.structure)
            for known in reference.of_formula(one.formula)
            if f"copy-{known.id}-" in one.id
        )
    ]
    return {
        "n": len(copies),
        "matched": len(copies) - len(missed),
        "matched_first_with_the_original": sum(
            one.matches[0].id in one.id for one in copies if one.matches
        ),
        "missed_though_the_matcher_fits_them_to_their_original": wrong,
    }


def judge(asked: dict[str, Structure], reference: MongoReference) -> dict[str, Any]:
    """Compare the verdicts with those of StructureMatcher on every crystal of the formula."""
    plain = StructureMatcher(**TOLERANCES.model_dump())
    counts = {"both": 0, "only_found": 0, "only_brute_force": 0, "neither": 0}
    pairs = wrong_id = 0
    disagree = []
    found = search(asked, reference, TOLERANCES)
    cpu = time.process_time()
    for one in found:
        equal = set()
        for known in reference.of_formula(one.formula):
            pairs += 1
            if plain.fit(asked[one.id], known.structure):
                equal.add(known.id)
        key = {(1, 1): "both", (1, 0): "only_found", (0, 1): "only_brute_force", (0, 0): "neither"}
        verdict = key[int(bool(one.matches)), int(bool(equal))]
        counts[verdict] += 1
        if verdict.startswith("only"):
            disagree.append(one.id)
        wrong_id += sum(match.id not in equal for match in one.matches)
    hits = counts["both"]
    return {
        "n": len(found),
        "pairs": pairs,
        "cpu_seconds": time.process_time() - cpu,
        **counts,
        "recall": _ratio(hits, hits + counts["only_brute_force"]),
        "precision": _ratio(hits, hits + counts["only_found"]),
        "matched_with_one_that_is_not_equal": wrong_id,
        "disagree": disagree,
    }


def grow(rows: list[Row], n: int, seed: int) -> list[dict[str, Any]]:
    """Time the same queries, copies of the smallest part, against nested parts of the reference."""
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    sizes = sorted({min(size, len(rows)) for size in (10_000, 50_000, len(rows))})
    asked = make_queries(mixed[: sizes[0]], mixed, n, seed)
    measured = []
    for size in sizes:
        name = f"mp-part-{size}"
        try:
            with pymongo.timeout(PATIENCE):
                make_part(name, [row.id for row in mixed[:size]])
            measured.append({"references": size, **measure(asked, MongoReference(name), 1)})
        finally:
            with pymongo.timeout(PATIENCE):
                reference_collections.note(name, complete=False)
                reference_collections.forget(name)
    return measured


def make_part(name: str, ids: list[str]) -> None:
    """Copy crystals of `mp` into a collection of their own."""
    database = current_database()
    renamed = {"_id": {"$concat": [f"{name}:", "$reference_id"]}, "collection": name}
    for start in range(0, len(ids), 10_000):
        chosen = {"collection": "mp", "reference_id": {"$in": ids[start : start + 10_000]}}
        stages: list[dict[str, Any]] = [
            {"$match": chosen},
            {"$set": renamed},
            {"$merge": "reference_structures"},
        ]
        database["reference_structures"].aggregate(stages)
    described = reference_collections.load("mp")
    reference_collections.note(
        name,
        complete=True,
        version=described["version"],
        fingerprint_version=described["fingerprint_version"],
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


if __name__ == "__main__":
    typer.run(main)
