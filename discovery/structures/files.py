"""Reading and writing a person's own crystals: CIF, POSCAR, extended XYZ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure


_PATTERNS = ("*.cif", "*.vasp", "*.extxyz", "*.xyz", "POSCAR*", "CONTCAR*")


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
    for name, crystal in read_each(paths).items():
        if isinstance(crystal, StructureFileError):
            raise crystal
        found[name] = crystal
    return found


def read_bases(paths: Sequence[str]) -> dict[str, Structure]:
    """Read the crystals of files and of all structure files in folders, sorted by name.

    Raises:
        StructureFileError: as `read_structures`, or a folder holds no structure file.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(filter(_is_structure_file, path.iterdir())) if path.is_dir() else [path]
        if not found:
            raise StructureFileError(f"the folder {path} holds no {', '.join(_PATTERNS)}")
        files += found
    return read_structures(files)


def _is_structure_file(path: Path) -> bool:
    return any(path.match(pattern) for pattern in _PATTERNS)


def read_each(paths: Sequence[Path]) -> dict[str, Structure | StructureFileError]:
    """Read crystals from files, one that cannot be read not stopping the others.

    Args:
        paths: as for `read_structures`.

    Returns:
        Name to crystal, or to the error that `read_structures` would raise for it, in the order
        given.
    """
    found: dict[str, Structure | StructureFileError] = {}
    for path in paths:
        crystals = list(_read(path)) or [StructureFileError(f"{path} holds no crystal")]
        for number, crystal in enumerate(crystals, start=1):
            name = str(path) if len(crystals) == 1 else f"{path}#{number}"
            if not isinstance(crystal, StructureFileError) and not crystal.is_ordered:
                crystal = StructureFileError(f"{name} has partially occupied sites: order it first")
            elif not isinstance(crystal, StructureFileError):
                crystal.remove_oxidation_states()
            found[name] = crystal
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


def _read(path: Path) -> Iterator[Structure | StructureFileError]:
    """Yield the crystals of a file, and an error for each that is none or for the rest of it."""
    from pymatgen.core import Structure

    from model.data.announced import require_atoms
    from model.data.formats import bad_entry
    from model.gzip_files import unpack

    if not path.is_file():
        yield StructureFileError(f"there is no file {path}")
        return
    try:
        if path.suffix in (".extxyz", ".xyz"):
            from agents.extxyz import read_frames

            for atoms in read_frames(path):
                yield _crystal(atoms, path)
        elif path.suffix == ".cif":
            from pymatgen.io.cif import CifParser

            yield from CifParser(path).parse_structures(primitive=False)
        else:
            from pymatgen.io.vasp import Poscar

            content = path.read_bytes()
            text = unpack(content) if path.suffix == ".gz" else content
            require_atoms(text.decode("utf-8"))
            yield Structure.from_sites(Poscar.from_file(path).structure.sites)
    except bad_entry() as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        yield StructureFileError(
            f"{path} cannot be read as CIF (.cif), extended XYZ (.extxyz, .xyz) or POSCAR: {reason}"
        )


def _crystal(atoms: Atoms, path: Path) -> Structure | StructureFileError:
    from agents.relax.calculator import structure_from_atoms

    if not atoms.pbc.all():
        return StructureFileError(f"{path} has no cell that is periodic in all directions")
    return structure_from_atoms(atoms)
