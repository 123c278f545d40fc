"""A program that stands in for VASP: reads its inputs, and writes the outputs that tools read.

The numbers are made up (a table of energies, a parabolic gap); the files have VASP's layout, so
that custodian and pymatgen read them as they read VASP's. ``FAKE_VASP`` chooses how it fails:
``unconverged``, ``converges_at_all`` (only with ALGO = All or Normal), ``truncated``, ``crash``,
``silent``, ``hang``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

ENERGIES = {"Na": -1.3, "Cl": -1.8, "O": -4.9, "Fe": -8.3, "Si": -5.4, "Mg": -1.6}
"""Energy of an atom in any element, eV."""

BINDING = -1.9
"""Added for each atom of a compound, eV."""

VALENCE = {"Na": 7.0, "Cl": 7.0, "O": 6.0, "Fe": 14.0, "Si": 4.0, "Mg": 8.0}
VERSION = "6.4.2.20Jul23-fake"
GAP = 5.0
NELM = 6
MOST_POINTS = 4  # k-points along one direction that are written

OUTCAR = f""" vasp.{VERSION}
 running on    4 total cores
   k-points           NKPTS =     10   number of bands    NBANDS=     12
   total plane-waves  NPLWV =  13824
   IBRION =     -1    ionic relax: 0-MD 1-quasi-New 2-CG
 E-fermi :   0.0001     XC(G=0):  -1.0
 number of electron      14.0000 magnetization       0.0000000
  free  energy   TOTEN  =       -10.0 eV
 General timing and accounting informations for this job:
                  Total CPU time used (sec):        2.000
                         Elapsed time (sec):        2.500
"""


@dataclass
class Crystal:
    """What a POSCAR holds; this program starts often, and pymatgen takes a second to import."""

    matrix: np.ndarray
    symbols: list[str]
    positions: np.ndarray

    @classmethod
    def of(cls, structure: Any) -> Crystal:
        """Take it from a pymatgen Structure."""
        symbols = [site.specie.symbol for site in structure]
        return cls(np.array(structure.lattice.matrix), symbols, np.array(structure.frac_coords))

    @classmethod
    def read(cls, path: Path) -> Crystal:
        """Read a POSCAR as pymatgen writes it."""
        lines = path.read_text().splitlines()
        matrix = float(lines[1]) * np.array([line.split()[:3] for line in lines[2:5]], dtype=float)
        symbols = [
            symbol
            for symbol, count in zip(lines[5].split(), lines[6].split(), strict=True)
            for _ in range(int(count))
        ]
        assert lines[7].strip().lower() == "direct"
        rows = [line.split()[:3] for line in lines[8 : 8 + len(symbols)]]
        return cls(matrix, symbols, np.array(rows, dtype=float))


def potcar(element: str, symbol: str) -> str:
    """Return the text of a POTCAR that holds no pseudopotential."""
    return (
        f"  PAW_PBE {symbol} 01Jan2000\n   {VALENCE[element]}\n parameters from PSCTR are:\n"
        f"   VRHFIN ={element}: made up\n   LEXCH  = PE\n   EATOM  =     1.0000 eV\n"
        f"   TITEL  = PAW_PBE {symbol} 01Jan2000\n   LULTRA =        F    use ultrasoft PP ?\n"
        f"   POMASS =   1.000; ZVAL   =   {VALENCE[element]:.3f}    mass and valenz\n"
        "   ENMAX  =  250.000; ENMIN  =  180.000 eV\n   LCOR   =        T    correct aug charges\n"
        "   LPAW   =        T    paw PP\n   RMAX   =    2.000    core radius\n"
        "END of PSCTR-controll parameters\n local part\n   1.0\n End of Dataset\n"
    )


def write_potcars(folder: Path, symbols: dict[str, str], family: str = "POT_GGA_PAW_PBE") -> Path:
    """Write a library of such POTCARs: element to symbol."""
    for element, symbol in symbols.items():
        path = folder / family / symbol / "POTCAR"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(potcar(element, symbol))
    return folder


def energy_of(symbols: Sequence[str]) -> float:
    """Return the made-up energy, eV."""
    total = sum(ENERGIES[symbol] for symbol in symbols)
    return total + (BINDING * len(symbols) if len(set(symbols)) > 1 else 0.0)


def bands(
    points: np.ndarray, electrons: float, spins: int, moment: float, gap: float
) -> np.ndarray:
    """Return (spins, k-points, bands, 2): energies and occupations; the gap shrinks with k."""
    counts = [round((electrons + moment) / 2), round((electrons - moment) / 2)][:spins]
    number = max(counts) + 4
    values = np.zeros((spins, len(points), number, 2))
    lift = np.abs(points).max(axis=1)
    for spin, count in enumerate(counts):
        for band in range(number):
            full = band < count
            edge = -0.3 * (count - 1 - band) if full else gap + 0.3 * (band - count)
            values[spin, :, band, 0] = edge - (0.0 if full else 0.5) * lift
            values[spin, :, band, 1] = float(full)
    return values


def write_vasprun(
    path: Path,
    structure: Any,
    *,
    incar: dict[str, Any],
    mesh: tuple[int, int, int] = (2, 2, 2),
    energy: float | None = None,
    gap: float = GAP,
    titles: dict[str, str] | None = None,
    version: str = VERSION,
    iterations: int = 4,
    ionic_steps: int = 1,
    moment: float = 0.0,
) -> Path:
    """Write a vasprun.xml of a structure whose atoms are grouped by element.

    Args:
        path: The file.
        structure: The crystal, a `Crystal` or pymatgen's.
        incar: INCAR tags that were given.
        mesh: Γ-centred divisions.
        energy: eV; None: `energy_of`.
        gap: eV, at Γ.
        titles: Element to the POTCAR's title.
        version: Of VASP.
        iterations: SCF iterations of each ionic step.
        ionic_steps: How many.
        moment: Of the cell, μB.
    """
    crystal = structure if isinstance(structure, Crystal) else Crystal.of(structure)
    electrons = sum(VALENCE[symbol] for symbol in crystal.symbols)
    spins = int(incar.get("ISPIN", 1))
    energy = energy_of(crystal.symbols) if energy is None else energy
    written = [min(n, MOST_POINTS) for n in mesh]
    points = np.array(list(np.ndindex(*written))) / np.array(mesh)
    values = bands(points, electrons, spins, moment, gap)
    parameters = {
        **{"ENMAX": 520.0, "NELM": NELM, "NSW": 0, "IBRION": -1, "ISPIN": spins, "ISMEAR": -5},
        **{"AEXX": 0.0, "HFSCREEN": 0.0, "LHFCALC": False, "GGA": "PE", "LDAU": False},
        **{"PREC": "accura", "LUSE_VDW": False, "EDIFFG": -0.02, "ICHARG": 2, "LSORBIT": False},
        **{"LNONCOLLINEAR": False, "IVDW": 0, "METAGGA": "--", "SIGMA": 0.05},
        **{key: value for key, value in incar.items() if key not in ("MAGMOM",)},
        **{"NBANDS": values.shape[2], "NELECT": electrons},
    }
    if "ENCUT" in incar:
        parameters["ENMAX"] = incar["ENCUT"]
    elements = list(dict.fromkeys(crystal.symbols))
    titles = titles or {element: f"PAW_PBE {element} 01Jan2000" for element in elements}
    step = _step(crystal, energy, iterations)
    text = [
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>',
        f'<generator><i name="program" type="string">vasp</i>'
        f'<i name="version" type="string">{version}</i>'
        '<i name="date" type="string">2026 01 01</i><i name="time" type="string">00:00:00</i>'
        "</generator>",
        f"<incar>{_tags(incar)}</incar>",
        _kpoints(mesh, points),
        f'<parameters><separator name="all">{_tags(parameters)}</separator></parameters>',
        _atoms(crystal.symbols, elements, titles),
        f'<structure name="initialpos">{_basis(crystal)}</structure>',
        *([step] * (ionic_steps - 1)),
        step.replace("</calculation>", _eigenvalues(values) + _dos(spins) + "</calculation>"),
        f'<structure name="finalpos">{_basis(crystal)}</structure>',
        "</modeling>\n",
    ]
    path.write_text("\n".join(text))
    return path


def _tags(tags: dict[str, Any]) -> str:
    parts = []
    for name, value in tags.items():
        if isinstance(value, bool):
            parts.append(f'<i type="logical" name="{name}">{"T" if value else "F"}</i>')
        elif isinstance(value, int):
            parts.append(f'<i type="int" name="{name}">{value}</i>')
        elif isinstance(value, float):
            parts.append(f'<i name="{name}">{value:.8f}</i>')
        elif isinstance(value, (list, tuple)):
            kind = ' type="int"' if all(isinstance(one, int) for one in value) else ""
            body = " ".join(str(one) for one in value)
            parts.append(f'<v{kind} name="{name}">{body}</v>')
        else:
            parts.append(f'<i type="string" name="{name}">{escape(str(value))}</i>')
    return "".join(parts)


def _rows(rows: Any) -> str:
    return "".join(f"<v>{' '.join(f'{x:.8f}' for x in row)}</v>" for row in rows)


def _kpoints(mesh: tuple[int, int, int], points: np.ndarray) -> str:
    divisions = " ".join(str(n) for n in mesh)
    weights = _rows([[1 / len(points)]] * len(points))
    return (
        f'<kpoints><generation param="Gamma"><v type="int" name="divisions">{divisions}</v>'
        '<v name="usershift">0.0 0.0 0.0</v></generation>'
        f'<varray name="kpointlist">{_rows(points)}</varray>'
        f'<varray name="weights">{weights}</varray></kpoints>'
    )


def _atoms(symbols: list[str], elements: list[str], titles: dict[str, str]) -> str:
    atoms = "".join(f"<rc><c>{one}</c><c>{elements.index(one) + 1}</c></rc>" for one in symbols)
    types = "".join(
        f"<rc><c>{symbols.count(one)}</c><c>{one}</c><c>1.0</c><c>{VALENCE[one]}</c>"
        f"<c>{titles[one]}</c></rc>"
        for one in elements
    )
    return (
        f'<atominfo><array name="atoms"><set>{atoms}</set></array>'
        f'<array name="atomtypes"><set>{types}</set></array></atominfo>'
    )


def _basis(crystal: Crystal) -> str:
    return (
        f'<crystal><varray name="basis">{_rows(crystal.matrix)}</varray></crystal>'
        f'<varray name="positions">{_rows(crystal.positions)}</varray>'
    )


def _energies(energy: float) -> str:
    names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    return "<energy>" + "".join(f'<i name="{n}">{energy:.8f}</i>' for n in names) + "</energy>"


def _step(crystal: Crystal, energy: float, iterations: int) -> str:
    zeros = np.zeros((len(crystal.symbols), 3))
    return (
        "<calculation>"
        + f"<scstep>{_energies(energy)}</scstep>" * iterations
        + f"<structure>{_basis(crystal)}</structure>"
        + f'<varray name="forces">{_rows(zeros)}</varray>'
        + f'<varray name="stress">{_rows(np.zeros((3, 3)))}</varray>'
        + _energies(energy)
        + "</calculation>"
    )


def _eigenvalues(values: np.ndarray) -> str:
    spins = "".join(
        f'<set comment="spin {spin}">'
        + "".join(
            f'<set comment="kpoint {k}">'
            + "".join(f"<r>{e:.4f} {f:.4f}</r>" for e, f in one)
            + "</set>"
            for k, one in enumerate(channel, start=1)
        )
        + "</set>"
        for spin, channel in enumerate(values, start=1)
    )
    return f"<eigenvalues><array><set>{spins}</set></array></eigenvalues>"


def _dos(spins: int) -> str:
    sets = "".join(
        f'<set comment="spin {spin}"><r>-1.0 0.0 0.0</r><r>1.0 0.0 0.0</r></set>'
        for spin in range(1, spins + 1)
    )
    return (
        f'<dos><i name="efermi">0.00010000</i><total><array><set>{sets}</set></array></total></dos>'
    )


def main() -> int:
    """Do what VASP does in its working directory."""
    mode = os.environ.get("FAKE_VASP", "")
    with Path("started.log").open("a") as log:
        log.write("started\n")
    print(" running   1 mpi-ranks, fake", flush=True)
    if mode == "hang":
        time.sleep(600)
    if mode == "crash":
        print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
        return 139
    incar, structure = _incar(), Crystal.read(Path("POSCAR"))
    assert Path("POTCAR").is_file()
    mesh = _mesh_of(incar, structure)
    unconverged = mode == "unconverged" or (
        mode == "converges_at_all" and str(incar.get("ALGO", "Normal")).lower() == "fast"
    )
    relax = int(incar.get("NSW", 0)) > 1
    Path("OSZICAR").write_text("DAV:   1    -0.1E+02\n   1 F= -.1E+02 E0= -.1E+02  d E =0.0\n")
    Path("CONTCAR").write_text(Path("POSCAR").read_text())
    Path("CHGCAR").write_text("density\n")
    Path("OUTCAR").write_text(OUTCAR)
    moment = float(incar.get("NUPDOWN", 0))
    if mode == "silent":
        return 0
    path = write_vasprun(
        Path("vasprun.xml"),
        structure,
        incar={**incar, "NELM": NELM},
        mesh=mesh,
        iterations=NELM if unconverged else 4,
        ionic_steps=3 if relax else 1,
        moment=moment,
        gap=GAP if len(set(structure.symbols)) > 1 else 2.0,
        titles=_titles(),
    )
    if mode == "truncated":
        text = path.read_text()
        path.write_text(text[: len(text) * 2 // 3])
    return 0


def _titles() -> dict[str, str]:
    titles = [
        line.split("=", 1)[1].strip()
        for line in Path("POTCAR").read_text().splitlines()
        if "TITEL" in line
    ]
    return {title.split()[1].split("_")[0]: title for title in titles}


def _incar() -> dict[str, Any]:
    """Read the INCAR as pymatgen writes it."""
    tags: dict[str, Any] = {}
    for line in Path("INCAR").read_text().splitlines():
        name, value = (part.strip() for part in line.split("=", 1))
        tags[name] = _value(value)
    return tags


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    words = text.split()
    try:
        numbers = [int(word) if word.lstrip("-").isdigit() else float(word) for word in words]
    except ValueError:
        return [float(n) for n in _spread(words)] if "*" in text else text
    return numbers[0] if len(numbers) == 1 else numbers


def _spread(words: list[str]) -> list[str]:
    """Write 2*0.6 out."""
    spread = []
    for word in words:
        count, _, value = word.rpartition("*")
        spread += [value] * int(count or 1)
    return spread


def _mesh_of(incar: dict[str, Any], crystal: Crystal) -> tuple[int, int, int]:
    if Path("KPOINTS").is_file():
        a, b, c = (int(n) for n in Path("KPOINTS").read_text().splitlines()[3].split())
        return a, b, c
    reciprocal = 2 * np.pi * np.linalg.norm(np.linalg.inv(crystal.matrix).T, axis=1)
    a, b, c = (max(1, int(np.ceil(length / incar["KSPACING"]))) for length in reciprocal)
    return a, b, c


if __name__ == "__main__":
    sys.exit(main())
