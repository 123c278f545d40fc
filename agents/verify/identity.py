"""The identity of a calculation: what makes two of them the same, so that none is paid twice."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.slab import LAYER_SPACE, with_vacuum
from agents.verify.backend import DFTBackend, S
from agents.verify.setup.symmetry import MOMENT_DECIMALS, has_moments, symmetrise
from agents.verify.tasks import DEFAULTS, Kind, Task, options_of
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
    backend: DFTBackend[S],
    structure: Structure,
    settings: S,
    *,
    kind: Kind,
    task: Task | str = Task.STATIC,
    parent: str | None = None,
    options: Mapping[str, Any] | None = None,
    molecule: bool = False,
    info: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a calculation as it is recorded, with its hash.

    Args:
        backend: The code.
        structure: Crystal, or molecule in a box. With a parent, the crystal that its chain of
            calculations began with: it says what the calculation is about, not what it is.
        settings: All settings of the level of theory.
        kind: ``compound``, ``reference`` or ``phase``.
        task: What is computed.
        parent: Hash of the calculation it starts from.
        options: Options of the task (`agents.verify.tasks.DEFAULTS` where they say nothing).
        molecule: The structure is a molecule in a box.
        info: Anything else worth recording; not part of the identity.

    Returns:
        Plain JSON values under the names of `db.documents.Calculation`'s fields.

    Raises:
        ValueError: The structure cannot be standardised.
    """
    task, complete = Task(task), options_of(Task(task), options)
    elements = [element.symbol for element in structure.composition.elements]
    own = backend.calculation_settings(elements, settings)
    seconds = backend.estimate_task(structure, settings, task, complete)
    return {
        "hash": calculation_hash(
            backend,
            structure,
            own,
            task=task,
            parent=parent,
            options=complete,
            molecule=molecule,
        ),
        "kind": kind,
        "task": str(task),
        "parent": parent,
        "options": complete,
        "code": backend.name,
        "version": backend.version,
        "level": backend.level(settings),
        "settings": own.record(),
        "structure": structure_to_record(structure),
        "formula": structure.composition.reduced_formula,
        "estimated_core_seconds": None if math.isinf(seconds) else seconds,
        "info": {"molecule": molecule, **(info or {})},
    }


def calculation_hash(
    backend: DFTBackend[S],
    structure: Structure,
    settings: S,
    *,
    task: Task = Task.STATIC,
    parent: str | None = None,
    options: Mapping[str, Any] | None = None,
    molecule: bool = False,
) -> str:
    """Hash code, version, settings, task, and the standardised, rounded cell or the parent.

    The settings are those of the calculation (`DFTBackend.calculation_settings`).

    Returns:
        64 hexadecimal digits (sha256).
    """
    identity: dict[str, Any] = {
        "code": backend.name,
        "version": backend.version,
        "settings": settings.record(),
        "molecule": molecule,
    }
    complete = options_of(task, options)
    if parent is not None:
        identity["parent"] = parent
    else:
        cell = structure
        if not molecule:
            cell = symmetrise(
                structure, settings.symprec, settings.max_displacement, complete.get("vacuum")
            ).structure
        identity["cell"] = rounded_cell(cell)
    if (task, parent, complete) != (Task.STATIC, None, DEFAULTS[Task.STATIC]):
        identity |= {"task": str(task), "options": complete}  # else as hashed before tasks existed
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def rounded_cell(cell: Structure) -> dict[str, Any]:
    """Return a cell as plain values that noise of relaxations does not change."""
    lattice = [round(value, LATTICE_DECIMALS) + 0.0 for value in cell.lattice.parameters]
    moments = cell.site_properties.get("magmom") if has_moments(cell) else None
    sites = sorted(
        [site.specie.symbol, *(_wrapped(x) for x in site.frac_coords)]
        + ([] if moments is None else [round(float(moments[number]), MOMENT_DECIMALS)])
        for number, site in enumerate(cell)
    )
    return {"lattice": lattice, "sites": sites}


def _wrapped(coordinate: float) -> float:
    return round(coordinate % 1.0, POSITION_DECIMALS) % 1.0 + 0.0


def find_equal(spec: dict[str, Any]) -> str | None:
    """Look for a recorded calculation of the same crystal, task and level.

    The hash of a crystal depends on noise near a rounding edge, and on the choice of origin and
    axes; a match of the structures does not. Layers are compared without their vacuum, and one that
    may have a dipole is never equal to one that may not. What has a parent is known by the parent,
    whose equal was looked for when it was queued. A ``static`` with its gap answers one without,
    too.

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
    recorded = [one for one in recorded if _same_task(one, spec)]
    for calculation in recorded:
        if calculation.hash == spec["hash"]:
            return str(calculation.hash)
    if spec["info"]["molecule"] or spec["parent"] is not None:
        return None
    matcher = StructureMatcher(**MATCHER)
    cells, polar = _primitive(spec["structure"], spec)
    for calculation in recorded:
        if calculation.info.get("molecule"):
            continue
        others, other_polar = _primitive(calculation.structure, spec)
        if polar == other_polar and all(map(matcher.fit, cells, others)):
            return str(calculation.hash)
    return None


def _same_task(recorded: Calculation, spec: dict[str, Any]) -> bool:
    if recorded.settings != spec["settings"] or recorded.parent != spec["parent"]:
        return False
    wanted = [spec["options"]]
    if spec["task"] == Task.STATIC:
        wanted.append({**spec["options"], "gap": True})
    return recorded.task == spec["task"] and recorded.options in wanted


def _primitive(
    record: dict[str, Any], spec: Mapping[str, Any]
) -> tuple[list[Structure], bool | None]:
    """Return the cell that is computed, its moments as spins of the species, and what it is.

    Returns:
        The cell, and of a slab the same layer without its vacuum, too: the matcher's tolerances are
        parts of c and of the volume, so that the vacuum would hide a buckling of 0.1 Å. And whether
        a slab may have a dipole; None for bulk crystals.
    """
    structure, settings = record_to_structure(record), spec["settings"]
    tolerances = (settings["symprec"], settings["max_displacement"])
    found = symmetrise(structure, *tolerances, spec["options"].get("vacuum"))
    cell = found.structure
    if has_moments(cell):  # the matcher tells species apart, not site properties
        cell.add_spin_by_site(cell.site_properties["magmom"])
    cells = [cell] if found.polar is None else [cell, with_vacuum(cell, LAYER_SPACE)]
    return cells, found.polar
