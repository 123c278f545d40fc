"""FIRE: fast inertial relaxation engine (Bitzek et al., doi 10.1103/PhysRevLett.97.170201).

With the constants and the order of operations of ASE's `FIRE`, which it equals step by step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agents.relax.cell_coordinates import CellCoordinates

#: Longest time step, its first value, and how it grows and shrinks.
MAX_TIME_STEP = 1.0
TIME_STEP = 0.1
GROWTH = 1.1
SHRINKAGE = 0.5
#: Share of the force in the mixed velocity, its first value and its decay.
MIXING = 0.1
MIXING_DECAY = 0.99
#: Steps downhill before the time step grows.
PATIENCE = 5
#: Longest step of the whole vector, Å.
MAX_STEP = 0.2


@dataclass(frozen=True)
class FireState:
    """Where FIRE is.

    Attributes:
        coordinates: shape (D,); the gradient is asked for here.
        velocity: None before the first step.
        time_step: of the next step.
        mixing: share of the force in the velocity.
        downhill: steps downhill since the last one uphill.
    """

    coordinates: NDArray[np.float64]
    velocity: NDArray[np.float64] | None = None
    time_step: float = TIME_STEP
    mixing: float = MIXING
    downhill: int = 0


def init(crystal: CellCoordinates, positions: NDArray[np.float64]) -> FireState:
    """Start at rest with atoms at `positions` (N, 3), Å."""
    return FireState(crystal.start(positions))


def step(state: FireState, enthalpy: float, gradient: NDArray[np.float64]) -> FireState:
    """Move once.

    Args:
        state: where FIRE is.
        enthalpy: not used; FIRE needs the gradient alone.
        gradient: at the state's coordinates.
    """
    force = -gradient
    velocity = np.zeros_like(force)
    time_step, mixing, downhill = state.time_step, state.mixing, state.downhill
    if state.velocity is not None:
        if np.vdot(force, state.velocity) > 0.0:
            speed, strength = np.linalg.norm(state.velocity), np.linalg.norm(force)
            velocity = (1.0 - mixing) * state.velocity + mixing * force / strength * speed
            if downhill > PATIENCE:
                time_step = min(time_step * GROWTH, MAX_TIME_STEP)
                mixing *= MIXING_DECAY
            downhill += 1
        else:
            time_step, mixing, downhill = time_step * SHRINKAGE, MIXING, 0
    velocity = velocity + time_step * force
    move = time_step * velocity
    length = float(np.linalg.norm(move))
    if length > MAX_STEP:
        move *= MAX_STEP / length
    return replace(
        state,
        coordinates=state.coordinates + move,
        velocity=velocity,
        time_step=time_step,
        mixing=mixing,
        downhill=downhill,
    )


def shorten(state: FireState) -> FireState | None:
    """A step of FIRE is never taken back."""
    return None
