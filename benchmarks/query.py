"""How long everyday queries take with 200,000 candidates, and by which index.

    python benchmarks/query.py fill --home /tmp/query-benchmark
    python benchmarks/query.py ask --home /tmp/query-benchmark --out query.json

`fill` writes synthetic candidates into an embedded database of its own, with the sizes and
fractions of a campaign's records (documents of 3 to 10 kB, every state of the funnel). `ask` does
what `discovery query` does for a table, from the text of the filter to the last row, and shows the
plan that `explain` gives. Beside the time on the wall it prints processor time, this process's and
the server's together, which says the same on a machine that is busy with other things.
"""

from __future__ import annotations

import json
import math
import random
import resource
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from db import campaigns
from db.connection import connect, current_database
from db.property_table import table_fields
from db.selection import questions, select, stream
from discovery.export.candidates import choose, records
from discovery.export.formats import Format

CAMPAIGN = "benchmark"
DATABASE = "query_benchmark"
#: In the order of formulas: the more electronegative, the later.
ELEMENTS = tuple(
    symbol
    for group in (
        "K Na Li Ca Sr Mg Ti Al V Mn Zn Cr Fe Co Ni Cu Ag In Ga Sn Ge",
        "Si P As S Se",
        "Cl F O",
    )
    for symbol in group.split()
)
BATCH = 2000

#: Share of all candidates that end in a state.
ENDS = {
    "proposed": 0.02,
    "rejected early": 0.35,
    "rejected relaxed": 0.28,
    "rejected screened": 0.20,
    "screened": 0.14,
    "failed": 0.005,
    "verified": 0.005,
}

#: Name, arguments of `db.selection.select`, and what a person wants.
EVERYDAY: dict[str, dict[str, Any]] = {
    "first page": {"limit": 50},
    "verified": {"status": "verified"},
    "hits, largest gap first": {"hits": True, "sort": "-band_gap"},
    "one formula": {"where": 'formula = "GaAs"'},
    "one chemical system": {"where": 'chemical_system = "As-Ga-In"'},
    "three elements": {"elements": ["In", "Ga", "O"]},
    "verified in a window": {
        "where": "band_gap >= 0.5 AND band_gap <= 2.5 AND formation_energy_per_atom < -0.5"
    },
    "nearest to the hull": {"sort": "energy_above_hull_chgnet", "limit": 50},
    "near the hull, with an element": {
        "where": 'energy_above_hull_chgnet < 0.05 AND elements HAS "Ga"',
        "sort": "energy_above_hull_chgnet",
        "limit": 50,
    },
    "the same, all of them": {
        "where": 'energy_above_hull_chgnet < 0.05 AND elements HAS "Ga"',
        "sort": "energy_above_hull_chgnet",
    },
    "window of MEGNet, lowest energy first": {
        "where": "band_gap_megnet >= 0.5 AND band_gap_megnet <= 2.5",
        "sort": "formation_energy_per_atom_megnet",
        "limit": 50,
    },
    "window of MEGNet and ALIGNN": {
        "where": "band_gap_megnet >= 0.5 AND band_gap_megnet <= 2.5 AND band_gap_alignn >= 0.5 "
        "AND band_gap_alignn <= 2.5 AND formation_energy_per_atom_megnet < -0.5 "
        "AND formation_energy_per_atom_alignn < -0.5 AND p_gap_megnet > 0.5",
        "limit": 50,
    },
    "narrow window of MEGNet and ALIGNN, all of them": {
        "where": "band_gap_megnet >= 1.2 AND band_gap_megnet <= 1.5 AND band_gap_alignn >= 1.2 "
        "AND band_gap_alignn <= 1.5 AND formation_energy_per_atom_megnet < -1.5 "
        "AND formation_energy_per_atom_alignn < -1.5 AND p_gap_megnet > 0.5",
        "sort": "formation_energy_per_atom_megnet",
    },
    "window, small cells of three elements": {
        "where": 'state = "screened" AND nelements = 3 AND natoms <= 8 AND band_gap_alignn > 1',
        "limit": 50,
    },
    "rejected for one reason": {"where": 'reason = "smact" AND state = "rejected"', "limit": 50},
    "one proposer's generation": {
        "where": 'proposer = "genetic" AND episode = 3 AND generation = 4',
        "limit": 50,
    },
    "cubic and confirmed": {"where": "space_group >= 195 AND hit = TRUE"},
    "another potential's number": {"where": "formation_energy_per_atom_dpa_3_1_3m_omat24 < -2.4"},
}

app = typer.Typer(help=__doc__)
Home = Annotated[Path, typer.Option(help="Folder of the embedded database.")]


@dataclass(frozen=True)
class Answer:
    """One query's time and plan.

    Attributes:
        query: Its name.
        records: How many it gave.
        first_ms: Until the first record, median of the repetitions.
        median_ms: Until the last record, median of the repetitions.
        slowest_ms: The slowest repetition.
        cpu_ms: Processor time of client and server, median of the repetitions.
        keys: Index entries that the server looked at.
        documents: Documents that it looked at.
        index: By which index.
    """

    query: str
    records: int
    first_ms: float
    median_ms: float
    slowest_ms: float
    cpu_ms: float
    keys: int
    documents: int
    index: str


@app.command()
def fill(home: Home, n: int = 200_000, seed: int = 1) -> None:
    """Write so many synthetic candidates."""
    source = random.Random(seed)
    with connect(home=home, database=DATABASE) as session:
        collection = session.database["candidates"]
        collection.delete_many({})
        campaigns.create(CAMPAIGN, config={}, seed=seed)
        started = time.monotonic()
        for first in range(0, n, BATCH):
            last = min(first + BATCH, n)
            collection.insert_many([candidate(number, source) for number in range(first, last)])
            print(f"\r{last} of {n}", end="", flush=True)
        stats = session.database.command("collStats", "candidates")
        print(
            f"\n{time.monotonic() - started:.0f} s; {stats['avgObjSize'] / 1e3:.1f} kB each, "
            f"{stats['size'] / 1e9:.2f} GB, {stats['storageSize'] / 1e9:.2f} GB on disk, "
            f"{len(stats['indexSizes'])} indexes of {stats['totalIndexSize'] / 1e6:.0f} MB"
        )


@app.command()
def ask(home: Home, repeat: int = 5, out: Path | None = None) -> None:
    """Time the everyday queries."""
    answers = []
    with connect(home=home, database=DATABASE, create=False) as session:
        total = session.database["candidates"].count_documents({"campaign": CAMPAIGN})
        print(f"{total} candidates")
        for name, arguments in EVERYDAY.items():
            answers.append(measure(name, arguments, repeat))
            one = answers[-1]
            print(
                f"{one.query:40} {one.records:6} records  first {one.first_ms:7.1f} ms  all "
                f"{one.median_ms:7.1f} (slowest {one.slowest_ms:7.1f})  cpu {one.cpu_ms:6.1f}  "
                f"keys {one.keys:7}  documents {one.documents:6}  {one.index}"
            )
    if out is not None:
        out.write_text(json.dumps([asdict(one) for one in answers], indent=2))


@app.command()
def memory(home: Home) -> None:
    """Read all records one after the other and show what memory that takes."""
    with connect(home=home, database=DATABASE, create=False):
        started, count = time.monotonic(), 0
        for _ in stream(select(CAMPAIGN, sort="-band_gap_head")):
            count += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{count} records in {time.monotonic() - started:.0f} s, at most {peak:.0f} MB")


def measure(name: str, arguments: dict[str, Any], repeat: int) -> Answer:
    """Ask one query so many times."""
    firsts, alls, processor, count = [], [], [], 0
    for _ in range(repeat):
        used, started, count, first = _processor_seconds(), time.perf_counter(), 0, 0.0
        for _ in records(choose(CAMPAIGN, Format.TABLE, **arguments)):
            first = first or time.perf_counter() - started
            count += 1
        alls.append(1e3 * (time.perf_counter() - started))
        firsts.append(1e3 * first)
        processor.append(1e3 * (_processor_seconds() - used))
    keys, documents, index = explained(arguments)
    return Answer(
        name,
        count,
        statistics.median(firsts),
        statistics.median(alls),
        max(alls),
        statistics.median(processor),
        keys,
        documents,
        index,
    )


def _processor_seconds() -> float:
    server = current_database().command("serverStatus")["extra_info"]
    return time.process_time() + (server["user_time_us"] + server["system_time_us"]) / 1e6


def explained(arguments: dict[str, Any]) -> tuple[int, int, str]:
    """Ask the server how it answers: entries and documents looked at, and the index."""
    chosen = select(CAMPAIGN, **arguments)
    asked = questions(chosen, CAMPAIGN)[0]
    cursor = current_database()["candidates"].find(
        asked.query, sort=asked.sort, limit=chosen.limit or 0, hint=asked.index
    )
    plan = cursor.explain()
    stages = list(_stages(plan["queryPlanner"]["winningPlan"]))
    indexes = " + ".join(stage["indexName"] for stage in stages if "indexName" in stage)
    sorted_there = ", sorted in memory" if any(s["stage"] == "SORT" for s in stages) else ""
    statistics_ = plan["executionStats"]
    return (
        statistics_["totalKeysExamined"],
        statistics_["totalDocsExamined"],
        (indexes or "NO INDEX") + sorted_there,
    )


def _stages(plan: dict[str, Any]) -> Any:
    plan = plan.get("queryPlan", plan)
    yield plan
    for inner in [
        *([plan["inputStage"]] if "inputStage" in plan else []),
        *plan.get("inputStages", []),
    ]:
        yield from _stages(inner)


def candidate(number: int, source: random.Random) -> dict[str, Any]:
    """Make a record like those of a campaign.

    Args:
        number: Order of proposal.
        source: Of all that is random.
    """
    end = source.choices(list(ENDS), list(ENDS.values()))[0]
    depth = {"proposed": 0, "rejected early": 1, "failed": 1, "rejected relaxed": 2}.get(end, 3)
    n_atoms = source.randint(2, 20)
    symbols = source.sample(ELEMENTS, min(n_atoms, source.choice([2, 3, 3, 4])))
    species = [symbols[i % len(symbols)] for i in range(n_atoms)]
    crystal = _crystal(species, source)
    elements = sorted(set(species))
    energy = source.gauss(-1.0, 0.8)
    gap = max(0.0, source.gauss(0.4, 1.2))
    predictions = [_prediction("band_gap", "head", gap, "pbe", source)]
    predictions.append(_prediction("formation_energy_per_atom", "head", energy, "pbe", source))
    document: dict[str, Any] = {
        "_id": f"{CAMPAIGN}-{number:012x}",
        "campaign": CAMPAIGN,
        "seq": number,
        "generator_version": "372e8f85ca77",
        "codes_hash": f"{source.getrandbits(256):064x}",
        "codes": _codes(n_atoms, source),
        "base_id": f"mp-{source.randint(1, 30000)}",
        "proposer": source.choice(["genetic", "code_evolution", "optuna_tpe", "substitution"]),
        "episode": number // 1000,
        "generation": number // 100 % 10,
        "state": end.partition(" ")[0],
        "lease": None,
        "token": depth,
        "attempts": 0,
        "structure": crystal,
        "formula": _formula(species),
        "chemical_system": "-".join(elements),
        "elements": elements,
        "n_atoms": n_atoms,
        "history": [_entry(step) for step in range(2 * depth + 1)],
        "created_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    }
    if end.startswith("rejected"):
        reason = {"early": "smact", "relaxed": "max_force", "screened": "band_gap"}[end.split()[1]]
        document["rejection"] = {"reason": reason, "detail": {"limit": 0.05}, "stage": "screen"}
    if depth >= 2:
        potential = source.choice(["chgnet"] * 9 + ["DPA-3.1-3M:Omat24"])
        predictions += [
            _prediction("formation_energy_per_atom", potential, energy, potential, source)
            for _ in range(2)
        ]
        document["evaluation"] = {"energy": energy * n_atoms, "formation_energy_per_atom": energy}
        document["relaxation"] = {
            "structure": crystal, "formation_energy_per_atom": energy, "max_force": 0.03,
            "volume_ratio": source.gauss(1, 0.1), "converged": True, "settings": _filler(12),
        }  # fmt: skip
    if depth >= 3:
        for model in ("megnet", "alignn"):
            for name, value in (("formation_energy_per_atom", energy), ("band_gap", gap)):
                predictions.append(_prediction(name, model, value, "pbe-mp2018", source))
        predictions.append(_prediction("p_gap", "megnet", min(1, gap), "pbe-mp2018", source))
        distance = abs(source.gauss(0.0, 0.2))
        predictions.append(_prediction("energy_above_hull", "chgnet", distance, "chgnet", source))
        document["hull"] = {"energy_above_hull": distance, "settings": _filler(6)}
        document["screening"] = {"relaxed": _filler(30), "consensus": _filler(30)}
        document["relaxed_codes"] = _codes(n_atoms, source)
    if end == "verified":
        dft_gap = max(0.0, gap + source.gauss(0, 0.2))
        document["verification"] = {
            "formation_energy_per_atom": energy, "band_gap": dft_gap, "level": "gpaw-pbe",
            "hit": energy < -0.5 and 0.5 <= dft_gap <= 2.5, "is_metal": dft_gap == 0,
            "space_group": source.randint(1, 230), "settings": _filler(12),
        }  # fmt: skip
    document["predictions"] = predictions
    return {**document, **table_fields(document)}


def _formula(species: list[str]) -> str:
    counts = {symbol: species.count(symbol) for symbol in sorted(set(species), key=ELEMENTS.index)}
    divisor = math.gcd(*counts.values())
    amounts = ((symbol, count // divisor) for symbol, count in counts.items())
    return "".join(symbol + (str(amount) if amount > 1 else "") for symbol, amount in amounts)


def _crystal(species: list[str], source: random.Random) -> dict[str, Any]:
    rows = [[source.random() for _ in range(3)] for _ in range(len(species) + 3)]
    return {"lattice": rows[:3], "species": species, "frac_coords": rows[3:]}


def _codes(n_atoms: int, source: random.Random) -> dict[str, Any]:
    local = [[source.randrange(128) for _ in range(4)] for _ in range(n_atoms)]
    return {"crystal": [source.randrange(128) for _ in range(8)], "local": local}


def _prediction(
    name: str, model: str, value: float, level: str, source: random.Random
) -> dict[str, Any]:
    return {
        "property": name, "value": value + source.gauss(0, 0.1), "unit": "eV", "model": model,
        "version": "da4282efcfa4", "level": level, "in_domain": True, "std": None, "on": "relaxed",
    }  # fmt: skip


def _entry(step: int) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=step)
    inputs = {"potential": "chgnet-0.3.0", "references": f"{step:064x}"}
    return {"from": "relaxing", "to": "relaxed", "agent": "relax", "inputs": inputs, "at": at}


def _filler(count: int) -> dict[str, Any]:
    return {f"a_setting_or_number_{i}": i / 7 for i in range(count)}


if __name__ == "__main__":
    app()
