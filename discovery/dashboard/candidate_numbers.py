"""Every number of a candidate as a row: value, unit, what gave it, on which crystal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

POTENTIAL = (  # of a decoded or a relaxed crystal, by the potential; unit and digits
    ("energy", "energy of the cell", "eV", 4),
    ("max_force", "largest force", "eV/Å", 4),
    ("max_stress", "largest stress", "eV/Å³", 5),
    ("volume_ratio", "volume, relaxed to decoded", "1", 4),
)
ENERGY = "formation_energy_per_atom"
CORRECTED, JUDGED = f"{ENERGY}_mp2020", f"{ENERGY}_judged"
DFT = (
    (ENERGY, "eV/atom", 4),
    (CORRECTED, "eV/atom", 4),
    (JUDGED, "eV/atom", 4),  # where it is neither of them
    ("energy_per_atom", "eV/atom", 4),
    ("band_gap", "eV", 4),
    ("energy_above_hull", "eV/atom", 4),
    ("magnetic_moment", "μB", 3),
)


@dataclass(frozen=True)
class Number:
    """One number and its source.

    Attributes:
        property: What it is; for predictions and DFT by the name that filters use.
        value: The value.
        unit: Its unit; "1" for none.
        spread: Standard deviation of an ensemble; None where there is none.
        source: Model and version, or the code and level of a calculation.
        level: Level of theory that the model was trained on or is; empty where it is the source.
        crystal: "decoded", "relaxed" or "as DFT computed it".
        note: Whether it is inside the window or out of the model's domain, and why.
        digits: Digits behind the point.
    """

    property: str
    value: float
    unit: str
    spread: float | None
    source: str
    level: str
    crystal: str
    note: str
    digits: int = 4


def numbers(record: Record) -> list[Number]:
    """List the numbers of a candidate, DFT's first.

    Args:
        record: As from `discovery.export.candidates.full_record`.
    """
    return [*_by_dft(record), *_predicted(record), *_of_potential(record), *_of_choice(record)]


def _by_dft(record: Record) -> Iterator[Number]:
    found = record.get("verification") or {}
    verdicts = dict(found.get("targets") or {})
    if ENERGY in verdicts:
        verdicts[_judged_energy(found)] = verdicts.pop(ENERGY)
    words = {True: "inside the window", False: "outside the window", None: ""}
    for name, unit, digits in DFT:
        if found.get(name) is None or (name == JUDGED and name not in verdicts):
            continue
        notes = [words[verdicts.get(name)]]
        if name == CORRECTED:
            notes += found.get("mp2020_terms") or []
        note = ", ".join(filter(None, notes))
        yield Number(
            name, found[name], unit, None, "DFT", found["level"], "as DFT computed it", note, digits
        )
    for element, energy in (found.get("reference_energies") or {}).items():
        yield Number(
            f"energy of {element}", energy, "eV/atom", None, "DFT", found["level"], "element", ""
        )


def _judged_energy(found: Record) -> str:
    """Name the formation energy that the window was asked about: with a U the corrected one."""
    judged = found.get(JUDGED, found.get(ENERGY))
    return next((name for name in (ENERGY, CORRECTED) if found.get(name) == judged), JUDGED)


def _predicted(record: Record) -> Iterator[Number]:
    for one in record.get("predictions", []):
        source = f"{one['model']} {one['version']}"
        same = one["level"] == f"{one['model']}-{one['version']}"
        reasons = "; ".join(one.get("out_of_domain") or [])
        note = "" if one["in_domain"] else "out of domain" + (f": {reasons}" if reasons else "")
        yield Number(
            one["property"],
            one["value"],
            one["unit"],
            one.get("std"),
            source,
            "" if same else one["level"],
            one["on"],
            note,
        )


def _of_potential(record: Record) -> Iterator[Number]:
    for part, crystal in (("evaluation", "decoded"), ("relaxation", "relaxed")):
        found = record.get(part) or {}
        for key, name, unit, digits in POTENTIAL:
            if found.get(key) is not None:
                source = f"{found['potential']} {found['version']}"
                yield Number(name, found[key], unit, None, source, "", crystal, "", digits)


def _of_choice(record: Record) -> Iterator[Number]:
    found = record.get("selection") or {}
    hit = found.get("hit") or {}
    if hit.get("value") is not None:
        note = "drawn at random (control)" if found.get("control") else ""
        yield Number(
            *("probability of a hit", hit["value"], "1", None),
            f"choice for DFT, by {found['mode']}",
            *("", "relaxed", note),
        )
