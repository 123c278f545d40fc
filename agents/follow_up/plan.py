"""What DFT is asked about a hit, and what it may cost; decided before anything is queued."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.verify.backend import DFTBackend, LevelSettings
from agents.verify.identity import calculation_spec, find_equal
from agents.verify.properties.hull import phase_specs
from agents.verify.settings import VerifySettings
from agents.verify.tasks import Task
from db import calculations
from db.crystals import record_to_structure
from db.documents import Calculation
from db.states import CalculationState

if TYPE_CHECKING:
    from agents.follow_up.settings import FollowUpSettings

HEAVY = 72
"""Spin-orbit coupling is computed from this atomic number on, and for iodine."""


@dataclass
class Plan:
    """The calculations of one hit's follow-up.

    Attributes:
        specs: By task, as `agents.verify.submission.Submission.queue` takes them.
        phases: Crystals of the competing phases by id, as records.
        refused: Why a question is not asked, by task or ``hull``.
        core_seconds: Estimated cost of what is planned and not paid for yet.
        longest: That of the longest calculation among it.
    """

    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    core_seconds: float = 0.0
    longest: float = 0.0


def plan_calculations(
    compound: Calculation,
    backend: DFTBackend[Any],
    dft: LevelSettings,
    settings: FollowUpSettings,
    *,
    is_metal: bool,
    limit: float,
) -> Plan:
    """Choose the tasks that start from a hit's ``static`` calculation.

    The cheap questions come first; one that would exceed the limit is refused and says so.

    Args:
        compound: The completed calculation of the hit.
        backend: The DFT code.
        dft: The level of theory.
        settings: What is asked.
        is_metal: What the verification found.
        limit: Core-seconds that may be spent.
    """
    plan = Plan()
    structure = record_to_structure(compound.structure)
    vacuum = compound.options.get("vacuum")
    options = None if vacuum is None else {"vacuum": vacuum}
    for task in _wanted(settings, {site.specie.symbol for site in structure}):
        if task is Task.HYBRID and is_metal:
            plan.refused[task] = "the crystal is a metal at this level"
            continue
        spec = calculation_spec(
            backend,
            structure,
            dft,
            kind="compound",
            task=task,
            parent=str(compound.hash),
            options=options,
        )
        _add(plan, task, [spec], limit)
        if task not in plan.refused:
            plan.specs[task] = spec
    return plan


def plan_phases(
    plan: Plan,
    competing: Mapping[str, Any],
    backend: DFTBackend[Any],
    dft: LevelSettings,
    verify: VerifySettings,
    limit: float,
) -> None:
    """Add the competing phases of a hull, all of them or none.

    Args:
        plan: Gets the phases, or the reason why there is no hull.
        competing: From `agents.follow_up.competing.competing_phases`.
        backend: The DFT code.
        dft: The level of theory.
        verify: Whether crystals are relaxed by DFT first.
        limit: Core-seconds that the whole plan may spend.
    """
    if "refused" in competing:
        plan.refused["hull"] = f"{competing['refused']['reason']}: {competing['refused']['detail']}"
        return
    try:
        chains = {
            phase["id"]: phase_specs(backend, record_to_structure(phase["structure"]), dft, verify)
            for phase in competing["phases"]
        }
    except ValueError as error:
        plan.refused["hull"] = f"a competing phase cannot be set up: {error}"
        return
    _add(plan, "hull", [spec for chain in chains.values() for spec in chain], limit)
    if "hull" not in plan.refused:
        plan.phases = {phase["id"]: phase["structure"] for phase in competing["phases"]}


def needs_spin_orbit(elements: Iterable[str]) -> bool:
    """Say whether spin-orbit coupling may matter: an element with Z >= 72, or iodine."""
    from pymatgen.core import Element

    return any(Element(one).Z >= HEAVY or one == "I" for one in elements)


def _wanted(settings: FollowUpSettings, elements: set[str]) -> list[Task]:
    wanted = []
    if settings.bands:
        wanted.append(Task.BANDS)
    if settings.spin_orbit and needs_spin_orbit(elements):
        wanted.append(Task.SPIN_ORBIT)
    if settings.hybrid:
        wanted.append(Task.HYBRID)
    return wanted


def _add(plan: Plan, name: str, specs: list[dict[str, Any]], limit: float) -> None:
    """Count the cost of calculations, or refuse them."""
    costs = [_cost(spec) for spec in specs]
    seconds = sum(costs)
    if math.isinf(seconds):
        unable = next(spec for spec in specs if math.isinf(_cost(spec)))
        plan.refused[name] = (
            f"{unable['code']} cannot compute {unable['formula']} ({unable['task']})"
        )
    elif plan.core_seconds + seconds > limit:
        plan.refused[name] = (
            f"too_expensive: estimated {seconds / 3600:.3f} core-hours, and "
            f"{max(0.0, limit - plan.core_seconds) / 3600:.3f} are left"
        )
    else:
        plan.core_seconds += seconds
        plan.longest = max([plan.longest, *costs])


def _cost(spec: dict[str, Any]) -> float:
    """Return what a calculation will still cost, s; nothing where it is recorded and not failed."""
    recorded = find_equal(spec)
    if recorded is not None:
        state = calculations.load(recorded).state
        return 0.0 if state != CalculationState.FAILED else _estimate(spec)
    return _estimate(spec)


def _estimate(spec: dict[str, Any]) -> float:
    seconds = spec["estimated_core_seconds"]
    return math.inf if seconds is None else float(seconds)
