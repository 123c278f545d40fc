"""Targets: what DFT codes and laboratories leave behind, and what our own runners answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from agents.verify.imported.calculation import NotImported
from fuzzing.target import Target, saved

if TYPE_CHECKING:
    from pymatgen.core import Structure


def _salt() -> Structure:
    from pymatgen.core import Lattice, Structure

    cell = Lattice.from_parameters(4, 4, 4, 60, 60, 60)
    return Structure(cell, ["Na", "Cl"], [[0] * 3, [0.5] * 3])


@cache
def _vaspruns() -> tuple[bytes, ...]:
    from fake_vasp import write_vasprun

    incar = {"ENCUT": 520.0, "ISPIN": 2, "PREC": "Accurate", "ISMEAR": 0}
    titles = {"Na": "PAW_PBE Na_pv 19Sep2006", "Cl": "PAW_PBE Cl 06Sep2000"}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vasprun.xml"
        write_vasprun(path, _salt(), incar=incar, mesh=(6, 6, 6), energy=-6.8, titles=titles)
        return (path.read_bytes(),)


def _read_vasprun(data: bytes, folder: Path, name: str = "vasprun.xml") -> object:
    from agents.verify.imported.vasp import read

    return _described([read(saved(data, folder, name), name, min_k_density=1.0)])


def _outcars() -> list[bytes]:
    from fake_vasp import OUTCAR

    return [OUTCAR.encode()]


def _read_outcar(data: bytes, folder: Path) -> object:
    from agents.verify.vasp.results import cores, read_outcar

    return cores(read_outcar(saved(data, folder, "OUTCAR")))


@cache
def _gpws() -> tuple[bytes, ...]:
    import numpy as np
    from ase.build import bulk
    from ase.io import ulm

    atoms = bulk("NaCl", "rocksalt", a=5.6)
    grid = np.array([[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.gpw"
        with ulm.open(path, "w", tag="gpaw") as writer:
            writer.write(version=7, gpaw_version="26.7.0", ha=27.2, bohr=0.529)
            writer.child("atoms").write(
                numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell[:], pbc=[True] * 3
            )
            writer.child("results").write(forces=np.zeros((2, 3)), energy=-6.8)
            writer.child("parameters").write(
                mode={"name": "pw", "ecut": 500.0}, xc="PBE", setups={"Na": ":d,2.5"}
            )
            waves = writer.child("wave_functions")
            waves.write(
                fermi_levels=np.array([3.5]),
                eigenvalues=np.arange(64.0).reshape(1, 8, 8),
                occupations=np.ones((1, 8, 8)),
            )
            waves.child("kpts").write(bzkpts=grid, weights=np.full(8, 0.125))
        return (path.read_bytes(),)


def _read_gpw(data: bytes, folder: Path) -> object:
    from agents.verify.imported.gpaw import read

    return _described([read(saved(data, folder, "a.gpw"), "a.gpw", min_k_density=0.1)])


def _labels() -> list[bytes]:
    frame = (
        b'2\nLattice="5.6 0 0 0 5.6 0 0 0 5.6" Properties=species:S:1:pos:R:3:forces:R:3 '
        b'energy=-6.8 band_gap=5.0 converged=T pbc="T T T"\n'
        b"Na 0 0 0 0 0 0\nCl 2.8 2.8 2.8 0 0 0.1\n"
    )
    return [frame, frame + frame]


def _read_labels(data: bytes, folder: Path) -> object:
    from agents.verify.imported.text import read_extxyz

    path = saved(data, folder, "some.extxyz")
    return _described(read_extxyz(path, "some.extxyz", "pbe-lab"))


@cache
def _records() -> tuple[bytes, ...]:
    from agents.verify.gpaw.backend import GPAWBackend
    from agents.verify.identity import calculation_hash
    from agents.verify.setup.presets import preset
    from agents.verify.tasks import options_of
    from db.crystals import structure_to_record

    salt = _salt()
    backend, settings = GPAWBackend(), preset("fast")
    options = options_of("static", None)
    name = calculation_hash(
        backend, salt, settings, task="static", parent=None, options=options, molecule=False
    )
    record = {
        "hash": name,
        "kind": "compound",
        "task": "static",
        "parent": None,
        "options": options,
        "code": backend.name,
        "version": backend.version,
        "level": "x",
        "settings": settings.model_dump(mode="json"),
        "structure": structure_to_record(salt),
        "formula": "NaCl",
        "info": {"molecule": False},
        "state": "completed",
        "result": {"energy": -6.8, "energy_per_atom": -3.4, "n_atoms": 2, "formula": "NaCl"},
    }
    return (json.dumps(record).encode(), json.dumps([record, record]).encode())


def _read_records(data: bytes, folder: Path, name: str = "some.json") -> object:
    from agents.verify.imported.text import read_record
    from db.plain import plain

    return [
        one if isinstance(one, tuple) else plain(one, "record")
        for one in read_record(saved(data, folder, name), name)
    ]


def _answers() -> list[bytes]:
    result = {"energy": -6.8, "energy_per_atom": -3.4, "n_atoms": 2, "band_gap": 5.0}
    error = {"kind": "scf", "message": "no convergence", "log_tail": "..."}
    return [json.dumps({"result": result}).encode(), json.dumps({"error": error}).encode()]


def _read_answer(data: bytes, folder: Path) -> object:
    """Read what a runner wrote as the launcher does; whatever it is, it must be storable."""
    from agents.verify.firetask import read_answer
    from db.plain import plain

    answer = read_answer(saved(data, folder, "output.json"), folder)
    if ("result" in answer) == ("error" in answer):
        raise AssertionError(f"neither a result nor an error: {answer!r:.200}")
    if "error" in answer and not {"kind", "message"} <= set(answer["error"]):
        raise AssertionError(f"an error without a kind: {answer!r:.200}")
    return plain(answer, "answer")


def _described(found: Iterable[object]) -> list[object]:
    """Do with what was read what the import does with it before the database."""
    from agents.verify.imported.calculation import Found
    from db.plain import plain

    described: list[object] = []
    for one in found:
        if isinstance(one, Found):
            described += [one.level, plain(one.spec("compound", {}), "calculation")]
            described.append(plain(one.result, "result"))
    return described


PARSERS = ("pymatgen.io", "ase.io", "agents.verify")
REFUSALS = (NotImported,)
XML = (b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b"&x;", b"<xi:include href='/etc/passwd'/>", b"<![CDATA[")

TARGETS = (
    Target(
        "vasprun",
        _vaspruns,
        _read_vasprun,
        REFUSALS,
        tokens=(*XML, b"<i name='NELM'>", b"<v>", b"<r>", b"<set>", b"<array>", b"****", b"-"),
        packages=PARSERS,
        largest=1 << 17,
        weight=0.8,
    ),
    Target(
        "vasprun.gz",
        lambda: [gzip.compress(one, mtime=0) for one in _vaspruns()],
        partial(_read_vasprun, name="vasprun.xml.gz"),
        REFUSALS,
        packages=PARSERS,
        weight=0.5,
    ),
    Target(
        "outcar", _outcars, _read_outcar, (), tokens=(b"total cores",), packages=PARSERS, weight=0.8
    ),
    Target(
        "gpw", _gpws, _read_gpw, REFUSALS, tokens=(b"__ndarray__",), packages=PARSERS, weight=2.5
    ),
    Target("extxyz-labels", _labels, _read_labels, REFUSALS, packages=PARSERS, weight=3),
    Target(
        "calculation-record",
        _records,
        _read_records,
        REFUSALS,
        tokens=(b'"@module"', b'"hash"', b'"result"', b"NaN", b"Infinity", b"[" * 500),
        packages=PARSERS,
        weight=0.8,
    ),
    Target(
        "calculation-record.gz",
        lambda: [gzip.compress(one, mtime=0) for one in _records()],
        partial(_read_records, name="some.json.gz"),
        REFUSALS,
        packages=PARSERS,
        weight=0.5,
    ),
    Target(
        "runner-answer",
        _answers,
        _read_answer,
        (),
        tokens=(b"NaN", b"-Infinity", b'"result"', b'"error"', b"\x00", b'"$a": 1', b"1" * 40),
        packages=("agents.verify",),
        weight=10,
    ),
)
