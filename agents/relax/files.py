"""Relaxation of a person's own structures, the same code as in a campaign."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agents.relax.agreement import SecondPotential, agreement
from agents.relax.batch import CRYSTAL_ERRORS, relaxations
from agents.relax.relaxation import Relaxation, finite_or_none
from agents.relax.rules import Verdict, broken_rule, judge_relaxation

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential
    from agents.relax.references import ElementalReferences
    from agents.relax.settings import RelaxSettings


def relax_structures(
    structures: Mapping[str, Structure],
    potential: Potential,
    references: ElementalReferences,
    settings: RelaxSettings,
    second: SecondPotential | None = None,
    on_relaxed: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[dict[str, Any], Structure | None]]:
    """Relax crystals together and judge them by a campaign's rules; every one is reported.

    Args:
        structures: identifier (a file name, say) to ordered crystal.
        potential: the potential that relaxes.
        references: its elemental references.
        settings: relaxation, guards and acceptance.
        second: a second potential whose formation energies are compared, if any.
        on_relaxed: told how many are relaxed, whenever one is.

    Yields:
        In the order given, a record of plain JSON values and the relaxed crystal (None where there
        is none). The record holds ``id``, ``formula``, ``n_atoms``, ``energy`` and
        ``initial_energy`` (eV), ``formation_energy_per_atom`` (eV/atom), ``max_force`` (eV/Å),
        ``max_stress`` (eV/Å^3), ``steps``, ``stop``, ``converged``, ``volume_ratio``, ``seconds``,
        ``verdict`` ("accepted" or the reason a campaign would reject it for) with its ``detail``,
        and ``second_potential``.
    """
    rejected = {
        name: verdict
        for name, structure in structures.items()
        if (verdict := broken_rule(structure, potential, references, settings)) is not None
    }
    names = [name for name in structures if name not in rejected]
    outcomes: dict[int, Relaxation | Exception] = {}
    for index, one in relaxations([structures[name] for name in names], potential, settings):
        outcomes[index] = one
        on_relaxed(len(outcomes))
    relaxed = {name: outcomes[index] for index, name in enumerate(names)}
    for name, structure in structures.items():
        record: dict[str, Any] = {
            "id": name,
            "formula": structure.composition.reduced_formula,
            "n_atoms": len(structure),
        }
        outcome = relaxed.get(name)
        if not isinstance(outcome, Relaxation):
            yield {**record, **_not_relaxed(rejected.get(name), outcome)}, None
            continue
        yield _judged(record, outcome, potential, references, settings, second), outcome.structure


def _judged(
    record: dict[str, Any],
    relaxation: Relaxation,
    potential: Potential,
    references: ElementalReferences,
    settings: RelaxSettings,
    second: SecondPotential | None,
) -> dict[str, Any]:
    formation_energy = references.formation_energy_per_atom(
        relaxation.structure.composition, relaxation.energy
    )
    verdict = judge_relaxation(relaxation, formation_energy, potential, references, settings)
    opinion = None
    if second is not None and verdict is None:
        try:
            ((opinion, verdict),) = agreement([relaxation.structure], [formation_energy], second)
        except CRYSTAL_ERRORS as error:
            verdict = _failure(second.potential, error)
    return {
        **record,
        **relaxation.numbers(),
        "formation_energy_per_atom": finite_or_none(formation_energy),
        "second_potential": opinion.record() if opinion else None,
        "verdict": verdict.reason if verdict else "accepted",
        "detail": verdict.detail if verdict else {},
    }


def _not_relaxed(verdict: Verdict | None, error: Exception | None) -> dict[str, Any]:
    if verdict is None:
        verdict = Verdict("failed", {"error": f"{type(error).__name__}: {error}"})
    return {"verdict": verdict.reason, "detail": verdict.detail}


def _failure(potential: Potential, error: Exception) -> Verdict:
    text = f"{type(error).__name__}: {error}"
    return Verdict("failed", {"potential": potential.level, "error": text})
