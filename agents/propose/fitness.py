"""What a candidate is worth to the search."""

from __future__ import annotations

import math
from typing import Any

from agents.propose.settings import FitnessSettings
from db.states import State

_FIELD = {
    "formation_energy": "formation_energy_per_atom",
    "total_energy": "energy",
    "above_hull": "above_single_point_hull",
}
_ENDED = frozenset({State.REJECTED, State.FAILED})


def fitness_of(candidate: Any, settings: FitnessSettings) -> float | None:
    """Return the fitness of a candidate; lower is better.

    A candidate that was evaluated keeps its energy whatever became of it later. One that was
    rejected or failed without an evaluation (it could not be decoded, its atoms overlap, the
    potential gave up) gets the penalty: bad fitness, never nothing.

    Args:
        candidate: A candidate's document; `state`, `evaluation` and `history` are read.
        settings: What is minimised, and the penalty.

    Returns:
        Formation energy or distance to the single-point hull in eV/atom, or total energy in eV, or
        the penalty; None while the evaluation is still to come.
    """
    evaluated = any(State(entry["to"]) is State.EVALUATED for entry in candidate.history)
    if not evaluated:
        return settings.penalty if State(candidate.state) in _ENDED else None
    value = candidate.evaluation[_FIELD[settings.kind]]
    if value is None:  # its hull was refused
        return settings.penalty
    return float(value) if math.isfinite(value) else settings.penalty
