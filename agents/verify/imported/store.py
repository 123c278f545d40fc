"""A laboratory's folder of calculations, recorded as our own: each once, with its level of theory.

Single elements in their reference phase become references of their level; with them the compounds
of the level get formation energies, also those that were imported before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.imported import gpaw as imported_gpaw
from agents.verify.imported import text as imported_text
from agents.verify.imported import vasp as imported_vasp
from agents.verify.imported.calculation import Foreign, Found, NotImported, files_below
from agents.verify.imported.presets import own_spec, preset_of
from agents.verify.properties.formation import formation_energy_per_atom, mp2020_correction
from agents.verify.properties.references import (
    MissingReference,
    ground_state_energy,
    is_molecule,
    reference_info,
    reference_structure,
)
from agents.verify.setup.cost import is_in_vacuum
from agents.verify.tasks import Kind
from db import calculations
from db.crystals import record_to_structure
from db.documents import Calculation
from db.states import CalculationState

if TYPE_CHECKING:
    from pymatgen.core import Structure

# A reference phase at a laboratory's own lattice constants; volume may differ by functional.
MATCHER = {"ltol": 0.1, "stol": 0.1, "angle_tol": 3.0, "scale": True, "primitive_cell": True}
BOND_TOLERANCE = 0.15  # Å


@dataclass
class ImportReport:
    """What became of a folder.

    Attributes:
        imported: One entry for each calculation: ``path``, ``hash``, ``new``, ``kind``,
            ``formula``, ``level``, ``preset`` (the one of our own that it is of, or None),
            ``energy_per_atom`` (eV), ``band_gap`` (eV).
        refused: Path to reason.
        ignored: Files of other kinds.
        levels: What there is of each level now, see `summarise`.
    """

    imported: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    ignored: int = 0
    levels: dict[str, dict[str, Any]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "imported": self.imported,
            "refused": [{"path": path, "reason": why} for path, why in self.refused.items()],
            "ignored": self.ignored,
            "levels": self.levels,
        }


def import_folder(
    folder: Path,
    *,
    level: str | None = None,
    min_k_density: float = 1.5,
    progress: Callable[[str], None] = lambda line: None,
) -> ImportReport:
    """Record the calculations of a folder; may be repeated, and repeats nothing.

    Args:
        folder: Walked with everything below it.
        level: Name of the level of theory of its extended XYZ files.
        min_k_density: Least number of k-points per Å^-1 (2π included) of a crystal's mesh.
        progress: Told every file that was read.

    Returns:
        What was recorded and what was refused, with reasons.
    """
    report = ImportReport()
    for path in files_below(folder):
        source = str(path.relative_to(folder))
        if not _is_known(path):
            report.ignored += 1
            continue
        try:
            for one in _read(path, source, level, min_k_density):
                if isinstance(one, tuple):
                    report.refused[one[0]] = one[1]
                else:
                    report.imported.append(_store(one, source))
        except Foreign:
            report.ignored += 1
            continue
        except NotImported as error:
            report.refused[source] = str(error)
        progress(f"{source}: {report.refused.get(source, 'read')}")
    add_formation_energies()
    report.levels = {
        name: summarise(name) for name in sorted({one["level"] for one in report.imported})
    }
    return report


def add_formation_energies() -> int:
    """Compute the formation energies of all imported compounds from the references there are.

    Returns:
        How many compounds have one.
    """
    known = 0
    references = _references()
    for compound in _imported("compound"):
        formation = _formation(compound, references)
        if compound.info.get("formation") != formation:
            done = CalculationState.COMPLETED
            info = {**compound.info, "formation": formation}
            calculations.advance(compound.hash, done, done, info=info)
        known += formation["formation_energy_per_atom"] is not None
    return known


def summarise(level: str) -> dict[str, Any]:
    """Count what was imported of a level.

    Returns:
        ``compounds``, ``references`` (elements), ``with_formation_energy``, and
        ``missing_references``: element to the number of compounds that wait for it.
    """
    compounds = [one for one in _imported("compound") if one.level == level]
    bases = {one.info["imported"]["base_level"] for one in compounds} | {level}
    elements = {one.info["element"] for one in _imported("reference") if one.level in bases}
    formations = [one.info.get("formation", {}) for one in compounds]
    missing: dict[str, int] = defaultdict(int)
    for formation in formations:
        for element in formation.get("missing", []):
            missing[element] += 1
    return {
        "compounds": len(compounds),
        "references": sorted(elements),
        "with_formation_energy": sum(
            one.get("formation_energy_per_atom") is not None
            or one.get("formation_energy_per_atom_mp2020") is not None
            for one in formations
        ),
        "missing_references": dict(sorted(missing.items())),
    }


def _is_known(path: Path) -> bool:
    if imported_vasp.is_vasprun(path):
        return True
    return path.name.endswith((".gpw", ".extxyz", ".json", ".json.gz"))


def _read(
    path: Path, source: str, level: str | None, min_k_density: float
) -> Iterator[Found | dict[str, Any] | tuple[str, str]]:
    if imported_vasp.is_vasprun(path):
        yield imported_vasp.read(path, source, min_k_density=min_k_density)
    elif path.suffix == ".gpw":
        yield imported_gpaw.read(path, source, min_k_density=min_k_density)
    elif path.suffix == ".extxyz":
        yield from imported_text.read_extxyz(path, source, level)
    else:
        yield from imported_text.read_record(path, source)


def _store(one: Found | dict[str, Any], source: str) -> dict[str, Any]:
    """Record a calculation, and say what it is."""
    preset = None
    if isinstance(one, Found):
        kind, info = _kind(one)
        spec, result = one.spec(kind, info), one.result
        preset = preset_of(one)
        if preset is not None:
            spec, result = own_spec(one, preset, kind, info)
    else:
        spec = {name: value for name, value in one.items() if name != "result"}
        result = one["result"]
        origin = {"path": source, "base_level": spec["level"]}
        spec["info"] = {**spec.get("info", {}), "imported": origin}
    calculation, new = calculations.claim(spec, result=result)
    return {
        "path": one.source if isinstance(one, Found) else source,
        "hash": str(calculation.hash),
        "new": new,
        "state": str(calculation.state),
        "kind": calculation.kind,
        "formula": calculation.formula,
        "level": calculation.level,
        "preset": None if preset is None else preset.preset,
        "energy_per_atom": result.get("energy_per_atom"),
        "band_gap": result.get("band_gap"),
    }


def _kind(one: Found) -> tuple[Kind, dict[str, Any]]:
    """Tell references from other crystals of one element, by their structure."""
    if len(one.elements) > 1:
        return "compound", {}
    (element,) = one.elements
    if one.theory.get("hubbard_u") or not is_reference_phase(one.structure, element):
        return "compound", {}
    return "reference", reference_info(element)


def is_reference_phase(structure: Structure, element: str) -> bool:
    """Say whether a crystal of one element is the phase that formation energies count from."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if is_molecule(element):
        if len(structure) != 2 or not is_in_vacuum(structure):
            return False
        bond = reference_structure(element)
        return abs(structure.get_distance(0, 1) - bond.get_distance(0, 1)) <= BOND_TOLERANCE
    try:
        phase = reference_structure(element)
    except MissingReference:
        return False
    return bool(StructureMatcher(**MATCHER).fit(structure, phase))


def _imported(kind: str) -> list[Calculation]:
    found = Calculation.objects(
        kind=kind, state=str(CalculationState.COMPLETED), info__imported__exists=True
    ).order_by("created_at", "hash")
    return [one for one in found if "energy_per_atom" in one.result]


def _references() -> dict[tuple[str, str, str | None], list[Calculation]]:
    """Return all references by level, element and data set, computed here or imported."""
    found: dict[tuple[str, str, str | None], list[Calculation]] = defaultdict(list)
    for one in Calculation.objects(kind="reference", state=str(CalculationState.COMPLETED)):
        element = one.info["element"]
        found[one.level, element, _data_set(one, element)].append(one)
    return found


def _data_set(calculation: Calculation, element: str) -> str | None:
    """Return the data set of an element, where the level's name does not tell it."""
    settings = calculation.settings
    if "potcars" in settings:  # our own with VASP
        return str(settings["potcars"][element]["sha256"])
    if settings.get("imported"):
        name: str | None = settings["data_sets"].get(element)
        return name
    return None


def _formation(
    compound: Calculation, references: dict[tuple[str, str, str | None], list[Calculation]]
) -> dict[str, Any]:
    """Compute a formation energy against the lowest reference of each element."""
    structure, result = record_to_structure(compound.structure), compound.result
    level = compound.info["imported"]["base_level"]
    chosen, missing = {}, []
    for element in sorted({site.specie.symbol for site in structure}):
        there = references.get((level, element, _data_set(compound, element)), [])
        if not there:
            missing.append(element)
            continue
        chosen[element] = min(there, key=lambda one: one.result["energy_per_atom"])
    blank = {"formation_energy_per_atom": None, "formation_energy_per_atom_mp2020": None}
    if missing:
        return {**blank, "missing": missing, "mp2020_terms": [], "references": {}}
    energies = {
        element: ground_state_energy(one.result["energy_per_atom"], one.info)
        for element, one in chosen.items()
    }
    raw = formation_energy_per_atom(
        structure.composition.get_el_amt_dict(), result["energy_per_atom"], energies
    )
    used_u = result.get("hubbard_u") or {}
    correction = mp2020_correction(structure, used_u, result.get("vasp"))
    fits = compound.code == "vasp" or compound.settings.get("xc") == "PBE"  # VASP's were checked
    corrected = raw + correction.per_atom if correction.per_atom is not None and fits else None
    return {
        "formation_energy_per_atom": None if used_u else raw,  # with U against without is none
        "formation_energy_per_atom_mp2020": corrected,
        "mp2020_terms": list(correction.terms),
        "references": {element: str(one.hash) for element, one in chosen.items()},
        "missing": [],
    }
