"""The README of an archive: what is in it, for a person who has never seen this product."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from db.code_version import code_version

WIDTH = 80


def readme(
    records: Sequence[Mapping[str, Any]],
    models: Sequence[Mapping[str, Any]],
    left_out: Sequence[str],
) -> str:
    """Write the README.

    Args:
        records: The candidates, as from `discovery.lineage.tracing.trace`.
        models: As in ``models/models.json``.
        left_out: What is not in the archive, in sentences.
    """
    crystals = "\n".join(_candidate(record) for record in records)
    known = "\n".join(_model(model) for model in models)
    missing = "\n".join(_filled(f"- {one}") for one in left_out) or "Nothing."
    return _TEXT.format(version=code_version(), crystals=crystals, models=known, left_out=missing)


def _candidate(record: Mapping[str, Any]) -> str:
    verification = record.get("verification") or {}
    lines = [f"{record['id']}: {record.get('formula') or '(no crystal)'}, {record['state']}"]
    for name, unit in (("formation_energy_per_atom", "eV/atom"), ("band_gap", "eV")):
        if verification.get(name) is not None:
            lines.append(f"  {name} {verification[name]:.4f} {unit} ({verification['level']})")
    return "\n".join(_filled(line) for line in lines)


def _model(model: Mapping[str, Any]) -> str:
    where = model.get("place") or model.get("of") or model.get("source") or "not in this archive"
    return _filled(f"- {model['model']} {model['version']}: {where}")


def _filled(line: str) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


_TEXT = """\
Crystals found by discovery {version},
with all that was computed for them.

{crystals}

What is here
============
candidates/ID/record.json   everything that is recorded: codes, base crystal,
                            proposer, parents, every number with model, version
                            and level, duplicates, every change of state
candidates/ID/structures/   the crystals: base, decoded, relaxed, follow-up; CIF
                            with 10 digits, JSON (lattice in A, fractional
                            coordinates) with every bit
calculations/HASH/          first-principles calculations: record.json (code,
                            version, settings, result, attempts, cost),
                            input.json (what the runner reads), crystals/,
                            outputs/ (compressed logs and inputs)
campaigns/NAME.json         settings of the campaign, and what its automatic
                            choices became
models/                     files of the models; models.json says which they
                            are, and where those come from that are not here
redo.json                   the numbers that can be computed again, and to which
                            precision
environment.json            versions of Python and packages where this was
requirements.txt            written; all packages there
citations.bib               what to cite
manifest.json               size and sha256 of every file

To compute the numbers again
============================
With discovery installed (Python 3.11):

    discovery redo THIS-FILE.zip

It reads this archive only: no database and no other files. Potential, MEGNet,
ALIGNN and property head are asked again, the codes are decoded again, and the
formation energy is put together again from the outputs of the first-principles
calculations. Every number is compared with the stored one; redo.json says which
difference counts as none. With --relax the decoded crystals are relaxed again.

Not redone are distances to a hull, which need the competing phases, and the
first-principles calculations themselves. One of GPAW can be run again by

    python -m agents.verify.gpaw.runner calculations/HASH/input.json output.json

where its record names no parent; else it starts from the parent's result.

Models
======
{models}

Left out
========
{left_out}
"""
