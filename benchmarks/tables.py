"""The papers' Tables 1-3 with our row beside theirs, from the documents of `discovery evaluate`.

    discovery evaluate reconstruction --dataset perov5 --json > perov5.json
    discovery evaluate generation --checkpoint mp20 --json > mp20-generation.json
    python benchmarks/force_validity.py mp20 --n 200 --volume-scan --json > mp20-forces.json
    python benchmarks/tables.py perov5.json mp20-generation.json mp20-forces.json

Each file is recognised by what it holds. Prints Markdown; nothing is measured here. Where a paper
gives no figure, or none could be found, stands a dash.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from published import (  # beside this file
    BITS,
    COVERAGE,
    DIVERSITY,
    FORCE_VALIDITY,
    NAMES,
    PREDICTION,
    RECONSTRUCTION,
    VALIDITY,
)

Report = dict[str, Any]
_KINDS = {
    "match_rate": "reconstruction",
    "validity": "generation",
    "match_at_1": "prediction",
    "rattle": "forces",
}


class UnknownReport(ValueError):
    """A file that no table is made from."""


def read(paths: Sequence[Path]) -> dict[str, dict[str, Report]]:
    """Return the documents by kind and data set; of two for one place the last counts.

    Raises:
        UnknownReport: if a file is not a document of `discovery evaluate`.
    """
    found: dict[str, dict[str, Report]] = {kind: {} for kind in _KINDS.values()}
    for path in paths:
        report = json.loads(path.read_text())
        kinds = [kind for key, kind in _KINDS.items() if key in report]
        if not kinds:
            raise UnknownReport(
                f"{path} is no document of force_validity.py or of evaluate reconstruction, "
                "generation or prediction"
            )
        if kinds[0] == "forces":  # one document may hold several data sets
            for row in report["rows"]:
                found["forces"].setdefault(row["dataset"], {"rows": []})["rows"].append(row)
        else:
            found[kinds[0]][report["dataset"]] = report
    return found


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def reconstruction_table(reports: Mapping[str, Report]) -> str:
    """Return Table 1: match rate in % and rms, with the bits that ours spend."""
    rows = [
        [model, *(_pair(figures.get(d)) for d in NAMES)]
        for model, figures in RECONSTRUCTION.items()
    ]
    ours = [
        ("ours, true N", "match_rate", "rms"),
        ("ours, free N", "match_rate_free", "rms_free"),
        ("ours, true N, strict", "match_rate_strict", "rms_strict"),
    ]
    for label, share, rms in ours:
        rows.append([label, *(_pair(_values(reports.get(d), share, rms)) for d in NAMES)])
    for label, key in (("bits a crystal", "bits_per_crystal"), ("bits an atom", "bits_per_atom")):
        rows.append([f"our {label}", *(_number(reports.get(d, {}).get(key), 1) for d in NAMES)])
    spent = [f"{whole:.0f} + {atom:.0f} an atom" for whole, atom in (BITS[d] for d in NAMES)]
    rows.append(["VQCrystal's bits", *spent])
    rows.append(["rows", *(str(reports[d]["n"]) if d in reports else "–" for d in NAMES)])
    title = "Reconstruction: match rate % / rms"
    return f"### {title}\n\n" + markdown(["", *NAMES.values()], rows)


def generation_table(reports: Mapping[str, Report]) -> str:
    """Return Tables 2 and 3: validity, coverage, property distances, diversity, novelty."""
    header = [
        "",
        "struct. %",
        "comp. %",
        "COV-R %",
        "COV-P %",
        "density",
        "energy",
        "elements",
        "avg. min. dist.",
        "FD",
        "unique %",
        "novel %",
    ]
    parts = []
    for dataset, name in NAMES.items():
        models = sorted({*VALIDITY, *COVERAGE, *DIVERSITY})
        rows = [_published_row(model, dataset) for model in models if _has(model, dataset)]
        if dataset in reports:
            rows.append(_own_row(reports[dataset]))
        if rows:
            parts.append(f"### Generation, {name}\n\n" + markdown(header, rows))
    return "\n\n".join(parts)


def validity_table(reports: Mapping[str, Report], forces: Mapping[str, Report]) -> str:
    """Return Table 2: validity in % by distances, by composition, and by forces once relaxed."""
    rows = []
    for dataset, name in NAMES.items():
        if dataset in FORCE_VALIDITY:
            known = (*VALIDITY["VQCrystal"][dataset], FORCE_VALIDITY[dataset])
            rows.append([f"VQCrystal, {name}", *map(_percent, known), "–"])
        if dataset not in reports and dataset not in forces:
            continue
        validity = reports.get(dataset, {}).get("validity", {})
        own = [_percent(validity.get(key)) for key in ("structural", "compositional")]
        relaxed = forces.get(dataset, {}).get("rows", [])
        plain = [r for r in relaxed if r["protocol"] == "plain"]
        rattled = [r for r in relaxed if r["protocol"] == "rattled"]
        rows.append([f"ours, {name}", *own, _forces(plain), _forces(rattled)])
    header = ["", "struct. %", "comp. %", "force %, plain", "force %, displaced by 0.03 Å first"]
    return "### Validity\n\n" + markdown(header, rows)


def _forces(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return shares of crystals at rest, with the steps allowed and the crystals counted."""
    found = [f"{_percent(r['valid'])} ({r['max_steps']} steps, n = {r['n']})" for r in rows]
    return ", ".join(found) or "–"


def prediction_table(reports: Mapping[str, Report]) -> str:
    """Return match rates of structure prediction by formula, with the samples in the name."""
    rows = [
        [
            f"{model}, {samples} sample{'s' * (samples > 1)}",
            NAMES.get(dataset, dataset),
            _percent(rate),
        ]
        for model, figures in PREDICTION.items()
        for dataset, (rate, samples) in figures.items()
    ]
    for dataset, report in reports.items():
        k, name = report["samples"], NAMES.get(dataset, dataset)
        rows.append([f"ours, best ranked of {k}", name, _percent(report["match_at_1"])])
        rows.append([f"ours, any of {k}", name, _percent(report["match_at_k"])])
    return "### Structure prediction: match rate %\n\n" + markdown(["", "set", "match"], rows)


def _published_row(model: str, dataset: str) -> list[str]:
    """Return what a paper says of one data set."""
    validity = VALIDITY.get(model, {}).get(dataset, (None, None))
    coverage = COVERAGE.get(model, {}).get(dataset, (None,) * 5)
    diversity = DIVERSITY.get(model, {}).get(dataset, (None, None))
    return [
        model,
        *map(_percent, (*validity, *coverage[:2])),
        *(_number(v, 3) for v in (*coverage[2:], *diversity)),
        "–",
        "–",
    ]


def _own_row(report: Report) -> list[str]:
    """Return our figures of one data set."""
    coverage = report["coverage"] or {}
    properties = report["properties"] or {}
    return [
        f"ours (n = {report['n']:,})",
        *map(
            _percent,
            (
                report["validity"]["structural"],
                report["validity"]["compositional"],
                coverage.get("cov_recall"),
                coverage.get("cov_precision"),
            ),
        ),
        *(_number(properties.get(key), 3) for key in ("density", "energy", "n_elements")),
        _number(coverage.get("average_min_distance"), 3),
        _number(coverage.get("frechet_distance"), 3),
        _percent(report["novelty"]["unique"]),
        _percent(report["novelty"]["novel"]),
    ]


def _has(model: str, dataset: str) -> bool:
    """Return whether a paper says anything of a data set."""
    return any(dataset in table.get(model, {}) for table in (VALIDITY, COVERAGE, DIVERSITY))


def _values(report: Report | None, *keys: str) -> tuple[Any, ...] | None:
    """Return some values of a report, None without one."""
    return None if report is None else tuple(report[key] for key in keys)


def _pair(values: Sequence[float | None] | None) -> str:
    """Return "match / rms"."""
    if values is None:
        return "–"
    return f"{_percent(values[0])} / {_number(values[1], 4)}"


def _percent(value: float | None) -> str:
    """Return a share in %."""
    return "–" if value is None else f"{100 * value:.2f}"


def _number(value: float | None, digits: int) -> str:
    """Return a number."""
    return "–" if value is None else f"{value:.{digits}f}"


def protocols(found: Mapping[str, Mapping[str, Report]]) -> str:
    """Return how our figures were measured, each protocol once."""
    texts: dict[str, None] = {}
    for reports in found.values():
        for report in reports.values():
            parts = ("validity", "coverage", "properties", "novelty")
            for part in (report, *map(report.get, parts)):
                if part and "protocol" in part:
                    texts[part["protocol"]] = None
    return "\n".join(f"- {text}" for text in texts)


def main() -> None:
    """Print the tables that the given files fill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="*", type=Path, help="documents of discovery evaluate")
    found = read(parser.parse_args().files)
    print(reconstruction_table(found["reconstruction"]), end="\n\n")
    print(validity_table(found["generation"], found["forces"]), end="\n\n")
    print(generation_table(found["generation"]), end="\n\n")
    print(prediction_table(found["prediction"]), end="\n\n")
    if text := protocols(found):
        print("Protocol of our rows:\n" + text)


if __name__ == "__main__":
    main()
