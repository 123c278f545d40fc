"""What the report of a large campaign costs: processor time of its parts, memory, size.

    python benchmarks/report.py --home /tmp/report-benchmark --candidates 100000 --out report.json

Makes up the records of a campaign (`load_records.py`) once, gives them codes of training crystals,
which the figures of the latent space decode, and draws every figure. Processor time is this
process's alone; what mongod needs for the reading is beside it.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import load_records
import typer

from db import campaigns
from db.connection import connect, current_database
from discovery.figures import FIGURES, read_campaign
from discovery.figures.document import render
from discovery.figures.drawing import write_figures
from discovery.figures.facts import collect

GENERATOR = "perov5"
DIFFERENT_CODES = 500
Answer = TypeVar("Answer")


def main(
    home: Annotated[Path, typer.Option(help="Home of the database, filled once.")],
    candidates: Annotated[int, typer.Option(min=1)] = 100_000,
    out: Annotated[Path | None, typer.Option(help="Also write JSON.")] = None,
) -> None:
    """Fill where needed, then measure."""
    with connect(home=home):
        if load_records.CAMPAIGN not in campaigns.names():
            _fill(candidates)
        figures = _measure()
    for name, value in figures.items():
        print(f"{name:32}{value}")
    if out is not None:
        out.write_text(json.dumps(figures, indent=2))


def _fill(candidates: int) -> None:
    from model.generator import Generator

    shipped = Generator.load(GENERATOR)
    resolved = {
        "discovery": "benchmark",
        "generator": {"name": GENERATOR, "version": shipped.version, "head": shipped.head.version},
        "potential": {"name": "chgnet", "level": "chgnet-0.3.0"},
        "screens": [],
        "dft": {"level": "gpaw-pbe"},
    }
    config = load_records.config().record()
    campaigns.create(load_records.CAMPAIGN, config=config, seed=1, resolved=resolved)
    load_records.without_indexes()
    load_records.fill(0, candidates, open_candidates=0)
    codes = [shipped.bank.codes(row).record() for row in range(DIFFERENT_CODES)]
    chosen = {"$arrayElemAt": [{"$literal": codes}, {"$mod": ["$seq", DIFFERENT_CODES]}]}
    relaxed = {"$cond": [{"$gt": ["$relaxed_codes", None]}, chosen, "$$REMOVE"]}
    current_database()["candidates"].update_many(
        {"campaign": load_records.CAMPAIGN},
        [
            {
                "$set": {
                    "codes": chosen,
                    "relaxed_codes": relaxed,
                    "generator_version": shipped.version,
                }
            }
        ],
    )
    load_records.with_indexes()


def _measure() -> dict[str, Any]:
    found: dict[str, Any] = {}

    def timed(name: str, work: Callable[[], Answer]) -> Answer:
        started = time.process_time()
        answer = work()
        found[f"{name}, CPU s"] = round(time.process_time() - started, 1)
        return answer

    server = _server_seconds()
    data = timed("read", lambda: read_campaign(load_records.CAMPAIGN))
    found["candidates"] = len(data.candidates)
    found["read, mongod, CPU s"] = round(_server_seconds() - server, 1)
    with tempfile.TemporaryDirectory() as folder:
        drawn = []
        for name, figure in FIGURES.items():
            drawn += timed(name, lambda: write_figures(data, Path(folder), figures=[figure]))  # noqa: B023
        texts = timed("numbers and texts", lambda: collect(data))
        document = timed("document", lambda: render(data, texts, drawn))
        found["files, MB"] = round(sum(p.stat().st_size for p in Path(folder).iterdir()) / 1e6, 1)
    found["not shown"] = [one.figure.name for one in drawn if one.reason is not None]
    found["faults"] = {one.figure.name: one.fault for one in drawn if one.fault is not None}
    found["document, MB"] = round(len(document.encode()) / 1e6, 2)
    found["all, CPU s"] = round(time.process_time(), 1)
    found["peak memory, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def _server_seconds() -> float:
    """Return the processor time of mongod so far."""
    usage = current_database().client.admin.command("serverStatus")["extra_info"]
    return float(usage["user_time_us"] + usage["system_time_us"]) / 1e6


if __name__ == "__main__":
    typer.run(main)
