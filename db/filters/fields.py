"""The names that filters, ``--sort`` and ``--fields`` may use, and nothing else."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

from db.property_table import (
    PREDICTED_PROPERTIES,
    STANDARD_PREDICTIONS,
    VERIFIED_PROPERTIES,
    plain_name,
)
from db.states import State


class Kind(StrEnum):
    """What a field's values are."""

    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"
    FORMULA = "formula"  # text; a given value is brought to pymatgen's reduced formula
    SYSTEM = "chemical system"  # text; a given value is sorted
    STATE = "state"  # text out of `db.states.State`
    TRUTH = "TRUE or FALSE"
    ELEMENTS = "list of elements"
    TIME = "time"  # given as text, ISO 8601
    WORD = "sortable text"  # compared with <, too; what `discovery serve` needs of ids and formulas
    FOREIGN = "value of another provider"  # unknown here, compared with anything


NUMERIC = frozenset({Kind.NUMBER, Kind.INTEGER})
TEXTUAL = frozenset({Kind.TEXT, Kind.FORMULA, Kind.SYSTEM, Kind.STATE, Kind.WORD, Kind.FOREIGN})
ORDERED = NUMERIC | {Kind.TIME, Kind.WORD, Kind.FOREIGN}


@dataclass(frozen=True)
class Field:
    """One name and where its value is.

    Attributes:
        name: As written in filters.
        path: Dotted path in the stored document.
        kind: What the values are.
        meaning: For people, with the unit.
    """

    name: str
    path: str
    kind: Kind
    meaning: str


class UnknownName(ValueError):
    """A name that is none of the catalogue's."""

    exit_code = 2


_UNITS = {
    "formation_energy_per_atom": "formation energy, eV/atom",
    "band_gap": "band gap, eV",
    "energy_above_hull": "energy above the hull, eV/atom",
    "p_gap": "probability of a gap",
}

_CATALOGUE = (
    Field("id", "_id", Kind.TEXT, "the candidate"),
    Field("campaign", "campaign", Kind.TEXT, "its campaign"),
    Field("seq", "seq", Kind.INTEGER, "order of proposal in the campaign"),
    Field("created_at", "created_at", Kind.TIME, "when it was proposed"),
    Field("state", "state", Kind.STATE, "where it stands; also `status`"),
    Field("reason", "rejection.reason", Kind.TEXT, "the rule that rejected it"),
    Field("error", "error", Kind.TEXT, "why it failed"),
    Field("proposer", "proposer", Kind.TEXT, "who proposed it"),
    Field("episode", "episode", Kind.INTEGER, "the proposer's episode"),
    Field("generation", "generation", Kind.INTEGER, "the generation in the episode"),
    Field("base_id", "base_id", Kind.TEXT, "the crystal it started from"),
    Field("generator_version", "generator_version", Kind.TEXT, "the generator"),
    Field("formula", "formula", Kind.FORMULA, "pymatgen's reduced formula, any order accepted"),
    Field("chemical_system", "chemical_system", Kind.SYSTEM, "elements joined by `-`, any order"),
    Field("elements", "elements", Kind.ELEMENTS, "its elements"),
    Field("nelements", "n_elements", Kind.INTEGER, "number of elements"),
    Field("natoms", "n_atoms", Kind.INTEGER, "atoms in the cell; also `n_atoms`, `nsites`"),
    Field("hit", "verification.hit", Kind.TRUTH, "DFT confirms every target"),
    Field("level", "verification.level", Kind.TEXT, "the DFT's code, version and functional"),
    Field("space_group", "verification.space_group", Kind.INTEGER, "number, of the DFT's crystal"),
    Field("is_metal", "verification.is_metal", Kind.TRUTH, "no gap by DFT"),
    Field("direct", "verification.direct", Kind.TRUTH, "the gap by DFT is direct"),
    Field("magnetic_moment", "verification.magnetic_moment", Kind.NUMBER, "of the cell, μB"),
    Field(
        "formation_energy_per_atom_mp2020",
        "verification.formation_energy_per_atom_mp2020",
        Kind.NUMBER,
        "by DFT with the Materials Project's corrections of 2020, eV/atom",
    ),
    Field("control", "selection.control", Kind.TRUTH, "drawn at random for DFT"),
    Field("converged", "relaxation.converged", Kind.TRUTH, "the relaxation reached its criterion"),
    Field("max_force", "relaxation.max_force", Kind.NUMBER, "after relaxation, eV/Å"),
    Field("volume_ratio", "relaxation.volume_ratio", Kind.NUMBER, "relaxed over decoded volume"),
    Field(
        "formation_energy_per_atom_potential",
        "relaxation.formation_energy_per_atom",
        Kind.NUMBER,
        "of the relaxed crystal, by the campaign's potential, eV/atom",
    ),
    Field(
        "energy_above_hull_potential",
        "hull.energy_above_hull",
        Kind.NUMBER,
        "by the campaign's potential, eV/atom",
    ),
    *(
        Field(name, f"properties.{name}", Kind.NUMBER, f"{_UNITS[name]}, by DFT")
        for name in VERIFIED_PROPERTIES
    ),
)
BY_NAME = {field.name: field for field in _CATALOGUE}
BY_PATH = {  # as in the records of `--format json`
    **{field.path: field for field in _CATALOGUE},
    **{f"verification.{name}": BY_NAME[name] for name in VERIFIED_PROPERTIES},
}
ALIASES = {
    "status": "state",
    "n_atoms": "natoms",
    "nsites": "natoms",
    "n_elements": "nelements",
    "chemsys": "chemical_system",
}


def find_field(name: str) -> Field:
    """Look a name up.

    Args:
        name: A name of the catalogue, ``<property>_<model>``, or ``<property>_<model>.<level>``
            (also written with ``@``). Which models there are is for the database to say.

    Raises:
        UnknownName: It is none of these.
    """
    if name in BY_PATH:
        return BY_PATH[name]
    name = name.removeprefix("properties.")
    name = ALIASES.get(name, name)
    if name in BY_NAME:
        return BY_NAME[name]
    for quantity in PREDICTED_PROPERTIES:
        if not name.startswith(f"{quantity}_"):
            continue
        # The level may be given as it is recorded ("@pbe-mp2018") or as filters spell it.
        whole, recorded, level = name.partition("@")
        if not recorded:
            whole, dotted, level = name.partition(".")
            if dotted and (not level or level != plain_name(level)):
                break
        model = whole.removeprefix(f"{quantity}_")
        if not model or model != plain_name(model):
            break
        if level := plain_name(level):
            meaning = f"{_UNITS[quantity]}, by {model} at the level {level}"
            path = f"levels.{whole}.{level}"
            return Field(f"{whole}.{level}", path, Kind.NUMBER, meaning)
        return Field(whole, f"properties.{whole}", Kind.NUMBER, f"{_UNITS[quantity]}, by {model}")
    raise unknown_name(name)


def needs_model(field: Field) -> bool:
    """Say whether a field is the number of a model that may not exist."""
    folder, _, name = field.path.partition(".")
    known = {*VERIFIED_PROPERTIES, *STANDARD_PREDICTIONS}
    return folder in ("properties", "levels") and name not in known


def unknown_name(name: str) -> UnknownName:
    """Make the error for a name that nothing has, with the names most like it."""
    names = [*BY_NAME, *STANDARD_PREDICTIONS]
    longer = [one for one in names if one.startswith(f"{name}_")]
    close = longer or difflib.get_close_matches(name[:80], names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "docs/query.md lists the names"
    return UnknownName(f"{name[:80]!a} is no field of a candidate: {hint}")


STATES = tuple(str(state) for state in State)
