"""From finished calculations to verified candidates."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.targets import Window, hits
from agents.verify.properties.formation import formation_energy_per_atom, mp2020_correction
from agents.verify.properties.references import ground_state_energy
from agents.verify.queue.launches import answer, attempts_of
from agents.verify.queue.outputs import release
from agents.verify.settings import VerifySettings
from agents.verify.setup.ladder import changes_level
from agents.verify.submission import AGENT, OWN_FAILURES, describe, fail_by_parent
from agents.verify.workflow import COMPOUND
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
    waiting = Calculation.objects(state=str(CalculationState.SUBMITTED))
    for calculation in waiting.order_by("created_at", "hash"):  # parents before their children
        parent = calculations.load(calculation.parent) if calculation.parent else None
        if parent is not None and parent.state == CalculationState.FAILED:
            _take_out(pad, calculation.fw_id)
            moved += fail_by_parent(calculation, parent)
            continue
        found = answer(pad, calculation.fw_id, max_launches=settings.max_launches)
        if found is not None:
            moved += _store(pad, calculation, found)
    return moved


def _store(pad: LaunchPad, calculation: Calculation, found: dict[str, Any]) -> bool:
    payer = {"campaign": calculation.info.get("campaign")}
    attempts = [{**one, **payer} for one in attempts_of(pad, calculation.fw_id)]
    fields: dict[str, Any] = {"attempts": [*calculation.attempts, *attempts]}
    if "outputs" in found:
        fields["outputs"] = found["outputs"]
    if "result" in found:
        to, note = CalculationState.COMPLETED, ""
        fields["result"] = found["result"]
    else:
        failure = found.get("error") or {"kind": "task", "message": "the task stored no answer"}
        to = CalculationState.FAILED
        note = fields["error"] = f"{failure['kind']}: {failure['message']}"
        fields["info"] = {**calculation.info, "failure": failure}
    return calculations.advance(
        calculation.hash, CalculationState.SUBMITTED, to, note=note, **fields
    )


def _take_out(pad: LaunchPad, fw_id: int) -> None:
    """Take a Firework that nobody runs out of the queue."""
    found = pad.fireworks.find_one({"fw_id": fw_id}, {"state": 1}) or {}
    if found.get("state") in ("READY", "WAITING"):
        pad.defuse_fw(fw_id)


def _conclude(candidate: Candidate, windows: tuple[Window, ...], collected: Collected) -> None:
    hashes = candidate.verification["calculations"]
    own = {
        name: calculations.load(hash)
        for name, hash in hashes.items()
        if name in ("relax", COMPOUND, "gap")
    }
    references = {
        element: calculations.load(name) for element, name in hashes["references"].items()
    }
    failure = _failure(own, references)
    if failure is not None:
        _fail(candidate, failure, collected)
        _release(own)
        return
    everything = [*own.values(), *references.values()]
    if any(one.state != CalculationState.COMPLETED for one in everything):
        return
    record = verification_record(
        own[COMPOUND], references, windows, relax=own.get("relax"), gap=own.get("gap")
    )
    _move(
        candidate,
        State.VERIFIED,
        updates={"verification": {**candidate.verification, **record}},
        inputs={"calculations": [one.hash for one in everything]},
    )
    collected.verified.append(candidate.id)
    if not record["hit"]:  # a hit is followed up, and that starts from its files
        _release(own)


def _failure(own: dict[str, Calculation], references: dict[str, Calculation]) -> str | None:
    for name in ("relax", COMPOUND, "gap"):  # a failure of the first is that of the others, too
        if name in own and own[name].state == CalculationState.FAILED:
            return f"{'' if name == COMPOUND else name + ': '}{own[name].error}"
    for element, reference in references.items():
        if reference.state == CalculationState.FAILED:
            return f"the elemental reference of {element} failed: {reference.error}"
    return None


def _release(own: dict[str, Calculation]) -> None:
    for calculation in own.values():
        release_files(calculation)


def release_files(calculation: Calculation) -> None:
    """Remove the files of a calculation that only following tasks need."""
    left = release(calculation.outputs) if calculation.outputs else None
    if left is not None:
        state = CalculationState(calculation.state)
        note = "files for following tasks removed"
        calculations.advance(calculation.hash, state, state, note=note, outputs=left)


def verification_record(
    compound: Calculation,
    references: dict[str, Calculation],
    windows: Iterable[Window],
    *,
    relax: Calculation | None = None,
    gap: Calculation | None = None,
) -> dict[str, Any]:
    """Put the numbers of a candidate's calculations together.

    Args:
        compound: The completed calculation of the candidate's crystal.
        references: The completed calculation of each of its elements' reference phases.
        windows: The campaign's targets, judged by the raw formation energy and the confirmed gap.
            Where a U was used the raw value measures a compound with U against elements without,
            which is no formation energy: there the corrected one is judged.
        relax: The completed relaxation before it, where there is one.
        gap: The completed calculation of the gap, where ``compound`` has none.

    Returns:
        Plain JSON values; energies in eV/atom, the gap in eV. ``changed_settings`` holds the
        settings of those calculations that converged only with others than the level's.
    """
    result, confirmed = compound.result, (gap or compound).result
    own = [one for one in (relax, compound, gap) if one is not None]
    structure = record_to_structure(result["structure"])
    energies = {
        element: ground_state_energy(one.result["energy_per_atom"], one.info)
        for element, one in references.items()
    }
    raw = formation_energy_per_atom(
        structure.composition.get_el_amt_dict(), result["energy_per_atom"], energies
    )
    hubbard_u = result.get("hubbard_u", {})
    correction = mp2020_correction(structure, hubbard_u, result.get("vasp"), result.get("cutoff"))
    corrected = None if correction.per_atom is None else raw + correction.per_atom
    windows = tuple(windows)
    values = {"formation_energy_per_atom": raw, "band_gap": confirmed["band_gap"]}
    judged = raw if corrected is None or not hubbard_u else corrected
    targets = hits(windows, {**values, "formation_energy_per_atom": judged})
    seconds = sum(one.result["cpu_seconds"] for one in own)
    reference_seconds = sum(one.result["cpu_seconds"] for one in references.values())
    return {
        **values,
        "formation_energy_per_atom_mp2020": corrected,
        "mp2020_terms": list(correction.terms),
        "formation_energy_per_atom_judged": judged,
        "hubbard_u": hubbard_u,
        "energy_per_atom": result["energy_per_atom"],
        "reference_energies": energies,
        "reference_stand_ins": {
            element: one.info["phase"]
            for element, one in references.items()
            if "stands_for" in one.info
        },
        "is_metal": confirmed["is_metal"],
        "direct": confirmed["direct"],
        "gap_confirmed": confirmed["gap_confirmed"],
        "gap_consistent": confirmed.get("gap_consistent"),
        "spin_polarised": result["spin_polarised"],
        "magnetic_moment": result["magnetic_moment"],
        "space_group": result["symmetry"].get("space_group"),
        "targets": targets,
        "hit": bool(targets) and all(targets.values()),
        "core_seconds": seconds,
        "core_seconds_with_references": seconds + reference_seconds,
        "changed_settings": {
            one.hash: one.result["changes"]
            for one in (*own, *references.values())
            if changes_level(one.result.get("changes", {}))
        },
    }


def _fail(candidate: Candidate, failure: str, collected: Collected) -> None:
    with suppress(StaleLease):
        _move(candidate, State.FAILED, reason=f"dft: {failure}")
        collected.failed.append(candidate.id)


def _move(candidate: Candidate, to: State, **fields: Any) -> None:
    candidates.transition(
        candidate.id, source=State.VERIFYING, to=to, token=candidate.token, agent=AGENT, **fields
    )
