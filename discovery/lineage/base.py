"""The base crystal of a candidate, from the code bank of its generator or from a person's file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.generator import Generator

Record = dict[str, Any]


def training_base(base_id: str | None, resolved: Mapping[str, Any]) -> Record:
    """Describe a crystal of the code bank.

    Args:
        base_id: Its identifier in the data set.
        resolved: ``generator`` of the campaign's choices: ``name`` and ``version``.

    Returns:
        See `discovery.lineage.tracing.base`.
    """
    import numpy as np

    found: Record = {"id": base_id, "kind": "training"}
    generator, reason = _generator(resolved["name"], resolved["version"])
    if generator is None:
        return {**found, "unknown": reason}
    bank = generator.bank
    rows = np.flatnonzero(bank.ids == base_id)
    if not len(rows):
        return {**found, "unknown": f"the bank of {generator.name} has no crystal of this id"}
    row = int(rows[0])
    values = {name: float(column[row]) for name, column in bank.properties.items()}
    return {
        **found,
        "formula": str(bank.formulas[row]),
        "role": str(bank.role[row]),
        "properties": {name: value for name, value in values.items() if math.isfinite(value)},
        **_source(generator.card["data"]["dataset"]),
        "codes": bank.codes(row).record(),
        "structure": _decoded(generator, bank.codes(row).record()),
    }


def own_base(own: Mapping[str, Any], resolved: Mapping[str, Any]) -> Record:
    """Describe a base that a person brought; see `discovery.lineage.tracing.base`."""
    generator, reason = _generator(resolved["name"], resolved["version"])
    found = {
        "id": own["id"],
        "kind": "own",
        "formula": own["formula"],
        "rms_of_decoded": own["rms"],
        "codes": own["codes"],
    }
    if generator is None:
        return {**found, "structure": None, "unknown": reason}
    return {**found, "structure": _decoded(generator, own["codes"])}


@lru_cache(maxsize=2)
def _generator(name: str, version: str) -> tuple[Generator | None, str]:
    """Load a generator; where it is not here or another one, say why there is none."""
    from model.errors import CheckpointError
    from model.generator import Generator

    try:
        generator = Generator.load(name)
    except CheckpointError as error:
        return None, f"its generator cannot be read: {error}"
    if generator.version != version:
        return None, f"the generator {name} {version} is not on this machine"
    return generator, ""


def _source(data_set: str) -> Record:
    """Return title, licence and citation of a data set; a person's own has none here."""
    from discovery.references.sources import SOURCES

    known = SOURCES.get(data_set)
    if known is None:
        return {"data_set": data_set, "licence": None, "citation": None}
    return {"data_set": known.title, "licence": known.licence, "citation": known.citation}


def _decoded(generator: Generator, codes: Mapping[str, Any]) -> Record | None:
    from db.crystals import structure_to_record
    from model.codes import CrystalCodes

    structure = generator.decode([CrystalCodes.from_record(dict(codes))])[0].structure
    return None if structure is None else structure_to_record(structure)
