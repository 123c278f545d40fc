"""A laboratory's vasprun.xml as calculations with their level of theory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.verify.imported.calculation import (
    MAX_BYTES,
    Found,
    NotImported,
    check_energy,
    check_mesh,
    digest,
    k_density_of,
    refusing_damage,
    storable,
)
from agents.verify.vasp.results import (
    BrokenOutput,
    Unconverged,
    check_converged,
    gap_of,
    plain_structure,
    read_outcar,
    read_vasprun,
    record,
    version,
)

if TYPE_CHECKING:
    from pymatgen.io.vasp.outputs import Vasprun

OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".lzma": lzma.open}
FUNCTIONALS = {"PAW_PBE": "PBE", "PAW": "LDA", "PAW_GGA": "PW91"}
"""Functional that a family of POTCARs was made for, by the first word of their titles."""

ENCODING = re.compile(rb"encoding\s*=\s*[\"']([^\"']*)")
ENCODINGS = (b"iso-8859-1", b"utf-8", b"us-ascii", b"ascii")
"""In others, such as UTF-7, what is looked for below can be written with other bytes."""

PROLOGUE_BYTES = 1 << 16
CHUNK = 1 << 22


def is_vasprun(path: Path) -> bool:
    """Say whether a file is named like VASP's result, also ``vasprun.xml.relax2.gz``."""
    return path.name.startswith("vasprun") and ".xml" in path.name


def read(path: Path, source: str, *, min_k_density: float) -> Found:
    """Read one vasprun.xml.

    Args:
        path: The file, plain or compressed.
        source: What to call it.
        min_k_density: Least number of k-points per Å^-1.

    Raises:
        NotImported: It is broken, not converged, not a total energy of a crystal, or lacks what its
            level is made of.
    """
    sha256 = digest(path)
    _check_prologue(path)
    with refusing_damage(f"{path.name} cannot be read as VASP's"):
        return storable(_read(path, source, sha256, min_k_density))


def _read(path: Path, source: str, sha256: str, min_k_density: float) -> Found:
    try:
        vasprun = read_vasprun(path)
        _check_run(vasprun)
        check_converged(vasprun)
    except (BrokenOutput, Unconverged) as error:
        raise NotImported(str(error)) from error
    structure = plain_structure(vasprun.final_structure)
    theory, data_sets = _level(vasprun)
    result = record(vasprun, read_outcar(path.with_name("OUTCAR")))
    check_energy(result)
    density = k_density_of(structure, result["k_points"])
    check_mesh(structure, density, min_k_density)
    return Found(
        source=source,
        sha256=sha256,
        code="vasp",
        version=version(vasprun),
        theory=theory,
        data_sets=data_sets,
        structure=structure,
        result={**result, "max_force": _max_force(vasprun), **_gap(vasprun)},
        task="relax" if int(vasprun.parameters.get("NSW", 0)) > 1 else "static",
        k_density=density,
    )


def _check_prologue(path: Path) -> None:
    """Refuse what is no output of VASP before a parser sees it, and archives that blow up.

    Raises:
        NotImported: There is no ``<modeling>``, a document type is declared (VASP never does, and
            entities can read files or fill the memory), or it is too large when unpacked.
    """
    opener: Any = OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rb") as stream:
            head = stream.read(PROLOGUE_BYTES)
            size = len(head)
            while path.suffix in OPENERS and (chunk := stream.read(CHUNK)):
                size += len(chunk)
                if size > MAX_BYTES:
                    limit = MAX_BYTES / 2**30
                    raise NotImported(f"it has more than {limit:.0f} GiB when unpacked")
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise NotImported(f"it cannot be unpacked: {error}") from error
    prologue, found, _ = head.partition(b"<modeling")
    if not found:
        raise NotImported("it is no vasprun.xml: it does not begin with <modeling>")
    encoding = ENCODING.search(prologue)
    if encoding and encoding[1].lower() not in ENCODINGS:
        raise NotImported(f"its encoding is {encoding[1][:20]!r}, which VASP never writes")
    if b"<!" in prologue.replace(b"<!--", b""):
        raise NotImported("it declares a document type, which VASP never does")


def _check_run(vasprun: Vasprun) -> None:
    """Refuse runs whose energy is no total energy of a crystal at rest."""
    incar, parameters = vasprun.incar, vasprun.parameters
    charge = int(incar.get("ICHARG", parameters.get("ICHARG", 2)) or 0)
    if charge >= 10:
        raise NotImported(
            f"its charge density was kept fixed (ICHARG = {charge}): a band structure"
        )
    motion = int(parameters.get("IBRION", -1))
    if motion == 0 and int(parameters.get("NSW", 0)) > 1:
        raise NotImported("it is a molecular dynamics run (IBRION = 0)")
    if motion in (5, 6, 7, 8):
        raise NotImported(f"it is a run for phonons (IBRION = {motion})")
    pressure = float(parameters.get("PSTRESS", 0.0) or 0.0)
    if pressure:
        raise NotImported(f"its energy is an enthalpy under {pressure / 10:g} GPa (PSTRESS)")
    if vasprun.kpoints.style.name == "Line_mode":
        raise NotImported("its k-points are a path: a band structure")


def _level(vasprun: Vasprun) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the level is made of, and the title of each element's POTCAR."""
    parameters = vasprun.parameters
    cutoff = parameters.get("ENMAX") or parameters.get("ENCUT") or vasprun.incar.get("ENCUT")
    if not cutoff:
        raise NotImported("it lacks the cut-off (ENMAX), without which there is no level")
    titles = _titles(vasprun)
    family = next(iter(titles.values())).split()[0]
    try:
        hubbards = {name: float(u) for name, u in vasprun.hubbards.items() if u}
        functional = str(vasprun.run_type)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotImported(f"its functional or U cannot be read: {error}") from error
    functional = functional.replace("+U", "")
    if functional == "GGA":  # no GGA tag in the INCAR: that of the POTCARs
        functional = FUNCTIONALS.get(family, "GGA")
    theory: dict[str, Any] = {
        "xc": functional,
        "cutoff": float(cutoff),
        "precision": str(parameters.get("PREC", "")).lower()[:4],
        "spin_orbit": bool(parameters.get("LSORBIT", False)),
        "hubbard_u": hubbards,
        "potcar_family": family,
    }
    if parameters.get("LHFCALC", False):
        theory |= {name: float(parameters.get(name, 0.0)) for name in ("AEXX", "HFSCREEN")}
    return theory, titles


def _titles(vasprun: Vasprun) -> dict[str, str]:
    """Return the title of each element's POTCAR; an element may have several groups of atoms."""
    titles: dict[str, str] = {}
    for title in map(str, vasprun.potcar_symbols):
        words = title.split()
        element = words[1].partition("_")[0] if len(words) > 1 else ""
        if titles.setdefault(element, title) != title:
            raise NotImported(f"it has two POTCARs of {element}: {titles[element]} and {title}")
    if set(titles) != set(vasprun.atomic_symbols):
        raise NotImported("it lacks the titles of its POTCARs, without which there is no level")
    return titles


def _gap(vasprun: Vasprun) -> dict[str, Any]:
    """Return the gap on the mesh of the calculation, nothing where no eigenvalues were kept."""
    if not vasprun.eigenvalues or vasprun.efermi is None or vasprun.parameters.get("LSORBIT"):
        return {}
    try:
        found, occupations = gap_of(vasprun)
    except ValueError:  # no empty band was computed
        return {}
    return {
        "band_gap": found.gap,
        "is_metal": found.gap <= 0,
        "direct": found.direct,
        "gap_confirmed": False,
        "gap_consistent": occupations.consistent,
    }


def _max_force(vasprun: Vasprun) -> float | None:
    forces = vasprun.ionic_steps[-1].get("forces")
    if forces is None:
        return None
    return float(np.linalg.norm(np.asarray(forces, dtype=float), axis=1).max())
