"""Reference collections of the database, with the fingerprints that are stored there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from agents.screen.duplicates_fingerprint import VERSION, from_bytes
from agents.screen.matching import ComparedCrystal
from agents.screen.references import Reference
from db import reference_collections, reference_structures

_REMEMBERED = 512
"""Formulas whose crystals one process keeps, reduced: candidates of one formula come together."""


SLABS = "c2db"
"""The collection of slabs: they get one vacuum before they are compared."""


def require_collection(name: str) -> dict[str, Any]:
    """Describe a collection whose crystals have today's fingerprints.

    Raises:
        db.reference_collections.UnknownCollection: It was not imported, or by an older version.
    """
    found = reference_collections.load(name)
    if found["fingerprint_version"] != VERSION:
        raise reference_collections.OutdatedCollection(
            f"the reference collection {name} was imported by an older version, its fingerprints "
            f"are {found['fingerprint_version']} and not {VERSION}: `discovery data import {name}` "
            f"(or its file, with --name {name}) brings it up to date"
        )
    return found


class MongoReference(Reference):
    """An imported collection; only the formulas that are asked for are read, through the index."""

    def __init__(
        self,
        collection: str,
        *,
        name: str | None = None,
        roles: Collection[str] | None = None,
        vacuum: float | None = None,
    ) -> None:
        """Take a collection.

        Args:
            collection: Its name in the database.
            name: Name in records; default: the collection's.
            roles: Roles of the crystals that count (``train``, ``val``, ``test``, ``known``); None:
                all.
            vacuum: Å that slabs get before they are compared.

        Raises:
            db.reference_collections.UnknownCollection: It was not imported, or by an older version.
        """
        described = require_collection(collection)
        self.collection = collection
        self.name = name or collection
        self.version = described["version"]
        self.checksum = described["checksum"]
        self.vacuum = vacuum
        self._roles = roles
        self._lookup = lru_cache(maxsize=_REMEMBERED)(self._read_one)

    def of_formula(self, formula: str) -> tuple[ComparedCrystal, ...]:
        """Return the crystals with a formula, by id; those asked for lately are remembered."""
        return self._lookup(formula)

    def of_formulas(self, formulas: Sequence[str]) -> dict[str, tuple[ComparedCrystal, ...]]:
        """Return the crystals of several formulas, by id, read at once and not remembered.

        Raises:
            db.reference_collections.OutdatedCollection: Their fingerprints are not those of today.
        """
        known = reference_structures.of_formulas(
            self.collection, formulas, roles=self._roles, fingerprint_version=VERSION
        )
        found: dict[str, list[ComparedCrystal]] = defaultdict(list)
        for one in known:
            crystal = ComparedCrystal(
                one.id,
                one.structure,
                one.role,
                stored=from_bytes(one.fingerprint),
                vacuum=self.vacuum,
            )
            found[one.formula].append(crystal)
        return {formula: tuple(found[formula]) for formula in formulas}

    def _read_one(self, formula: str) -> tuple[ComparedCrystal, ...]:
        return self.of_formulas([formula])[formula]
