"""Computing the table of elemental reference energies of a potential."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.relax.batch import relax_many
from agents.relax.settings import RelaxSettings
from agents.tables import parse_structure, read_rows
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential

UNARY_CELLS = "mp_ref2025_le20.csv.gz"
GROUND_STATES = "mp_elemental_refs_2023-02-07.json"
CRITERION = (
    "lowest energy per atom after relaxation, among the {shortlist} unary Materials Project cells "
    "(<= 20 atoms) lowest by single point and the Materials Project's own ground state"
)
GAS_PHASE = (
    "Elements that are gases (H, N, O, F, Cl, noble gases) are treated like all others: "
    "the reference is their lowest molecular or atomic crystal, as in the Materials Project; "
    "no molecule in a box and no correction of its own, since the potential's labels "
    "already contain the MP2020 corrections."
)


def recompute(
    potential: Potential,
    data_dir: Path,
    out: Path,
    *,
    elements: Iterable[str] | None = None,
    shortlist: int = 3,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Compute the reference energies of a potential and write its table.

    Args:
        potential: the potential.
        data_dir: folder with the Materials Project cells and elemental references.
        out: the JSON file to write.
        elements: only these; default: every element the potential and the data know.
        shortlist: how many cells of an element are relaxed, the lowest by single point first.
        progress: told one line per element.

    Returns:
        `out`.

    Raises:
        ValueError: an element asked for has no cell in the data or is unknown to the potential.
    """
    cells = _unary_cells(data_dir / UNARY_CELLS)
    ground_states = {
        symbol: str(record["entry_id"]).rsplit("-", 1)[0]
        for symbol, record in json.loads((data_dir / GROUND_STATES).read_text()).items()
    }
    wanted = sorted(potential.elements & set(cells) if elements is None else elements)
    missing = [e for e in wanted if e not in cells or e not in potential.elements]
    if missing:
        raise ValueError(f"no cells or no support in {potential.level} for {', '.join(missing)}")
    # the candidates' criterion, with enough steps to always reach it
    settings = RelaxSettings(max_steps=500, seconds_per_structure=600.0)
    table: dict[str, Any] = {}
    for symbol in wanted:
        table[symbol] = _reference(
            potential, cells[symbol], ground_states.get(symbol), shortlist, settings
        )
        progress(f"{symbol}: {table[symbol]['energy_per_atom']:.4f} eV/atom")
    header = {
        "potential": potential.name,
        "version": potential.version,
        "units": "eV/atom, Å",
        "relaxation": settings.relaxation_record(),
        "criterion": CRITERION.format(shortlist=shortlist),
        "gas_phase": GAS_PHASE,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "source": "Materials Project v2025.02.12, CC BY 4.0 (doi 10.1063/1.4812323)",
        "data_sha256": {name: _sha256(data_dir / name) for name in (UNARY_CELLS, GROUND_STATES)},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(f"{json.dumps(s)}: {json.dumps(r)}" for s, r in table.items())
    out.write_text(f'{{"header": {json.dumps(header, indent=1)},\n"elements": {{\n{rows}\n}}}}\n')
    return out


def _unary_cells(path: Path) -> dict[str, dict[str, Structure]]:
    """Return {element: {Materials Project id: primitive cell}}."""
    cells: dict[str, dict[str, Structure]] = {}
    for row in read_rows(path):
        letters = row["formula"].rstrip("0123456789")
        if letters.isalpha() and sum(c.isupper() for c in letters) == 1:
            structure = parse_structure(row["structure"])
            cells.setdefault(letters, {})[row["material_id"]] = structure.get_primitive_structure()
    return cells


def _reference(
    potential: Potential,
    cells: dict[str, Structure],
    ground_state: str | None,
    shortlist: int,
    settings: RelaxSettings,
) -> dict[str, Any]:
    ids = list(cells)
    energies = potential.energies(list(cells.values()))
    per_atom = {i: energy / len(cells[i]) for i, energy in zip(ids, energies)}
    chosen = sorted(ids, key=lambda i: per_atom[i])[:shortlist]
    if ground_state in cells and ground_state not in chosen:
        chosen.append(ground_state)
    relaxed: dict[str, dict[str, Any]] = {}
    relaxations = relax_many([cells[i] for i in chosen], potential, settings)
    for source_id, relaxation in zip(chosen, relaxations):
        if relaxation.converged:
            relaxed[source_id] = {
                "source_id": source_id,
                "energy_per_atom": round(relaxation.energy / len(cells[source_id]), 6),
                "structure": _rounded(structure_to_record(relaxation.structure)),
            }
    if not relaxed:
        raise RuntimeError(f"none of {', '.join(chosen)} converged with {potential.level}")
    lowest = min(relaxed.values(), key=lambda r: r["energy_per_atom"])
    return {
        **lowest,
        "n_atoms": len(lowest["structure"]["species"]),
        "criterion": f"lowest of {len(relaxed)} relaxed, {len(ids)} single points",
    }


def _rounded(record: dict[str, Any], digits: int = 7) -> dict[str, Any]:
    """Return a crystal record with its numbers rounded (1e-7 Å moves no energy)."""
    return {
        **record,
        "lattice": [[round(x, digits) for x in row] for row in record["lattice"]],
        "frac_coords": [[round(x, digits) for x in row] for row in record["frac_coords"]],
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
