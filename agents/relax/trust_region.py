"""Quasi-Newton relaxation in a trust region: damped BFGS from a model Hessian.

Crystals of a generator's size have so few coordinates that the whole Hessian is kept and
diagonalised at every step. A step that does not lower the enthalpy is taken back, so that the
relaxation stays in its basin, where a plain BFGS leaves it. Nocedal and Wright, Numerical
Optimization (2006): trust region, chapter 4; damped BFGS, procedure 18.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agents.relax.cell_coordinates import CellCoordinates
from agents.relax.model_hessian import model_hessian, weights

#: First, largest and smallest trust radius of a crystal of five atoms, Å.
RADIUS, MAX_RADIUS, MIN_RADIUS = 0.3, 0.5, 0.004
#: No atom moves further in one step, Å.
MAX_MOVE = 0.3
GROWTH = 1.5
#: Actual over predicted change of the enthalpy above which the radius grows or below which it
#: shrinks.
GOOD, POOR = 0.75, 0.25
#: Changes of the enthalpy below this are noise of single precision, eV per atom.
NOISE = 2e-5
#: The model Hessian is rescaled once, by the first step's curvature, within these factors.
RESCALING = (0.3, 3.0)
#: Share of the curvature that damping leaves along a step of negative curvature.
DAMPING = 0.2


@dataclass(frozen=True)
class TrustRegionState:
    """Where the relaxation is.

    Attributes:
        coordinates: shape (D,), the trial; the gradient is asked for here.
        weights: lengths of the coordinates, shape (D,).
        hessian: in weighted coordinates, shape (D, D).
        radius: longest weighted step that the Hessian is trusted for.
        accepted: coordinates of the lowest enthalpy so far; None before the first answer.
        enthalpy: there, eV.
        gradient: there, weighted.
        steps: answers so far.
    """

    coordinates: NDArray[np.float64]
    weights: NDArray[np.float64]
    hessian: NDArray[np.float64]
    radius: float
    accepted: NDArray[np.float64] | None = None
    enthalpy: float = 0.0
    gradient: NDArray[np.float64] | None = None
    steps: int = 0

    @property
    def size(self) -> float:
        """What radii grow with: the root of the number of coordinates over that of five atoms."""
        return float(np.sqrt(len(self.weights) / 24))


def init(crystal: CellCoordinates, positions: NDArray[np.float64]) -> TrustRegionState:
    """Start from the model Hessian with atoms at `positions` (N, 3), Å."""
    lengths = weights(crystal)
    hessian = model_hessian(crystal, positions) / np.outer(lengths, lengths)
    state = TrustRegionState(crystal.start(positions), lengths, hessian, RADIUS)
    return replace(state, radius=RADIUS * state.size)


def step(
    state: TrustRegionState, enthalpy: float, gradient: NDArray[np.float64]
) -> TrustRegionState:
    """Accept or take back the trial, learn from it and propose the next one.

    Args:
        state: where the relaxation is.
        enthalpy: at the state's coordinates, eV.
        gradient: there.
    """
    gradient = gradient / state.weights
    if state.accepted is None or state.gradient is None:
        return _propose(
            replace(state, accepted=state.coordinates, enthalpy=enthalpy, gradient=gradient)
        )
    move = (state.coordinates - state.accepted) * state.weights
    length = float(np.linalg.norm(move))
    slope = float(state.gradient @ move)
    predicted = slope + 0.5 * float(move @ state.hessian @ move)
    actual = enthalpy - state.enthalpy
    noise = NOISE * len(move) / 3
    if abs(actual) < noise and abs(predicted) < noise:
        # too small to compare energies: the gradient says whether the step was good
        ahead = np.linalg.norm(gradient) < 1.5 * np.linalg.norm(state.gradient)
        ratio = 1.0 if ahead else POOR
    else:
        ratio = actual / predicted if predicted < 0 else -1.0
    radius = state.radius
    if ratio > GOOD and length > 0.8 * radius:
        radius = min(GROWTH * radius, MAX_RADIUS * state.size)
    elif ratio < POOR:
        share = _line_minimum(slope, actual, float(gradient @ move))
        radius = max(min(max(share, 0.1), 0.5) * length, MIN_RADIUS)
    hessian = _updated(state, move, gradient - state.gradient)
    state = replace(state, hessian=hessian, radius=radius, steps=state.steps + 1)
    if ratio > 0 or actual < noise:
        state = replace(state, accepted=state.coordinates, enthalpy=enthalpy, gradient=gradient)
    return _propose(state)


def shorten(state: TrustRegionState) -> TrustRegionState | None:
    """Propose a shorter step where the trial is no crystal; None when none is short enough."""
    if state.accepted is None or state.radius <= MIN_RADIUS:
        return None
    length = float(np.linalg.norm((state.coordinates - state.accepted) * state.weights))
    return _propose(replace(state, radius=max(0.3 * length, MIN_RADIUS)))


def _propose(state: TrustRegionState) -> TrustRegionState:
    """Move to the minimum of the quadratic model within the trust region."""
    assert state.accepted is not None
    assert state.gradient is not None
    curvatures, modes = np.linalg.eigh(state.hessian)
    slopes = modes.T @ state.gradient
    curvatures = np.maximum(curvatures, 1e-6)

    def move(shift: float) -> NDArray[np.float64]:
        return -slopes / (curvatures + shift)

    shift = 0.0
    if np.linalg.norm(move(0.0)) > state.radius:
        low, high = 0.0, float(np.linalg.norm(slopes)) / state.radius
        for _ in range(50):
            shift = 0.5 * (low + high)
            low, high = (
                (shift, high) if np.linalg.norm(move(shift)) > state.radius else (low, shift)
            )
        shift = high
    change = modes @ move(shift)
    longest = float(np.linalg.norm(change.reshape(-1, 3), axis=1).max())  # atoms and cell rows
    change *= min(1.0, MAX_MOVE / max(longest, 1e-12))
    return replace(state, coordinates=state.accepted + change / state.weights)


def _updated(
    state: TrustRegionState, move: NDArray[np.float64], change: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Hessian after it met a change of the gradient along a move (damped BFGS)."""
    hessian = state.hessian
    expected = float(move @ hessian @ move)
    if not expected > 0.0:
        return hessian
    if state.steps == 0:
        factor = min(max(float(change @ move) / expected, RESCALING[0]), RESCALING[1])
        hessian, expected = hessian * factor, expected * factor
    along = hessian @ move
    curvature = float(change @ move)
    if curvature < DAMPING * expected:
        share = (1.0 - DAMPING) * expected / (expected - curvature)
        change = share * change + (1.0 - share) * along
        curvature = float(change @ move)
    return hessian - np.outer(along, along) / expected + np.outer(change, change) / curvature


def _line_minimum(slope: float, change: float, end_slope: float) -> float:
    """Return where the cubic through both ends of a step is lowest, as a share of the step.

    Args:
        slope: derivative at the start along the step; negative.
        change: of the enthalpy over the step.
        end_slope: derivative at its end.
    """
    cubic = slope + end_slope - 2.0 * change
    square = 3.0 * change - 2.0 * slope - end_slope
    root = square * square - 3.0 * cubic * slope
    if slope >= 0.0 or root < 0.0 or square + np.sqrt(root) <= 0.0:
        return 0.25
    return float(-slope / (square + np.sqrt(root)))
