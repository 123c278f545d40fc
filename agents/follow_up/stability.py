"""The stage that asks the campaign's potential whether a verified hit is stable."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from agents.follow_up.competing import competing_phases
from agents.follow_up.minimum import check_minimum, seed_of
from agents.follow_up.phonons import Stability, agreed, compute_phonons
from agents.follow_up.supercell import SupercellTooLarge
from agents.relax.batch import CRYSTAL_ERRORS
from agents.slab import MATCHING_VACUUM
from agents.stage import Outcome, Stage
from agents.verify.setup.symmetry import symmetrise
from db.crystals import record_to_structure, structure_to_record
from db.states import State

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.follow_up.settings import FollowUpSettings
    from agents.relax.phases_evaluation import CompetingPhases
    from agents.relax.potential import Potential
    from agents.relax.settings import RelaxSettings
    from db.documents import Candidate

FIELD = "follow_up.stability"
COMPETING = "follow_up.competing"
SYMPREC = 0.01
MAX_DISPLACEMENT = 0.05
"""The tightly relaxed crystal is symmetrised by so much before its phonons are computed, Å."""


class StabilityStage(Stage):
    """Minimum and phonons of every hit that is followed up: VERIFIED stays VERIFIED.

    It is the work of the workers that relax. A question that cannot be answered says why; it never
    takes the candidate's verification away.
    """

    name = "stability"
    agent = "follow_up"
    takes = State.VERIFIED
    has = "follow_up.position"
    lacks = FIELD
    batch = 1

    def __init__(
        self,
        potential: Potential,
        relaxation: RelaxSettings,
        settings: FollowUpSettings,
        seed: int,
        phases: CompetingPhases | None = None,
    ) -> None:
        """Take the campaign's potential.

        Args:
            potential: As it relaxed the candidates.
            relaxation: The campaign's settings; the criterion is tightened.
            settings: What is asked.
            seed: The campaign's.
            phases: Reference crystals with single points of the potential, where a DFT hull is
                wanted: the stage chooses those that DFT is to compute.
        """
        self.potential = potential
        self.relaxation = relaxation
        self.settings = settings
        self.seed = seed
        self.phases = phases
        self.lease_seconds = relaxation.lease_seconds

    def process(self, candidates: Sequence[Candidate]) -> Iterator[Outcome]:
        """See `Stage.process`."""
        for candidate in candidates:
            structure = record_to_structure(candidate.follow_up["structure"])
            seed = seed_of(self.seed, candidate.id)
            updates = {
                FIELD: stability(structure, self.potential, self.relaxation, self.settings, seed)
            }
            if self.phases is not None:
                updates[COMPETING] = competing_phases(
                    structure.composition, self.phases, self.relaxation, self.settings
                )
            inputs = {"potential": self.potential.level, "seed": seed}
            yield Outcome(candidate.id, State.VERIFIED, updates, inputs=inputs)


def stability(
    structure: Structure,
    potential: Potential,
    relaxation: RelaxSettings,
    settings: FollowUpSettings,
    seed: int,
) -> dict[str, Any]:
    """Ask a potential whether a crystal is a minimum and has no imaginary phonon.

    Args:
        structure: The crystal.
        potential: The campaign's.
        relaxation: Its settings.
        settings: What is asked, and with which tolerances.
        seed: Of the rattle.

    Returns:
        Plain JSON values: ``minimum`` and ``phonons``, each with its numbers or a ``failed`` that
        says why there are none; ``verdict`` (`Stability`), the potential and the settings.
    """
    started = time.monotonic()
    found: dict[str, Any] = {
        "potential": potential.name,
        "version": potential.version,
        "level": potential.level,
        "settings": settings.potential_record(),
    }
    relaxed = None
    try:
        check = check_minimum(structure, potential, relaxation, settings, seed)
    except CRYSTAL_ERRORS as error:
        found["minimum"] = {"failed": _describe(error), "is_minimum": None}
    else:
        found["minimum"] = check.record()
        found["structure"] = structure_to_record(check.before.structure)
        relaxed = check.before.structure if check.before.converged else None
    if settings.phonons:
        vacuum = MATCHING_VACUUM if relaxation.in_plane else None
        found["phonons"] = _phonons(relaxed, potential, settings, vacuum)
    found["verdict"] = str(verdict(found))
    return {**found, "seconds": time.monotonic() - started}


def verdict(found: dict[str, Any]) -> Stability:
    """Put the answers together.

    Returns:
        ``unstable`` where one of them says so, ``stable`` where all do, else ``undecided``.
    """
    answers = [{True: "stable", False: "unstable"}.get(found["minimum"]["is_minimum"])]
    if "phonons" in found:
        answers.append(found["phonons"].get("verdict"))
    if Stability.UNSTABLE in answers:
        return Stability.UNSTABLE
    if all(answer == Stability.STABLE for answer in answers):
        return Stability.STABLE
    return Stability.UNDECIDED


def _phonons(
    relaxed: Structure | None,
    potential: Potential,
    settings: FollowUpSettings,
    vacuum: float | None,
) -> dict[str, Any]:
    if relaxed is None:
        return {"failed": "the crystal was not relaxed", "verdict": str(Stability.UNDECIDED)}
    try:
        ideal = symmetrise(relaxed, SYMPREC, MAX_DISPLACEMENT, vacuum)
        flat = vacuum is not None
        repeats, found = compute_phonons(ideal.structure, potential, settings, flat=flat)
    except (SupercellTooLarge, *CRYSTAL_ERRORS) as error:
        return {"failed": _describe(error), "verdict": str(Stability.UNDECIDED)}
    return {
        "code": f"phonopy {version('phonopy')}",
        "verdict": str(agreed(found, settings.imaginary_tolerance)),
        "lowest": min((one.lowest for one in found), key=lambda mode: mode.frequency).record(),
        "supercell": list(repeats),
        "n_atoms": len(ideal.structure) * repeats[0] * repeats[1] * repeats[2],
        "dimensionality": 3 if vacuum is None else 2,
        "space_group": ideal.space_group,
        "cell": structure_to_record(ideal.structure),
        "tolerance": settings.imaginary_tolerance,
        "displacements": [one.record() for one in found],
    }


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
