"""The rules a decoded or relaxed crystal must obey, each with the reason it is rejected for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ase import units

from agents.geometry import is_finite, shortest_distance, too_close
from agents.relax.relaxation import Relaxation, Stop
from agents.slab import is_slab_like, layer_volume

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential
    from agents.relax.references import ElementalReferences
    from agents.relax.settings import RelaxSettings

#: Rejection reasons of relaxations that ended without a crystal.
STOP_REASONS = {
    Stop.NOT_FINITE: "not_finite",
    Stop.MIN_DISTANCE: "min_distance",
    Stop.VOLUME: "volume",
}


@dataclass(frozen=True)
class Verdict:
    """A rule that was broken, with its numbers."""

    reason: str
    detail: dict[str, Any]


def broken_rule(
    structure: Structure,
    potential: Potential,
    references: ElementalReferences,
    settings: RelaxSettings,
) -> Verdict | None:
    """Return the rule a decoded crystal breaks before anything is computed, or None."""
    if not len(structure) or not is_finite(structure):
        return Verdict("invalid_decode", {"error": "no atoms, no volume or no finite coordinates"})
    unknown = {s.specie.symbol for s in structure} - (potential.elements & references.elements)
    if unknown:
        return Verdict("unsupported_elements", {"elements": sorted(unknown)})
    volume = structure.volume / len(structure)
    if settings.in_plane and is_slab_like(structure):
        volume = layer_volume(structure) / len(structure)
    if not settings.volume_per_atom_min <= volume <= settings.volume_per_atom_max:
        return Verdict(
            "volume",
            {
                "volume_per_atom": volume,
                "min": settings.volume_per_atom_min,
                "max": settings.volume_per_atom_max,
            },
        )
    distance = shortest_distance(structure)
    if too_close(distance, settings.min_distance):
        return Verdict("min_distance", {"distance": distance, "min": settings.min_distance})
    return None


def out_of_domain(potential: Potential, settings: RelaxSettings) -> tuple[str, ...]:
    """Return why a potential was not made for a campaign's crystals (`agents.prediction`)."""
    if potential.learned_slabs or not settings.in_plane:
        return ()
    return (f"vacuum: {potential.level} learned from bulk crystals",)


def exploited(formation_energy: float, settings: RelaxSettings) -> Verdict | None:
    """Return the verdict on a formation energy no crystal has, or None."""
    limit = settings.formation_energy_min
    if formation_energy >= limit:
        return None
    detail = {"formation_energy_per_atom": formation_energy, "min": limit}
    return Verdict("potential_exploited", detail)


def judge_relaxation(
    relaxation: Relaxation,
    formation_energy: float,
    potential: Potential,
    references: ElementalReferences,
    settings: RelaxSettings,
) -> Verdict | None:
    """Return the rule a relaxed crystal breaks, or None when it is accepted.

    One that ran out of steps or of time is judged like any other, by its forces and its stress. The
    stress counts where the cell was relaxed: on symmetric sites forces vanish in any cell.

    Args:
        relaxation: the relaxation.
        formation_energy: of its last geometry, eV/atom.
        potential: the potential it was relaxed with.
        references: its elemental references.
        settings: guards and the acceptance window.
    """
    if relaxation.stop in STOP_REASONS:
        ratio = relaxation.volume_ratio
        detail = {
            "volume_ratio": ratio if math.isfinite(ratio) else None,
            "steps": relaxation.steps,
        }
        return Verdict(STOP_REASONS[relaxation.stop], detail)
    if not math.isfinite(formation_energy):
        return Verdict("not_finite", {"steps": relaxation.steps})
    broken = broken_rule(relaxation.structure, potential, references, settings)
    if verdict := broken or exploited(formation_energy, settings):
        return verdict
    if relaxation.max_force >= settings.accept_max_force:
        return _unrelaxed("max_force", relaxation.max_force, settings.accept_max_force, relaxation)
    stress = relaxation.max_stress / units.GPa
    if settings.relax_cell and stress >= settings.accept_max_stress:
        return _unrelaxed("max_stress", stress, settings.accept_max_stress, relaxation)
    if len(relaxation.structure.composition) == 1:
        reason, limit = "elemental_energy", settings.elemental_max_above_reference
    else:
        reason, limit = "formation_energy", settings.formation_energy_max
    if formation_energy < limit:
        return None
    return Verdict(reason, {"formation_energy_per_atom": formation_energy, "max": limit})


def _unrelaxed(quantity: str, value: float, limit: float, relaxation: Relaxation) -> Verdict:
    """Return the verdict on forces (eV/Å) or stress (GPa) that are still too large."""
    unit = {"max_force": "eV/Å", "max_stress": "GPa"}[quantity]
    ended = {"steps": relaxation.steps, "stop": str(relaxation.stop)}
    return Verdict(quantity, {quantity: value, "max": limit, "unit": unit, **ended})
