"""The numbers of an archive that can be computed again from what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agents.targets import UNITS
from discovery.archive.precision import limit, potential_limit

Record = Mapping[str, Any]

POTENTIAL, DECODER, DFT, HEAD = "potential", "decoder", "dft", "head"
_POTENTIAL_UNITS = {
    "energy_per_atom": "eV/atom",
    "formation_energy_per_atom": "eV/atom",
    "max_force": "eV/Å",
}


@dataclass(frozen=True)
class Value:
    """One number with what gave it and how well it is reproduced.

    Attributes:
        candidate: Id of the candidate.
        kind: ``potential``, ``decoder``, ``dft``, ``head``, or a screen's name.
        model: Name of the model, or the level of theory.
        version: Its version.
        level: Level of theory of the number.
        property: As in predictions, or see `discovery.archive.precision.limit`.
        on: Which geometry: ``decoded``, ``relaxed`` or ``codes``.
        value: The stored number.
        unit: Its unit.
        tolerance: Largest difference that counts as the same number.
    """

    candidate: str
    kind: str
    model: str
    version: str
    level: str
    property: str
    on: str
    value: float
    unit: str
    tolerance: float

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def values(record: Record) -> Iterator[Value]:
    """List the numbers of a candidate that can be redone.

    Args:
        record: As from `discovery.lineage.tracing.trace`.
    """
    yield from _decoder(record)
    for part, on in (("evaluation", "decoded"), ("relaxation", "relaxed")):
        yield from _potential(record, record.get(part) or {}, on)
    yield from _second_potential(record)
    for one in record.get("predictions", []):
        if not _is_potential(record, one):
            yield _prediction(record, one)
    verification = record.get("verification") or {}
    if verification.get("formation_energy_per_atom") is not None:
        for name in ("energy_per_atom", "formation_energy_per_atom"):
            yield _value(
                record, DFT, "dft", verification["level"], name, "relaxed", verification[name]
            )


def _decoder(record: Record) -> Iterator[Value]:
    """Ask for the decoded crystal, unless the proposer made a crystal and no codes."""
    if record.get("structure") and record.get("proposer") != "substitution":
        version = record["generator_version"]
        yield Value(
            candidate=record["id"],
            kind=DECODER,
            model="generator",
            version=version,
            level="",
            property="largest_displacement",
            on="codes",
            value=0.0,
            unit="Å",
            tolerance=limit(DECODER, "largest_displacement"),
        )


def _potential(record: Record, part: Record, on: str) -> Iterator[Value]:
    crystal = record.get("structure") if on == "decoded" else part.get("structure")
    if not crystal or part.get("energy") is None:
        return
    numbers = {
        "energy_per_atom": part["energy"] / len(crystal["species"]),
        "formation_energy_per_atom": part["formation_energy_per_atom"],
        "max_force": part["max_force"],
    }
    for name, value in numbers.items():
        if value is not None:
            yield _value(record, POTENTIAL, part["potential"], part["version"], name, on, value)


def _second_potential(record: Record) -> Iterator[Value]:
    """Ask the potential that had to agree, of the relaxed crystal."""
    second = (record.get("relaxation") or {}).get("second_potential") or {}
    if second.get("formation_energy_per_atom") is not None:
        model, _, version = second["level"].partition("-")
        name = "formation_energy_per_atom"
        yield _value(record, POTENTIAL, model, version, name, "relaxed", second[name])


def _prediction(record: Record, one: Record) -> Value:
    return Value(
        candidate=record["id"],
        kind=one["model"],
        model=one["model"],
        version=one["version"],
        level=one["level"],
        property=one["property"],
        on=one["on"],
        value=one["value"],
        unit=one["unit"],
        tolerance=limit(one["model"], one["property"]),
    )


def _value(
    record: Record, kind: str, model: str, version: str, name: str, on: str, value: float
) -> Value:
    return Value(
        candidate=record["id"],
        kind=kind,
        model=model,
        version=version,
        level=version if kind == DFT else f"{model}-{version}",
        property=name,
        on=on,
        value=value,
        unit=_POTENTIAL_UNITS.get(name) or UNITS[name],
        tolerance=potential_limit(model, name) if kind == POTENTIAL else limit(kind, name),
    )


def _is_potential(record: Record, one: Record) -> bool:
    levels = {(record.get(part) or {}).get("level") for part in ("evaluation", "relaxation")}
    return one["level"] in levels and one["level"] == f"{one['model']}-{one['version']}"
