"""Which known crystals a hit's energy is compared with by DFT: chosen and relaxed by the potential.

DFT can afford few phases. The potential's single points of the whole reference collection say which
are near the hull; those are relaxed with the potential exactly as the candidates were, so that DFT
compares like with like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.relax.batch import relaxations
from agents.relax.hull import Hull
from agents.relax.phases import Geometry, HullRefused, IncompleteHull, TooManyPhases, criterion
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from agents.follow_up.settings import FollowUpSettings
    from agents.relax.phases_evaluation import CompetingPhases
    from agents.relax.settings import RelaxSettings


def competing_phases(
    composition: Composition,
    phases: CompetingPhases,
    relaxation: RelaxSettings,
    settings: FollowUpSettings,
) -> dict[str, Any]:
    """Choose the phases of a chemical system that may be on its DFT hull, and relax them.

    Args:
        composition: The candidate's.
        phases: The reference collection with single points of the campaign's potential.
        relaxation: The campaign's settings, which relaxed the candidate.
        settings: Margin and number of phases.

    Returns:
        Plain JSON values: ``phases``, each with ``id``, ``formula``, ``n_atoms``, ``structure`` and
        ``above_hull`` (of the single points, eV/atom); ``n_considered``, ``margin``, ``geometry``,
        ``level`` and ``reference``; or ``refused`` with ``reason`` and ``detail``.
    """
    relaxation = relaxation.of_bulk()
    system = composition.chemical_system
    found: dict[str, Any] = {
        "reference": phases.store.reference,
        "level": phases.level.potential,
        "margin": settings.hull_margin,
        "geometry": criterion(Geometry.RELAXED, relaxation.relaxation_record()),
    }
    try:
        above = _near_the_hull(system, phases, settings)
        chosen = _relaxed(system, above, phases, relaxation)
    except HullRefused as refusal:
        return {**found, "refused": {"reason": refusal.reason, "detail": str(refusal)}}
    return {**found, "phases": chosen, "n_considered": len(phases.entries_of(system))}


def _near_the_hull(
    system: str, phases: CompetingPhases, settings: FollowUpSettings
) -> dict[str, float]:
    """Return the ids of the phases within the margin, and how far above the hull they are.

    Raises:
        HullRefused: A single point is missing, or there are too many phases.
    """
    single = phases.phases_of(system)
    hull = Hull(single)
    above = {
        phase.id: hull.at(phase.composition, phase.formation_energy_per_atom).energy_above_hull
        for phase in single
        if len(phase.composition) > 1  # of the elements DFT has references of its own
    }
    near = {name: value for name, value in above.items() if value <= settings.hull_margin}
    if len(near) > settings.hull_max_phases:
        raise TooManyPhases(
            f"{system} has {len(near)} phases within {settings.hull_margin:g} eV/atom of the "
            f"potential's hull, more than follow_up.hull_max_phases = {settings.hull_max_phases}"
        )
    return near


def _relaxed(
    system: str, above: dict[str, float], phases: CompetingPhases, relaxation: RelaxSettings
) -> list[dict[str, Any]]:
    """Relax phases as candidates are.

    Raises:
        IncompleteHull: A relaxation failed.
    """
    structures = phases.store.structures(sorted(above))
    names = list(structures)
    limits = phases.energies.settings  # the phases' own number of steps, the candidates' criterion
    settings = relaxation.model_copy(
        update={
            "max_steps": limits.max_steps,
            "seconds_per_structure": limits.seconds_per_structure,
            "volume_scan": False,
        }
    )
    chosen: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    outcomes = relaxations(list(structures.values()), phases.potential, settings)
    for index, outcome in outcomes:
        name = names[index]
        if isinstance(outcome, Exception):
            missing[name] = f"{type(outcome).__name__}: {outcome}"
        elif not outcome.converged:
            missing[name] = f"its relaxation ended with {outcome.stop}"
        else:
            chosen[name] = {
                "id": name,
                "formula": outcome.structure.composition.reduced_formula,
                "n_atoms": len(outcome.structure),
                "above_hull": above[name],
                "structure": structure_to_record(outcome.structure),
            }
    if missing:
        raise IncompleteHull(system, missing)
    return [chosen[name] for name in sorted(chosen, key=lambda one: (above[one], one))]
