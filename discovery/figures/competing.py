"""The phases that a candidate competes with, as its distance to the hull was measured from.

Energies are read, never computed: those of the DFT hull of the follow-up, else those that the
campaign's potential gave to the crystals of the reference collection. Together they must give the
distance that is on record, or else the hull has a fault and is not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from db import reference_collections, reference_energies, reference_structures

if TYPE_CHECKING:
    import pandas
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    from db.snapshot import Snapshot

Record = Mapping[str, Any]

#: Largest difference between the distance on record and that to the phases, eV/atom.
TOLERANCE = 1e-4
SINGLE_POINT = "single_point"


@dataclass(frozen=True)
class CompetingPhase:
    """One phase.

    Attributes:
        id: In the reference collection, or "element:Na".
        formula: Reduced formula.
        formation_energy_per_atom: eV/atom.
        relaxed: Its geometry was relaxed like the candidate's; if not, it is that of the
            collection, and the phase may lie lower.
    """

    id: str
    formula: str
    formation_energy_per_atom: float
    relaxed: bool = True


@dataclass(frozen=True)
class CandidateHull:
    """One candidate and what it competes with.

    Attributes:
        candidate: Its id.
        formula: Its reduced formula.
        kind: Whose energies these are.
        level: Of all energies.
        formation_energy_per_atom: The candidate's, eV/atom.
        energy_above_hull: On record, eV/atom; negative below the hull of the others.
        decomposition: Products at its composition, formula and share of the atoms.
        phases: All phases of its chemical system whose energy is known.
        fault: Why they are not shown.
    """

    candidate: str
    formula: str
    kind: Literal["DFT", "potential"]
    level: str
    formation_energy_per_atom: float
    energy_above_hull: float
    decomposition: tuple[tuple[str, float], ...]
    phases: tuple[CompetingPhase, ...] = ()
    fault: str | None = None

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols, sorted."""
        from pymatgen.core import Composition

        return tuple(sorted(element.symbol for element in Composition(self.formula).elements))


class _NotReadable(Exception):
    """The phases of a hull are not what they were."""


def choose(candidates: pandas.DataFrame, most: int) -> list[str]:
    """Choose the candidates whose hull is of interest: hits, else those nearest to the hull.

    Args:
        candidates: As in `CampaignData.candidates`.
        most: So many.
    """
    distance = candidates["energy_above_hull"].fillna(candidates["energy_above_hull_potential"])
    placed = candidates.assign(distance=distance).dropna(subset=["distance"])
    hits = placed[placed["hit"].eq(True)]
    return list((hits if len(hits) else placed).sort_values("distance").head(most).index)


def read_hulls(snapshot: Snapshot, ids: Iterable[str]) -> tuple[CandidateHull, ...]:
    """Read the competing phases of some candidates.

    Args:
        snapshot: The moment of the database.
        ids: Candidates that were placed relative to a hull, in the order wanted.
    """
    order = list(ids)
    found = {one["_id"]: one for one in snapshot.named("candidates", order)}
    hulls = []
    for name in order:
        document = found[name]
        computed = (document.get("follow_up") or {}).get("hull") or {}
        if "energy_above_hull" in computed:
            hulls.append(_of_dft(snapshot, document, computed))
        else:
            hulls.append(_of_potential(document, document["hull"]))
    return tuple(hulls)


def phase_diagram(phases: Iterable[CompetingPhase]) -> PhaseDiagram:
    """Build pymatgen's diagram of phases (doi 10.1021/cm702327g)."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    compositions = [(one, Composition(one.formula)) for one in phases]
    return PhaseDiagram(
        [
            PDEntry(where, one.formation_energy_per_atom * where.num_atoms, one.id)
            for one, where in compositions
        ]
    )


def _of_dft(snapshot: Snapshot, document: Record, hull: Record) -> CandidateHull:
    made = {
        one["_id"]: one for one in snapshot.named("calculations", hull["calculations"].values())
    }
    calculations = {name: made.get(digest) for name, digest in hull["calculations"].items()}
    phases = []
    fault = None
    for name, energy in hull["phases"].items():
        calculation = calculations[name]
        if calculation is None:
            fault = f"the calculation of {name} is not in the database"
            continue
        phases.append(CompetingPhase(name, calculation["formula"], energy))
    phases += _elements(document["elements"])
    made_of = _describe(document, hull, "DFT", hull["formation_energy_per_atom"])
    return _checked(made_of, phases, fault)


def _of_potential(document: Record, hull: Record) -> CandidateHull:
    energy = document["relaxation"]["formation_energy_per_atom"]
    described = _describe(document, hull, "potential", energy)
    try:
        return _checked(described, _stored(document, hull), None)
    except _NotReadable as error:
        return _checked(described, [], str(error))


def _stored(document: Record, hull: Record) -> list[CompetingPhase]:
    """Read the energies of a reference collection by the campaign's potential.

    Raises:
        _NotReadable: Collection or elemental references are not those of the record.
    """
    from pymatgen.core import Composition

    from agents.relax.phases import subsystems
    from agents.relax.references import ElementalReferences, MissingReference

    if missing := sorted({"reference", "references", "criterion"} - hull.keys()):
        raise _NotReadable(f"the record of its hull lacks {', '.join(missing)}")
    collection = hull["reference"].split()[0]
    try:
        known = reference_collections.load(collection)
        references = ElementalReferences.load(hull["level"])
    except (reference_collections.UnknownCollection, MissingReference) as error:
        raise _NotReadable(str(error)) from error
    now = f"{collection} {known['version']}, files {known['checksum']}"
    if now != hull["reference"] or references.digest != hull["references"]:
        raise _NotReadable(f"the reference data are others since ({now})")
    largest = (hull.get("settings") or {}).get("max_atoms")
    entries = {
        name: formula
        for name, formula, n_atoms in reference_structures.of_systems(
            collection, subsystems(document["elements"])
        )
        if largest is None or n_atoms <= largest
    }
    phases = {}
    for criterion in (SINGLE_POINT, hull["criterion"]):
        stored = reference_energies.find(collection, list(entries), hull["level"], criterion)
        for name, one in stored.items():
            where = Composition(entries[name])
            relaxed = criterion != SINGLE_POINT
            # The elements' lowest phases are their references, which are relaxed.
            if one["energy_per_atom"] is None or (where.is_element and not relaxed):
                continue
            total = one["energy_per_atom"] * where.num_atoms
            energy = references.formation_energy_per_atom(where, total)
            phases[name] = CompetingPhase(name, entries[name], energy, relaxed)
    return [*phases.values(), *_elements(document["elements"])]


def _elements(symbols: Iterable[str]) -> list[CompetingPhase]:
    """Return the elemental references: zero by definition."""
    return [CompetingPhase(f"element:{symbol}", symbol, 0.0) for symbol in symbols]


def _describe(
    document: Record, hull: Record, kind: Literal["DFT", "potential"], energy: float
) -> CandidateHull:
    return CandidateHull(
        candidate=document["_id"],
        formula=document["formula"],
        kind=kind,
        level=hull["level"],
        formation_energy_per_atom=energy,
        energy_above_hull=hull["energy_above_hull"],
        decomposition=tuple(
            (one["formula"], one["amount"]) for one in hull.get("decomposition", [])
        ),
    )


def _checked(
    described: CandidateHull, phases: list[CompetingPhase], fault: str | None
) -> CandidateHull:
    """Add the phases, if they give the distance that is on record."""
    from dataclasses import replace

    from pymatgen.core import Composition

    if fault is None:
        diagram = phase_diagram(phases)
        parts = diagram.get_decomposition(Composition(described.formula))
        energy = sum(entry.energy_per_atom * amount for entry, amount in parts.items())
        distance = described.formation_energy_per_atom - energy
        if abs(distance - described.energy_above_hull) > TOLERANCE:
            fault = (
                f"the stored phases put it {distance:.3f} eV/atom above the hull, the record "
                f"{described.energy_above_hull:.3f}"
            )
    return replace(described, phases=() if fault else tuple(phases), fault=fault)
