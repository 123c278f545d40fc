"""GPAW's .gpw files as calculations with their level of theory; GPAW itself is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agents.verify.imported.calculation import (
    Found,
    NotImported,
    check_energy,
    check_mesh,
    digest,
    k_density_of,
    refusing_damage,
    storable,
)
from agents.verify.properties.gap import band_gap

GOOD_VERSION = 3
"""Oldest version of the file format that is read; GPAW before its rewrite wrote 3."""


def read(path: Path, source: str, *, min_k_density: float) -> Found:
    """Read one .gpw file.

    Args:
        path: The file.
        source: What to call it.
        min_k_density: Least number of k-points per Å^-1.

    Raises:
        NotImported: It is broken, holds no energy, or is no plane-wave calculation of a crystal.
    """
    sha256 = digest(path)
    with refusing_damage("it cannot be read as GPAW's"):
        return storable(_read(path, source, sha256, min_k_density))


def _read(path: Path, source: str, sha256: str, min_k_density: float) -> Found:
    from ase import Atoms
    from ase.io.ulm import open as open_ulm

    from agents.relax.calculator import structure_from_atoms

    with open_ulm(path) as stored:
        if stored.get_tag() != "gpaw":
            raise NotImported("it is no file of GPAW")
        if int(stored.version) < GOOD_VERSION:
            raise NotImported(f"its format is of an old GPAW (version {stored.version})")
        written = stored.asdict()
        theory, data_sets = _level(written["parameters"], stored.atoms.numbers)
        results = written.get("results", {})
        if "energy" not in results:
            raise NotImported("it holds no energy: GPAW stopped before it converged")
        atoms = Atoms(
            numbers=stored.atoms.numbers,
            positions=stored.atoms.positions,
            cell=stored.atoms.cell,
            pbc=stored.atoms.pbc,
        )
        waves = stored.wave_functions
        eigenvalues = np.asarray(waves.eigenvalues)
        occupations = np.asarray(waves.occupations)
        weights = np.asarray(waves.kpts.weights)
        points = np.asarray(waves.kpts.bzkpts)
        level = float(np.asarray(waves.fermi_levels).ravel()[0])
        forces = np.asarray(stored.results.forces) if "forces" in results else None
        version = str(stored.gpaw_version)
        moment = float(results.get("magmom") or 0.0)
    if eigenvalues.ndim != 3:
        raise NotImported("it is not collinear (spin-orbit or free moments)")
    if not atoms.pbc.all():
        raise NotImported("its cell is not periodic in all directions")
    structure = structure_from_atoms(atoms)
    size = _mesh(points)
    density = k_density_of(structure, size)
    spins = len(eigenvalues)
    electrons = 2.0 / spins * float(np.einsum("skn,k->", occupations, weights))
    energy = float(results["energy"])
    result: dict[str, Any] = {
        "energy": energy,
        "energy_per_atom": energy / len(structure),
        "n_atoms": len(structure),
        "formula": structure.composition.reduced_formula,
        "spin_polarised": spins == 2,
        "magnetic_moment": moment,
        "k_points": size,
        "irreducible_k_points": len(weights),
        "bands": eigenvalues.shape[2],
        "valence_electrons": electrons,
        "hubbard_u": theory["hubbard_u"],
        "converged": True,
        "fermi_level": level,
        "max_force": None if forces is None else float(np.linalg.norm(forces, axis=1).max()),
        **_gap(eigenvalues, electrons, level),
    }
    check_energy(result)
    check_mesh(structure, density, min_k_density)
    return Found(
        source=source,
        sha256=sha256,
        code="gpaw",
        version=version,
        theory=theory,
        data_sets=data_sets,
        structure=structure,
        result=result,
        k_density=density,
    )


def _level(parameters: dict[str, Any], numbers: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the level is made of, and the setup of each element."""
    from ase.data import chemical_symbols

    mode = parameters.get("mode", "fd")
    mode = {"name": mode} if isinstance(mode, str) else dict(mode)
    if mode.get("name") != "pw" or "ecut" not in mode:
        raise NotImported(
            f"its mode is {mode.get('name')}: only plane waves with a cut-off are a level here"
        )
    xc = parameters.get("xc", "LDA")
    functional = xc if isinstance(xc, str) else str(dict(xc).get("name"))
    given = parameters.get("setups", "paw")
    setups = {"default": given} if isinstance(given, str) else {k: str(v) for k, v in given.items()}
    occupations = dict(parameters.get("occupations", {}))
    elements = sorted({chemical_symbols[number] for number in numbers})
    sets, hubbard = {}, {}
    for element in elements:
        name = setups.get(element, setups.get("default", "paw"))
        kind, _, orbitals = name.partition(":")
        sets[element] = kind or setups.get("default", "paw")
        if orbitals:
            hubbard[element] = orbitals
    theory = {
        "xc": functional,
        "cutoff": float(mode["ecut"]),
        "smearing": [occupations.get("name"), occupations.get("width")],
        "hubbard_u": _hubbard(hubbard),
    }
    return theory, sets


def _hubbard(orbitals: dict[str, str]) -> dict[str, float]:
    """Read "d,5.3" as 5.3 eV on the d shell."""
    found = {}
    for element, text in orbitals.items():
        shell, _, value = text.partition(",")
        if shell != "d" or not value:
            raise NotImported(f"its U on {element} is {text!r}: only one on a d shell is read")
        try:
            found[element] = float(value.split(",")[0])
        except ValueError as error:
            raise NotImported(f"its U on {element} is {text!r}, which is no number") from error
    return found


def _mesh(points: Any) -> list[int] | None:
    """Return the divisions of a mesh; None where the points are none."""
    size = [len(np.unique(np.round(points[:, axis] % 1.0, 6) % 1.0)) for axis in range(3)]
    return size if int(np.prod(size)) == len(points) else None


def _gap(eigenvalues: Any, electrons: float, level: float) -> dict[str, Any]:
    try:
        found = band_gap(eigenvalues, electrons=round(electrons, 3), fermi_level=level)
    except ValueError:  # no empty band was computed
        return {}
    return {
        "band_gap": found.gap,
        "is_metal": found.gap <= 0,
        "direct": found.direct,
        "gap_confirmed": False,
    }
