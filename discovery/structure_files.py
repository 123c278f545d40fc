"""Reading and writing a person's own crystals: CIF, POSCAR, extended XYZ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure


class StructureFileError(ValueError):
    """A file cannot be read as crystals, or crystals cannot be written to it."""

    exit_code = 2


def read_structures(paths: Sequence[Path]) -> dict[str, Structure]:
    """Read crystals from files.

    Args:
        paths: CIF, POSCAR (`POSCAR*`, `CONTCAR*`, `*.vasp`) and extended XYZ files.

    Returns:
        Name to crystal, in the order given; a crystal of a file with several is named
        "file.xyz#2", counted from 1. Oxidation states are left out.

    Raises:
        StructureFileError: a file is missing, unreadable, without a periodic cell, or has
            partially occupied sites.
    """
    found: dict[str, Structure] = {}
    for path in paths:
        crystals = list(_read(path))
        if not crystals:
            raise StructureFileError(f"{path} holds no crystal")
        for number, structure in enumerate(crystals, start=1):
            name = str(path) if len(crystals) == 1 else f"{path}#{number}"
            if not structure.is_ordered:
                raise StructureFileError(f"{name} has partially occupied sites: order it first")
            structure.remove_oxidation_states()
            found[name] = structure
    return found


def write_structures(structures: Mapping[str, Structure], out: Path) -> None:
    """Write crystals to one extended XYZ file, or to a folder of CIF files.

    Args:
        structures: name to crystal; CIF files are numbered in this order.
        out: a file ending in .extxyz or .xyz, or a folder, which is made.

    Raises:
        StructureFileError: it cannot be written.
    """
    from ase.io import write
    from pymatgen.io.cif import CifWriter

    from agents.relax.calculator import atoms_from_structure

    try:
        if out.suffix in (".extxyz", ".xyz"):
            frames = []
            for name, structure in structures.items():
                atoms = atoms_from_structure(structure)
                atoms.info["id"] = name
                frames.append(atoms)
            write(out, frames, format="extxyz")
            return
        out.mkdir(parents=True, exist_ok=True)
        for number, structure in enumerate(structures.values(), start=1):
            file = f"{number:05d}-{structure.composition.reduced_formula}.cif"
            CifWriter(structure).write_file(out / file)
    except OSError as error:
        raise StructureFileError(f"cannot write to {out}: {error.strerror}") from error


def _read(path: Path) -> Iterator[Structure]:
    from pymatgen.core import Structure

    if not path.is_file():
        raise StructureFileError(f"there is no file {path}")
    try:
        if path.suffix in (".extxyz", ".xyz"):
            from ase.io import read

            for atoms in read(path, index=":", format="extxyz"):
                yield _crystal(atoms, path)
        elif path.suffix == ".cif":
            from pymatgen.io.cif import CifParser

            yield from CifParser(path).parse_structures(primitive=False)
        else:
            from pymatgen.io.vasp import Poscar

            yield Structure.from_sites(Poscar.from_file(path).structure.sites)
    except StructureFileError:
        raise
    except (ValueError, LookupError, OSError, AssertionError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise StructureFileError(
            f"{path} cannot be read as CIF (.cif), extended XYZ (.extxyz, .xyz) or POSCAR: {reason}"
        ) from error


def _crystal(atoms: Atoms, path: Path) -> Structure:
    from agents.relax.calculator import structure_from_atoms

    if not atoms.pbc.all():
        raise StructureFileError(f"{path} has no cell that is periodic in all directions")
    return structure_from_atoms(atoms)
