"""What OPTIMADE calls the values of a candidate, and where each of them is."""

from __future__ import annotations

from db.filters import Field, UnknownName, find_field
from db.filters.fields import Kind
from db.property_table import STANDARD_PREDICTIONS, VERIFIED_PROPERTIES

PROVIDER = "discovery"
PREFIX = f"_{PROVIDER}_"

ID = Field("id", "_id", Kind.WORD, "the candidate")
FORMULA = Field("chemical_formula_descriptive", "formula", Kind.WORD, "pymatgen's reduced formula")

#: Standard names that are stored values.
STORED = {
    "id": ID,
    "chemical_formula_descriptive": FORMULA,
    "elements": find_field("elements"),
    "nelements": find_field("nelements"),
}

#: Standard names whose values follow from stored ones; the path is a mark for `resolve`.
DERIVED = {
    name: Field(name, f"derived.{name}", kind, "")
    for name, kind in {
        "type": Kind.WORD,
        "chemical_formula_reduced": Kind.WORD,
        "chemical_formula_anonymous": Kind.WORD,
        "nsites": Kind.INTEGER,
        "nperiodic_dimensions": Kind.INTEGER,
        "last_modified": Kind.TIME,
        "structure_features": Kind.FOREIGN,  # an empty list for every candidate
    }.items()
}

#: Our own values beside the standard ones, by the names of `discovery query`.
OWN = tuple(
    find_field(name)
    for name in (
        *("campaign", "state", "proposer", "base_id", "generator_version", "hit", "level"),
        *("space_group", "is_metal", "direct", "magnetic_moment"),
        *VERIFIED_PROPERTIES,
        "formation_energy_per_atom_mp2020",
        *("formation_energy_per_atom_potential", "energy_above_hull_potential"),
        *STANDARD_PREDICTIONS,
    )
)
#: Which crystal is served: "dft", "relaxed" or "decoded".
SOURCE = "structure_source"

_TYPES = {Kind.NUMBER: "float", Kind.INTEGER: "integer", Kind.TRUTH: "boolean"}


class NotFilterable(Exception):
    """A property of the standard by which this server does not filter."""


def find_property(name: str) -> Field:
    """Look up the name of a property in a filter.

    Args:
        name: A standard name, one of ours with its prefix, or one of another provider's.

    Returns:
        Its field; that of another provider's property is unknown for every candidate, as the
        standard asks.

    Raises:
        UnknownName: There is no such property.
        NotFilterable: It is one of the standard's optional ones.
    """
    if name in STORED:
        return STORED[name]
    if name in DERIVED:
        return DERIVED[name]
    if name.startswith(PREFIX):
        return find_field(name.removeprefix(PREFIX))
    if name.startswith("_"):
        return Field(name, "foreign", Kind.FOREIGN, "")
    from optimade.models import StructureResourceAttributes

    if name.partition(".")[0] in StructureResourceAttributes.model_fields:
        raise NotFilterable(f"this server does not filter by {name}")
    raise UnknownName(
        f"{name[:80]!a} is no property of OPTIMADE's structures: write this provider's own with "
        f"{PREFIX} in front, for instance {PREFIX}band_gap"
    )


def own_properties() -> list[dict[str, str]]:
    """Describe our own properties for ``/info/structures``."""
    described = [
        {
            "name": field.name,
            "description": field.meaning,
            "type": _TYPES.get(field.kind, "string"),
        }
        for field in OWN
    ]
    source = 'the crystal served: "dft" (the one DFT computed), "relaxed" or "decoded"'
    return [*described, {"name": SOURCE, "description": source, "type": "string"}]
