"""Targets: crystals in the formats people keep them in."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzzing.target import Target, saved
from model.errors import MissingDataset

PARSERS = ("pymatgen.io", "ase.io", "ase.db", "model.data", "discovery.structures.files")


def _cifs() -> list[bytes]:
    from pymatgen.core import Lattice, Structure
    from pymatgen.io.cif import CifWriter

    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    plain = str(CifWriter(salt)).encode()
    symmetric = str(CifWriter(salt, symprec=0.1)).encode()
    return [plain, symmetric, plain.replace(b"data_NaCl", b"data_a") + b"\n" + symmetric]


def _poscars() -> list[bytes]:
    lattice = b"1.0\n5.6 0 0\n0 5.6 0\n0 0 5.6\n"
    return [
        b"NaCl\n" + lattice + b"Na Cl\n1 1\ndirect\n0 0 0 Na\n0.5 0.5 0.5 Cl\n",
        b"x\n" + lattice + b"Na Cl\n1 1\nSelective dynamics\nCartesian\n0 0 0 T F T\n2 2 2 F F F\n",
        b"x\n-170\n1 0 0\n0 1 0\n0 0 1\nSi\n2\nDirect\n0 0 0\n0.25 0.25 0.25\n\n0 0 0\n0 0 0\n",
    ]


def _frames() -> list[bytes]:
    cell = b'Lattice="5.6 0 0 0 5.6 0 0 0 5.6" Properties=species:S:1:pos:R:3'
    atoms = b"Na 0 0 0\nCl 2.8 2.8 2.8\n"
    full = (
        b'2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3:tags:I:1 '
        b'energy=-3.2 material_id=mp-1 stress="1 0 0 0 1 0 0 0 1" pbc="T T T" flag=T '
        b"virial=[[1,2,3],[4,5,6],[7,8,9]] note=_JSON'{\"a\": [1]}'\n"
        b"Na 0 0 0 0 0 0 1\nCl 2 2 2 0 0 0.1 2\n"
    )
    plain = b"2\n" + cell + b' pbc="T T T"\n' + atoms
    return [plain, full, plain + full]


def _tables() -> list[bytes]:
    crystal = {"cell": [5.6, 5.6, 5.6, 90, 90, 90], "species": ["Na", "Cl"]}
    text = json.dumps({**crystal, "frac": [[0, 0, 0], [0.5, 0.5, 0.5]]}).replace('"', '""')
    rows = f'material_id,formula,structure,band_gap\nmp-1,NaCl,"{text}",5.0\nmp-2,NaCl,"{text}",x\n'
    cif = _cifs()[0].decode().replace('"', '""')
    return [rows.encode(), f'id,cif,band_gap\na,"{cif}",1.0\n'.encode()]


@cache
def _databases() -> tuple[bytes, ...]:
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect

    with TemporaryDirectory() as folder:
        path = Path(folder) / "some.db"
        with connect(path, type="db") as database:
            atoms = bulk("NaCl", "rocksalt", a=5.6)
            database.write(atoms, material_id="mp-1", gap=5.0, data={"x": [1.0, 2.0]})
            atoms.calc = SinglePointCalculator(atoms, energy=-3.0)
            database.write(atoms)
        return (path.read_bytes(),)


def _reads(name: str) -> Callable[[bytes, Path], object]:
    """Read a file of this name as training data are read, and as a person's crystals are."""

    def read(data: bytes, folder: Path) -> object:
        from discovery.structures.files import read_each
        from model.data.sources import read_source

        path = saved(data, folder, name)
        if path.suffix in (".csv", ".gz"):
            return read_source(path, labels={"band_gap@pbe": "band_gap"})
        return read_each([path]), read_source(path)

    return read


def _packed(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream:
        stream.write(data)
    return buffer.getvalue()


def _read_reference(data: bytes, folder: Path) -> object:
    """Read a table as the import of reference collections reads its rows."""
    from agents.tables import read_rows
    from discovery.references import importing as reference_import

    rows = read_rows(saved(data, folder, "own.csv.gz"))
    return [reference_import.read_row(row) for row in rows]


def _read_database(data: bytes, folder: Path) -> object:
    from model.data.sources import read_source

    return read_source(saved(data, folder, "some.db"))


REFUSALS = (ValueError, MissingDataset)

TARGETS = (
    Target(
        "cif",
        _cifs,
        _reads("some.cif"),
        REFUSALS,
        tokens=(
            *(b"data_", b"loop_\n", b"_cell_length_a", b"_symmetry_equiv_pos_as_xyz"),
            *(b"_atom_site_occupancy", b"_atom_site_label", b"'x+1/2, y, -z'", b";\n", b"?", b"."),
            *(b"_symmetry_space_group_name_H-M", b"save_", b"#", b"1.2(3)", b"_atom_site_U_iso"),
        ),
        packages=PARSERS,
        weight=0.6,
    ),
    Target(
        "poscar",
        _poscars,
        _reads("POSCAR"),
        REFUSALS,
        tokens=(b"D", b"\n\n"),
        packages=PARSERS,
        weight=2.5,
    ),
    Target(
        "extxyz",
        _frames,
        _reads("some.extxyz"),
        REFUSALS,
        tokens=(
            *(b"Lattice=", b"Properties=", b":R:3", b":S:1", b":I:0", b":L:2", b"pbc=", b"_JSON"),
            *(b"energy=", b"forces", b"=", b"{", b"}", b"momenta", b"initial_charges", b"numbers"),
        ),
        packages=PARSERS,
        weight=2.5,
    ),
    Target(
        "csv",
        _tables,
        _reads("some.csv"),
        REFUSALS,
        tokens=(b'""', b","),
        packages=PARSERS,
        weight=2,
    ),
    Target(
        "csv.gz",
        lambda: [_packed(one) for one in _tables()],
        _reads("some.csv.gz"),
        REFUSALS,
        packages=PARSERS,
        weight=2.5,
    ),
    Target(
        "ase-db",
        _databases,
        _read_database,
        (*REFUSALS, sqlite3.Error),
        packages=PARSERS,
        weight=1.5,
    ),
)
