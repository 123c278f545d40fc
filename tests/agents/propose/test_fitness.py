"""What a candidate is worth, where the campaign minimises the distance to the hull."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from agents.propose.fitness import fitness_of
from agents.propose.settings import FitnessSettings, ProposeSettings

HULL = FitnessSettings(kind="above_hull", penalty=6.0)


def candidate(above: float | None) -> SimpleNamespace:
    return SimpleNamespace(
        state="evaluated",
        history=[{"to": "evaluated"}],
        evaluation={"formation_energy_per_atom": -2.0, "above_single_point_hull": above},
    )


def test_the_distance_to_the_hull_is_minimised_and_a_crystal_without_hull_is_penalised() -> None:
    assert fitness_of(candidate(0.3), HULL) == 0.3
    assert fitness_of(candidate(-0.02), HULL) == -0.02
    assert fitness_of(candidate(None), HULL) == 6.0
    assert fitness_of(candidate(None), FitnessSettings()) == -2.0


def test_a_threshold_below_the_hull_is_refused() -> None:
    evolution = {"kind": "code_evolution"}
    content = {"proposers": [evolution], "fitness": {"kind": "above_hull"}}
    with pytest.raises(ValidationError, match=r"threshold of -0\.5"):
        ProposeSettings.model_validate(content)
    evolution["threshold"] = 0.1  # type: ignore[assignment]
    assert ProposeSettings.model_validate(content).fitness.kind == "above_hull"
