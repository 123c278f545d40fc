"""The identity of a calculation: what makes two of them the same, so that none is paid twice."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from agents.verify.backend import DFTBackend, Kind
from agents.verify.presets import DFTSettings
from agents.verify.symmetry import symmetrise
from db.crystals import record_to_structure, structure_to_record
from db.documents import Calculation

if TYPE_CHECKING:
    from pymatgen.core import Structure

LATTICE_DECIMALS = 3
POSITION_DECIMALS = 3
# Same crystal, relaxed twice: 1 % in a length is about 5 meV/atom of a stiff oxide. No rescaling:
# volume matters to DFT. No reduction by pymatgen: it averages distortions of up to 0.25 Å away.
MATCHER = {"ltol": 0.01, "stol": 0.03, "angle_tol": 1.0, "scale": False, "primitive_cell": False}


def calculation_spec(
    backend: DFTBackend,
    structure: Structure,
    settings: DFTSettings,
    *,
    kind: Kind,
    molecule: bool = False,
    info: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a calculation as it is recorded, with its hash.

    Args:
        backend: The code.
        structure: Crystal, or molecule in a box.
        settings: All settings of the level of theory.
        kind: ``compound`` or ``reference``.
        molecule: The structure is a molecule in a box.
        info: Anything else worth recording; not part of the identity.

    Returns:
        Plain JSON values under the names of `db.documents.Calculation`'s fields.

    Raises:
        ValueError: The structure cannot be standardised.
    """
    seconds = backend.estimate_core_seconds(structure, settings)
    return {
        "hash": calculation_hash(backend, structure, settings, molecule=molecule),
        "kind": kind,
        "code": backend.name,
        "version": backend.version,
        "level": backend.level(settings),
        "settings": settings.record(),
        "structure": structure_to_record(structure),
        "formula": structure.composition.reduced_formula,
        "estimated_core_seconds": None if math.isinf(seconds) else seconds,
        "info": {"molecule": molecule, **(info or {})},
    }


def calculation_hash(
    backend: DFTBackend, structure: Structure, settings: DFTSettings, *, molecule: bool = False
) -> str:
    """Hash code, version, settings and the standardised, rounded cell.

    Returns:
        64 hexadecimal digits (sha256).
    """
    cell = structure
    if not molecule:
        cell = symmetrise(structure, settings.symprec, settings.max_displacement).structure
    identity = {
        "code": backend.name,
        "version": backend.version,
        "settings": settings.record(),
        "cell": _rounded(cell),
        "molecule": molecule,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _rounded(cell: Structure) -> dict[str, Any]:
    lattice = [round(value, LATTICE_DECIMALS) + 0.0 for value in cell.lattice.parameters]
    sites = sorted([site.specie.symbol, *(_wrapped(x) for x in site.frac_coords)] for site in cell)
    return {"lattice": lattice, "sites": sites}


def _wrapped(coordinate: float) -> float:
    return round(coordinate % 1.0, POSITION_DECIMALS) % 1.0 + 0.0


def find_equal(spec: dict[str, Any]) -> str | None:
    """Look for a recorded calculation of the same crystal at the same level.

    The hash of a crystal depends on noise near a rounding edge, and on the choice of origin and
    axes; a match of the structures does not.

    Args:
        spec: From `calculation_spec`.

    Returns:
        The hash of the recorded calculation, the oldest of several; None where there is none.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    recorded = list(
        Calculation.objects(
            formula=spec["formula"], code=spec["code"], version=spec["version"], kind=spec["kind"]
        ).order_by("created_at", "hash")
    )
    recorded = [one for one in recorded if one.settings == spec["settings"]]
    for calculation in recorded:
        if calculation.hash == spec["hash"]:
            return str(calculation.hash)
    if spec["info"]["molecule"]:
        return None
    matcher = StructureMatcher(**MATCHER)
    settings = DFTSettings.model_validate(spec["settings"])
    cell = _primitive(spec["structure"], settings)
    for calculation in recorded:
        if calculation.info.get("molecule"):
            continue
        if matcher.fit(cell, _primitive(calculation.structure, settings)):
            return str(calculation.hash)
    return None


def _primitive(record: dict[str, Any], settings: DFTSettings) -> Structure:
    """Return the cell that is computed."""
    structure = record_to_structure(record)
    return symmetrise(structure, settings.symprec, settings.max_displacement).structure
