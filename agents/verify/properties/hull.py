"""Energy above the hull within one DFT level: one code, one version, one set of settings.

Every competing phase is a calculation like any other (kind ``phase``), paid once and shared by all
candidates of its chemical system; formation energies are measured from the elemental references of
that level. Hulls are those of `agents.relax.hull`. A hull that would be wrong is refused: a phase
that is missing, failed, or computed with other settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.relax.hull import energy_above_hull
from agents.relax.phases import HullRefused, IncompleteHull, Level, MixedLevels, Phase
from agents.verify.backend import DFTBackend, LevelSettings
from agents.verify.identity import calculation_spec
from agents.verify.properties.formation import formation_energy_per_atom, mp2020_correction
from agents.verify.properties.references import ground_state_energy
from agents.verify.settings import VerifySettings
from agents.verify.setup.ladder import changes_level
from agents.verify.tasks import Kind, Task
from agents.verify.workflow import COMPOUND, Step
from db.crystals import record_to_structure
from db.documents import Calculation
from db.states import CalculationState

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

    from agents.verify.submission import Submission

PHASE: Kind = "phase"


class Uncorrected(HullRefused):
    """Phases with and without U compete, and one of them has no correction that joins them."""

    reason = "uncorrected"


@dataclass(frozen=True)
class PhaseCalculation:
    """A competing phase and the calculation of its energy.

    Attributes:
        id: Its id in the reference collection.
        calculation: The ``static`` calculation.
    """

    id: str
    calculation: Calculation


def phase_specs(
    backend: DFTBackend[Any], structure: Structure, dft: LevelSettings, settings: VerifySettings
) -> list[dict[str, Any]]:
    """Describe the calculations of one phase: those of a candidate, without its gap.

    Args:
        backend: The DFT code.
        structure: The phase, its geometry obtained as the candidates' was.
        dft: The level of theory.
        settings: Whether crystals are relaxed by DFT first.

    Returns:
        Specs in the order they are queued; each names the one before as its parent.

    Raises:
        ValueError: The crystal cannot be standardised.
    """
    specs: list[dict[str, Any]] = []
    for step in phase_steps(settings):
        parent = specs[-1]["hash"] if specs else None
        specs.append(_spec(backend, structure, dft, step, parent))
    return specs


def queue_phase(submission: Submission, structure: Structure, candidate_id: str) -> str:
    """Queue the calculations of one phase, unless that was done before.

    Args:
        submission: Of the campaign.
        structure: The phase.
        candidate_id: The candidate that is compared with it.

    Returns:
        Hash of the calculation that gives its energy.
    """
    parent: str | None = None
    for step in phase_steps(submission.settings):
        spec = _spec(submission.backend, structure, submission.dft, step, parent)
        parent = submission.queue(spec, candidate_id)
    assert parent is not None  # the last step is always there
    return parent


def phase_steps(settings: VerifySettings) -> tuple[Step, ...]:
    """Return the calculations of a phase: those of a candidate, without the gap."""
    energy = Step(COMPOUND, Task.STATIC, {"gap": False})
    return (Step("relax", Task.RELAX), energy) if settings.relax else (energy,)


def _spec(
    backend: DFTBackend[Any],
    structure: Structure,
    dft: LevelSettings,
    step: Step,
    parent: str | None,
) -> dict[str, Any]:
    return calculation_spec(
        backend,
        structure,
        dft,
        kind=PHASE,
        task=step.task,
        options=step.options,
        parent=parent,
    )


def formation_energies(
    results: Mapping[str, Mapping[str, Any]], references: Mapping[str, float]
) -> tuple[str, dict[str, float]]:
    """Compute the formation energies of crystals so that they may be compared with each other.

    Raw energies may where none was computed with a U. Otherwise oxides with a U meet elements and
    alloys without, and MP2020's corrections (doi 10.1038/s41598-021-94550-5) join the two; they
    were fitted to VASP.

    Args:
        results: Result of the ``static`` calculation of each crystal, by its name.
        references: Energy of each element's ground state, eV/atom.

    Returns:
        ``"raw"`` or ``"mp2020"``, and the energies by name, eV/atom.

    Raises:
        Uncorrected: Corrections are needed, and a crystal has none.
    """
    structures = {name: record_to_structure(one["structure"]) for name, one in results.items()}
    energies = {
        name: formation_energy_per_atom(
            structures[name].composition.get_el_amt_dict(), one["energy_per_atom"], references
        )
        for name, one in results.items()
    }
    if not any(one.get("hubbard_u") for one in results.values()):
        return "raw", energies
    for name, one in results.items():
        correction = mp2020_correction(
            structures[name], one.get("hubbard_u") or {}, one.get("vasp"), one.get("cutoff")
        )
        if correction.per_atom is None:
            raise Uncorrected(
                f"energies with a U compete, and {name} has no MP2020 correction: "
                f"{'; '.join(correction.terms)}"
            )
        energies[name] += correction.per_atom
    return "mp2020", energies


def hull_record(
    compound: Calculation,
    phases: Sequence[PhaseCalculation],
    references: Mapping[str, Calculation],
    *,
    geometry: str,
) -> dict[str, Any]:
    """Place a candidate relative to the hull of its computed competing phases.

    Args:
        compound: The candidate's ``static`` calculation.
        phases: Its competing phases, all that were chosen.
        references: The calculation of each of its elements' reference phases.
        geometry: How the geometries of candidate and phases were obtained, in words.

    Returns:
        Plain JSON values: distance and decomposition (`agents.relax.hull.HullResult.record`),
        ``energies`` (``raw`` or ``mp2020``), ``formation_energy_per_atom`` of the candidate and,
        by id, of the ``phases``; ``calculations`` by id.

    Raises:
        IncompleteHull: A phase or a reference has no energy.
        MixedLevels: They were not all computed with the same code, version and settings.
        Uncorrected: See `formation_energies`.
    """
    system = compound_composition(compound).chemical_system
    _require_results(system, phases, references)
    _require_one_level([compound, *(one.calculation for one in phases), *references.values()])
    ground = {
        element: ground_state_energy(one.result["energy_per_atom"], one.info)
        for element, one in references.items()
    }
    results = {COMPOUND: compound.result, **{one.id: one.calculation.result for one in phases}}
    scheme, energies = formation_energies(results, ground)
    level = Level(str(compound.level), _digest(ground), geometry)
    competing = [*_elements(references, level), *_phases(phases, energies, level)]
    composition = compound_composition(compound)
    found = energy_above_hull(composition, energies[COMPOUND], competing, level=level)
    return {
        **found.record(),
        "energies": scheme,
        "formation_energy_per_atom": energies[COMPOUND],
        "phases": {one.id: energies[one.id] for one in phases},
        "calculations": {one.id: str(one.calculation.hash) for one in phases},
    }


def compound_composition(compound: Calculation) -> Composition:
    """Return what a calculation was made of."""
    return record_to_structure(compound.structure).composition


def _elements(references: Mapping[str, Calculation], level: Level) -> list[Phase]:
    from pymatgen.core import Composition

    return [Phase(f"element:{one}", Composition(one), 0.0, level) for one in references]


def _phases(
    phases: Iterable[PhaseCalculation], energies: Mapping[str, float], level: Level
) -> list[Phase]:
    return [
        Phase(one.id, compound_composition(one.calculation), energies[one.id], level)
        for one in phases
    ]


def _require_results(
    system: str, phases: Iterable[PhaseCalculation], references: Mapping[str, Calculation]
) -> None:
    everything = {one.id: one.calculation for one in phases}
    everything |= {f"element:{element}": one for element, one in references.items()}
    missing = {
        name: f"{one.formula}: {one.error or one.state}"
        for name, one in everything.items()
        if one.state != CalculationState.COMPLETED
    }
    if missing:
        raise IncompleteHull(system, missing)


def _require_one_level(everything: Sequence[Calculation]) -> None:
    """Refuse energies of two levels, and those of attempts that changed their level."""
    levels = {(one.code, one.version, one.level) for one in everything}
    if len(levels) > 1:
        raise MixedLevels(
            "energies of different levels on one hull: "
            + " and ".join(sorted(str(level) for _, _, level in levels))
        )
    for one in everything:
        changes = one.result.get("changes") or {}
        if changes_level(changes):
            raise MixedLevels(f"{one.formula} converged only with other settings: {changes}")


def _digest(references: Mapping[str, float]) -> str:
    return hashlib.sha256(json.dumps(references, sort_keys=True).encode()).hexdigest()
