"""Imported VASP calculations that are those of a preset: a campaign finds them and pays nothing.

A calculation counts as a preset's when pymatgen's set, given the same crystal, asks for the same
things: everything in the INCAR that moves the energy, no denser mesh, and POTCARs of the titles
that are installed here. What only steers the way to self-consistency may differ.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from agents.verify.backend import BackendUnavailable
from agents.verify.identity import calculation_spec
from agents.verify.imported.calculation import Found
from agents.verify.setup.symmetry import symmetrise
from agents.verify.tasks import Kind, Task
from agents.verify.vasp.backend import VASPBackend
from agents.verify.vasp.cost import mesh
from agents.verify.vasp.inputs import input_set
from agents.verify.vasp.potcar import MissingPotcar, potcars
from agents.verify.vasp.results import plain_value
from agents.verify.vasp.settings import PRESETS, VASPSettings, preset

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.inputs import Incar

DEFAULTS: dict[str, Any] = {
    **{"PREC": "normal", "ISPIN": 1, "LASPH": False, "ADDGRID": False, "LREAL": False},
    **{"ISMEAR": 1, "SIGMA": 0.2, "METAGGA": "--", "IVDW": 0, "LHFCALC": False},
    **{"LSORBIT": False, "LUSE_VDW": False, "NUPDOWN": -1, "NELECT": None, "LDIPOL": False},
    **{"GGA_COMPAT": True, "LMAXMIX": 2, "ISYM": 2},
}
"""What moves the energy, with VASP's own values where an INCAR is silent."""

SMEARED = (-1, 0, 1, 2)  # ISMEAR with which SIGMA matters


def preset_of(found: Found) -> VASPSettings | None:
    """Return the preset that a calculation is of, the densest of several, None for none.

    Args:
        found: A static calculation with VASP.
    """
    if found.code != "vasp" or found.task != Task.STATIC or found.result.get("k_points") is None:
        return None
    try:
        if VASPBackend().version != found.version:
            return None
    except BackendUnavailable:  # no version is declared: no campaign computes with VASP here
        return None
    same = [one for one in map(preset, PRESETS) if _is_of(found, one)]
    return max(same, key=lambda one: mesh(found.structure, one.k_points), default=None)


def own_spec(found: Found, settings: VASPSettings, kind: Kind, info: dict[str, Any]) -> Any:
    """Describe an imported calculation as one of a preset's.

    Args:
        found: The calculation.
        settings: From `preset_of`.
        kind: ``compound`` or ``reference``.
        info: What else to record.

    Returns:
        What `db.calculations.claim` takes, and the result with what a campaign reads of it.
    """
    backend = VASPBackend()
    metal = found.result.get("is_metal", False)  # a denser mesh finds no gap where one has none
    spec = calculation_spec(
        backend,
        found.structure,
        settings,
        kind=kind,
        options={"gap": bool(metal)},
        info=info,
    )
    origin = {"path": found.source, "sha256": found.sha256, "base_level": spec["level"]}
    spec["info"] = {**spec["info"], "imported": {**origin, "k_density": found.k_density}}
    ideal = symmetrise(found.structure, settings.symprec, settings.max_displacement)
    symmetry = {"space_group": ideal.space_group, "symprec": ideal.symprec}
    return spec, {**found.result, "symmetry": symmetry, "cpu_seconds": 0.0}


def _is_of(found: Found, settings: VASPSettings) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            titles = {name: one.title for name, one in potcars(found.elements, settings).items()}
        except MissingPotcar:
            return False
        inputs = input_set(found.structure, settings, Task.STATIC)
        wanted = inputs.incar
    if titles != found.data_sets or found.theory["cutoff"] != wanted["ENCUT"]:
        return False
    if found.theory["xc"].upper() != settings.xc.upper():
        return False
    if found.theory["hubbard_u"] != _hubbard(found, wanted):
        return False
    given = found.result["vasp"]["incar"]
    own, theirs = _energetic(wanted), _energetic(given)
    if _moments(inputs.structure, wanted) != _moments(found.structure, given):
        return False
    if own != theirs or float(given.get("EDIFF", 1e-4)) > float(wanted.get("EDIFF", 1e-4)):
        return False
    asked = mesh(found.structure, settings.k_points)
    return all(n >= m for n, m in zip(found.result["k_points"], asked, strict=True))


def _energetic(incar: Incar | dict[str, Any]) -> dict[str, Any]:
    """Return what moves the energy, in one spelling."""
    values = {name: plain_value(incar.get(name, default)) for name, default in DEFAULTS.items()}
    plain = {
        name: value.lower()[:4] if isinstance(value, str) else value
        for name, value in values.items()
    }
    if plain["ISMEAR"] not in SMEARED:
        plain.pop("SIGMA")
    return plain


def _moments(structure: Structure, incar: Incar | dict[str, Any]) -> list[tuple[str, float]]:
    """Return the initial moments by element: another order is another calculation."""
    symbols = [site.specie.symbol for site in structure]
    given = incar.get("MAGMOM") or [1.0] * len(symbols)  # VASP's own
    if len(given) != len(symbols):  # not collinear
        return []
    return sorted((name, float(value)) for name, value in zip(symbols, given, strict=True))


def _hubbard(found: Found, wanted: Incar) -> dict[str, float]:
    """Return the U of each element in a set's INCAR."""
    if not wanted.get("LDAU"):
        return {}
    order = list(
        dict.fromkeys(site.specie.symbol for site in found.structure.get_sorted_structure())
    )
    return {name: float(u) for name, u in zip(order, wanted["LDAUU"], strict=True) if u}
