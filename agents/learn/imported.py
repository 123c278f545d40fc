"""Labels of imported calculations, as far as a campaign's settings name their levels of theory.

They are learned, and judge, with the campaign's own labels at its next learning event, but start
none. Each level is an output of its own, as that of every label: nothing is mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from agents.learn.labels import ENERGY, Label
from agents.learn.targets import target_name
from db.crystals import record_to_structure
from db.documents import Calculation
from db.states import CalculationState
from model.codes import CrystalCodes

if TYPE_CHECKING:
    from datetime import datetime

    from model.generator import Generator

PREFIX = "imported-"
CORRECTED = "-mp2020"
"""Ends the level of corrected formation energies, where U and none make one level (MP2020)."""

MAX_FORCE = 0.5
"""Labels belong to crystals at rest: above this force a calculation gives none, eV/Å."""


def imported_labels(generator: Generator, levels: Sequence[str]) -> list[Label]:
    """Return the labels of the imported compounds of some levels of theory.

    Args:
        generator: Its encoder gives the codes; crystals it cannot encode give no label.
        levels: Names of levels, as `discovery import-dft` prints them.

    Returns:
        Formation energies (raw at the level's name, corrected at ``LEVEL-mp2020``, where the level
        is that without U) and gaps, in the order in which they were imported.
    """
    if not levels:
        return []
    found = Calculation.objects(
        kind="compound",
        state=str(CalculationState.COMPLETED),
        level__in=list(levels),
        info__imported__exists=True,
    ).order_by("completed_at", "hash")
    resting = [one for one in found if (one.result.get("max_force") or 0.0) <= MAX_FORCE]
    encoded = generator.encode([record_to_structure(one.structure) for one in resting])
    return [
        label
        for calculation, codes in zip(resting, encoded, strict=True)
        if isinstance(codes, CrystalCodes)
        for label in _labels(calculation, codes, calculation.completed_at)
    ]


def own_keys(keys: Iterable[str]) -> list[str]:
    """Return the names of labels that are the campaign's own."""
    return [key for key in keys if not key.startswith(PREFIX)]


def _labels(calculation: Calculation, codes: CrystalCodes, at: datetime) -> Iterable[Label]:
    formation = calculation.info.get("formation", {})
    base = calculation.info["imported"]["base_level"]
    values = {
        target_name(ENERGY, calculation.level): formation.get(ENERGY),
        target_name(ENERGY, base + CORRECTED): formation.get(f"{ENERGY}_mp2020"),
        target_name("band_gap", calculation.level): calculation.result.get("band_gap"),
    }
    for target, value in values.items():
        if value is not None:
            yield Label(
                candidate_id=f"{PREFIX}{str(calculation.hash)[:16]}",
                seq=-1,
                target=target,
                value=float(value),
                on="relaxed",
                source="imported",
                codes=codes,
                at=at,
                prequential=None,
            )
