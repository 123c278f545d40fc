"""Is a crystal a minimum of the potential? It is pushed, let go, and compared with itself.

A symmetric crystal can be a saddle point that no relaxation leaves, because symmetry forbids the
force that would lead away. A rattle breaks every symmetry of the cell; distortions that need a
larger cell are found by phonons only (`agents.follow_up.phonons`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.relax.batch import relax
from agents.relax.relaxation import Relaxation, finite_or_none
from agents.slab import MATCHING_VACUUM, with_vacuum

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.follow_up.settings import FollowUpSettings
    from agents.relax.potential import Potential
    from agents.relax.settings import RelaxSettings


@dataclass(frozen=True)
class MinimumCheck:
    """What became of a crystal that was rattled and relaxed again.

    Attributes:
        is_minimum: It came back; None where a relaxation did not reach its criterion.
        reason: Why not: ``energy``, ``structure`` or ``not_converged``; None where it came back.
        energy_change: Energy after the rattle less before, eV/atom; negative: it found a lower
            crystal.
        rms: How far the atoms are from where they were after the best superposition, Å; None where
            the crystals do not match at all.
        moved: How far the tight relaxation moved the given crystal, rms, Å; None where the two do
            not match. Slabs are compared with one vacuum.
        seed: Seed of the rattle.
        before: The crystal relaxed tightly.
        after: Rattled and relaxed with the same criterion.
    """

    is_minimum: bool | None
    reason: str | None
    energy_change: float
    rms: float | None
    moved: float | None
    seed: int
    before: Relaxation
    after: Relaxation

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as stored with a candidate."""
        return {
            "is_minimum": self.is_minimum,
            "reason": self.reason,
            "energy_change": finite_or_none(self.energy_change),
            "rms": self.rms,
            "moved": self.moved,
            "volume_change": finite_or_none(
                self.after.structure.volume / self.before.structure.volume - 1
            ),
            "seed": self.seed,
            "before": self.before.numbers(),
            "after": self.after.numbers(),
        }


def check_minimum(
    structure: Structure,
    potential: Potential,
    relaxation: RelaxSettings,
    settings: FollowUpSettings,
    seed: int,
) -> MinimumCheck:
    """Relax a crystal tightly, rattle it, relax it again with the same criterion, and compare.

    The criterion is tighter than a campaign's: the force that leads away from a saddle point is
    about the rattle times the curvature, 0.03 Å x 1 eV/Å^2, and must not end the relaxation.

    Args:
        structure: The crystal; left unchanged.
        potential: The campaign's.
        relaxation: The campaign's settings; pressure, fixed cell and guards are kept.
        settings: Size of the rattle, criterion and tolerances.
        seed: Of the rattle.

    Returns:
        Both relaxations and the verdict.

    Raises:
        UnsupportedElements: The potential does not know an element.
        RuntimeError: The potential failed on the crystal.
    """
    tight = relaxation.model_copy(
        update={
            "fmax": settings.fmax,
            "stress_max": settings.stress_max,
            "max_steps": settings.max_steps,
            "volume_scan": False,
        }
    )
    before = relax(structure, potential, tight)
    if not before.converged:
        return MinimumCheck(None, "not_converged", math.nan, None, None, seed, before, before)
    given = with_vacuum(structure, MATCHING_VACUUM) if relaxation.in_plane else structure
    moved = distance(given, before.structure)
    pushed = rattled(
        before.structure,
        settings.rattle,
        seed,
        cell=relaxation.relax_cell,
        in_plane=relaxation.in_plane,
    )
    after = relax(pushed, potential, tight)
    change = (_enthalpy(after, tight) - _enthalpy(before, tight)) / len(structure)
    if not after.converged:
        return MinimumCheck(None, "not_converged", change, None, moved, seed, before, after)
    rms = distance(before.structure, after.structure)
    reason = None
    if abs(change) > settings.energy_tolerance:
        reason = "energy"
    elif rms is None or rms > settings.max_rms:
        reason = "structure"
    return MinimumCheck(reason is None, reason, change, rms, moved, seed, before, after)


def rattled(
    structure: Structure, amount: float, seed: int, *, cell: bool = True, in_plane: bool = False
) -> Structure:
    """Move every atom, and the cell, by a given distance in random directions.

    Args:
        structure: Any crystal.
        amount: Every atom moves so far, Å; the symmetric strain of the cell moves the end of that
            lattice vector so far that it moves most.
        seed: Of the random directions.
        cell: Whether the cell is strained.
        in_plane: Only in the xy plane, in which the first two lattice vectors of a slab lie.

    Returns:
        A new crystal.
    """
    from pymatgen.core import Lattice, Structure

    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(len(structure), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    matrix = structure.lattice.matrix
    if cell:
        strain = generator.normal(size=(3, 3))
        strain = (strain + strain.T) / 2
        if in_plane:
            strain[2, :] = strain[:, 2] = 0.0
        strain *= amount / np.linalg.norm(matrix @ strain, axis=1).max()
        matrix = matrix @ (np.eye(3) + strain)
    positions = structure.frac_coords @ matrix + amount * directions
    return Structure(Lattice(matrix), structure.species, positions, coords_are_cartesian=True)


def distance(one: Structure, other: Structure) -> float | None:
    """Measure how far the atoms of two crystals with the same cell are apart.

    Returns:
        Root mean square after the best superposition (pymatgen's `StructureMatcher`, volumes not
        rescaled), Å; None where they do not match.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    # pymatgen's own reduction to primitive cells averages distortions of up to 0.25 Å away.
    matcher = StructureMatcher(scale=False, primitive_cell=False)
    found = matcher.get_rms_dist(one, other)
    if found is None:
        return None
    return float(found[0]) * (one.volume / len(one)) ** (1 / 3)


def seed_of(campaign_seed: int, candidate_id: str) -> int:
    """Return the seed of a candidate's rattle; it follows from the record alone."""
    digest = hashlib.sha256(f"{campaign_seed}:{candidate_id}:rattle".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _enthalpy(relaxation: Relaxation, settings: RelaxSettings) -> float:
    from ase import units

    return relaxation.energy + settings.pressure * units.GPa * relaxation.structure.volume
