"""From finished calculations to verified candidates."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.targets import Window, hits
from agents.verify.formation import formation_energy_per_atom, mp2020_correction
from agents.verify.launchpad import answer
from agents.verify.settings import VerifySettings
from agents.verify.submission import AGENT, OWN_FAILURES, describe
from db import calculations, candidates
from db.candidates import StaleLease
from db.crystals import record_to_structure
from db.documents import Calculation, Candidate
from db.states import CalculationState, State

if TYPE_CHECKING:
    from fireworks import LaunchPad

log = logging.getLogger(__name__)


@dataclass
class Collected:
    """What one call of `collect` found.

    Attributes:
        calculations: Calculations that got their answer, results and failures.
        verified: Candidates that are verified now.
        failed: Candidates whose verification failed now.
    """

    calculations: int = 0
    verified: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def collect(
    campaign: str, windows: Iterable[Window], pad: LaunchPad, settings: VerifySettings
) -> Collected:
    """Take in what the launchers finished; idempotent, and complete after any crash.

    Args:
        campaign: Name of the campaign.
        windows: Its targets.
        pad: The queue.
        settings: The campaign's settings.

    Returns:
        What is new.
    """
    windows = tuple(windows)
    collected = Collected(calculations=collect_calculations(pad, settings))
    verifying = Candidate.objects(campaign=campaign, state=str(State.VERIFYING)).order_by("seq")
    for candidate in verifying:
        try:
            _conclude(candidate, windows, collected)
        except StaleLease:  # another process concluded it, with the same numbers
            continue
        except OWN_FAILURES as error:  # its records cannot be judged; the others go on
            log.warning("%s: its results cannot be judged", candidate.id, exc_info=True)
            _fail(candidate, describe(error), collected)
    return collected


def collect_calculations(pad: LaunchPad, settings: VerifySettings) -> int:
    """Move calculations with an answer to ``completed`` or ``failed``.

    Returns:
        How many moved.
    """
    moved = 0
    for calculation in Calculation.objects(state=str(CalculationState.SUBMITTED)):
        found = answer(pad, calculation.fw_id, max_launches=settings.max_launches)
        if found is None:
            continue
        if "result" in found:
            moved += calculations.advance(
                calculation.hash,
                CalculationState.SUBMITTED,
                CalculationState.COMPLETED,
                result=found["result"],
            )
            continue
        failure = found.get("error") or {"kind": "task", "message": "the task stored no answer"}
        moved += calculations.advance(
            calculation.hash,
            CalculationState.SUBMITTED,
            CalculationState.FAILED,
            error=f"{failure['kind']}: {failure['message']}",
            info={**calculation.info, "failure": failure},
        )
    return moved


def _conclude(candidate: Candidate, windows: tuple[Window, ...], collected: Collected) -> None:
    hashes = candidate.verification["calculations"]
    compound = calculations.load(hashes["compound"])
    references = {
        element: calculations.load(name) for element, name in hashes["references"].items()
    }
    failure = _failure(compound, references)
    if failure is not None:
        _fail(candidate, failure, collected)
        return
    everything = [compound, *references.values()]
    if any(one.state != CalculationState.COMPLETED for one in everything):
        return
    record = verification_record(compound, references, windows)
    _move(
        candidate,
        State.VERIFIED,
        updates={"verification": {**candidate.verification, **record}},
        inputs={"calculations": [one.hash for one in everything]},
    )
    collected.verified.append(candidate.id)


def _failure(compound: Calculation, references: dict[str, Calculation]) -> str | None:
    if compound.state == CalculationState.FAILED:
        return str(compound.error)
    for element, reference in references.items():
        if reference.state == CalculationState.FAILED:
            return f"the elemental reference of {element} failed: {reference.error}"
    return None


def verification_record(
    compound: Calculation, references: dict[str, Calculation], windows: Iterable[Window]
) -> dict[str, Any]:
    """Put the numbers of a candidate's calculations together.

    Args:
        compound: The completed calculation of the candidate's crystal.
        references: The completed calculation of each of its elements' reference phases.
        windows: The campaign's targets, judged by the raw formation energy and the confirmed gap.

    Returns:
        Plain JSON values; energies in eV/atom, the gap in eV.
    """
    result = compound.result
    structure = record_to_structure(result["structure"])
    energies = {element: one.result["energy_per_atom"] for element, one in references.items()}
    raw = formation_energy_per_atom(
        structure.composition.get_el_amt_dict(), result["energy_per_atom"], energies
    )
    correction = mp2020_correction(structure)
    corrected = None if correction.per_atom is None else raw + correction.per_atom
    windows = tuple(windows)
    values = {"formation_energy_per_atom": raw, "band_gap": result["band_gap"]}
    targets = hits(windows, values)
    seconds = [one.result["cpu_seconds"] for one in (compound, *references.values())]
    return {
        **values,
        "formation_energy_per_atom_mp2020": corrected,
        "mp2020_terms": list(correction.terms),
        "energy_per_atom": result["energy_per_atom"],
        "reference_energies": energies,
        "is_metal": result["is_metal"],
        "direct": result["direct"],
        "gap_confirmed": result["gap_confirmed"],
        "spin_polarised": result["spin_polarised"],
        "magnetic_moment": result["magnetic_moment"],
        "space_group": result["symmetry"].get("space_group"),
        "targets": targets,
        "hit": bool(targets) and all(targets.values()),
        "core_seconds": seconds[0],
        "core_seconds_with_references": sum(seconds),
    }


def _fail(candidate: Candidate, failure: str, collected: Collected) -> None:
    with suppress(StaleLease):
        _move(candidate, State.FAILED, reason=f"dft: {failure}")
        collected.failed.append(candidate.id)


def _move(candidate: Candidate, to: State, **fields: Any) -> None:
    candidates.transition(
        candidate.id, source=State.VERIFYING, to=to, token=candidate.token, agent=AGENT, **fields
    )
