"""The documents of reference collections, as they are read.

Written by `db.reference_structures` and `db.reference_energies`.
"""

from __future__ import annotations

from mongoengine import (
    BinaryField,
    BooleanField,
    DateTimeField,
    DictField,
    FloatField,
    IntField,
    ListField,
    StringField,
)

from db.documents import Record


class ReferenceCollection(Record):
    """One collection of known crystals; `name` is the primary key."""

    name = StringField(primary_key=True)
    version = StringField()
    source = StringField()
    complete = BooleanField(default=False)
    fingerprint_version = StringField()  # of all its crystals, set when all have it
    retrieved = StringField()  # when and from where, if `discovery data fetch` brought it
    files = DictField()  # name without dots: {file, sha256, role, read, bad, n_bad, complete, ...}
    run = StringField()  # which import writes here; another one began when it changed
    forgetting = BooleanField()  # its crystals are being removed
    updated_at = DateTimeField()

    meta = {"collection": "reference_collections"}


class ReferenceStructure(Record):
    """One known crystal; the primary key is "<collection>:<id>"."""

    key = StringField(primary_key=True)
    collection = StringField(required=True)
    reference_id = StringField(required=True)  # its id in the collection
    formula = StringField()  # pymatgen's reduced formula
    chemical_system = StringField()
    elements = ListField(StringField())
    n_atoms = IntField()
    structure = DictField()
    source = StringField(null=True)
    checksum = StringField()  # of the structure
    role = StringField()  # train, val, test or known
    fingerprint = BinaryField()  # little-endian float32, as agents.screen.duplicates_fingerprint
    fingerprint_version = StringField()
    properties = DictField()  # what else the table says of it, under its names
    file = StringField()  # the table it was read from
    row = IntField()  # and its place there, from 1

    meta = {
        "collection": "reference_structures",
        "indexes": [
            {"fields": ["collection", "reference_id"], "unique": True},
            {"fields": ["collection", "chemical_system", "reference_id", "formula", "n_atoms"]},
            {"fields": ["collection", "formula"]},
            {"fields": ["collection", "elements"]},
        ],
    }


class ReferenceEnergy(Record):
    """What one potential says of one known crystal in one geometry."""

    key = StringField(primary_key=True)
    collection = StringField(required=True)
    reference_id = StringField(required=True)  # its id in the collection
    potential = StringField(required=True)  # level, "chgnet-0.3.0"
    criterion = StringField(required=True)  # how the geometry was obtained
    energy_per_atom = FloatField(null=True)
    error = StringField(null=True)
    steps = IntField()
    max_force = FloatField(null=True)
    max_stress = FloatField(null=True)
    seconds = FloatField()
    created_at = DateTimeField()

    meta = {
        "collection": "reference_energies",
        "indexes": [
            {"fields": ["collection", "potential", "criterion", "reference_id"], "unique": True},
        ],
    }


REFERENCE_DOCUMENTS: tuple[type[Record], ...] = (
    ReferenceCollection,
    ReferenceStructure,
    ReferenceEnergy,
)
