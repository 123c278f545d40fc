"""A campaign on the real database, and a DFT code that answers without computing anything."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.verify.backend import Availability, DFTBackend
from agents.verify.presets import DFTSettings, preset
from agents.verify.references import diatomic, is_molecule
from db import candidates
from db.connection import Session
from db.crystals import crystal_fields, structure_to_record
from db.states import State

FUNNEL = [
    State.PROPOSED,
    State.EVALUATED,
    State.PRESCREENED,
    State.RELAXING,
    State.RELAXED,
    State.SCREENED,
    State.SELECTED,
]


class StubBackend(DFTBackend):
    """Runs a line of Python instead of a DFT code; elements are simple cubic, 1 s a calculation."""

    name = "gpaw"  # what the launcher loads; only tests that never launch use this backend

    @property
    def version(self) -> str:
        return "stub"

    def available(self) -> Availability:
        return Availability(True, "stub")

    def unsupported(self, elements: Iterable[str], settings: DFTSettings) -> str | None:
        return "no set for Xe" if "Xe" in set(elements) else None

    def estimate_core_seconds(self, structure: Structure, settings: DFTSettings) -> float:
        symbols = [site.specie.symbol for site in structure]
        return math.inf if self.unsupported(symbols, settings) else float(len(structure))

    def reference(self, element: str) -> Structure:
        if is_molecule(element):
            return diatomic(element, 1.2, 3.0)
        return Structure(Lattice.cubic(3.0), [element], [[0, 0, 0]])

    def command(self, input_file: Path, output_file: Path) -> list[str]:
        return [sys.executable, "-c", "pass"]


@pytest.fixture
def backend() -> StubBackend:
    return StubBackend()


@pytest.fixture
def dft() -> DFTSettings:
    return preset("fast")


AddCandidate = Callable[..., str]


@pytest.fixture
def add_candidate(database: Session) -> AddCandidate:
    """Insert a candidate and walk it through the funnel to a state."""
    count = iter(range(1000))

    def add(
        structure: Structure,
        *,
        campaign: str = "test",
        state: State = State.SELECTED,
        predictions: tuple[dict[str, Any], ...] = (),
    ) -> str:
        proposal = {
            "generator_version": "g",
            "codes_hash": f"codes-{next(count)}",
            "codes": {"species": [[0]]},
            **crystal_fields(structure),
        }
        (name,) = candidates.insert_proposals(campaign, [proposal])
        walk = FUNNEL[: FUNNEL.index(state) + 1]
        for source, to in itertools.pairwise(walk):
            updates: dict[str, Any] = {}
            if to is State.RELAXED:
                updates = {"relaxation": {"structure": structure_to_record(structure)}}
            if to is State.SELECTED:
                updates = {"selection": {"control": False, "position": 0}}
            candidates.transition(
                name,
                source=source,
                to=to,
                token=0,
                agent="test",
                updates=updates,
                predictions=predictions if to is State.SCREENED else (),
            )
        return name

    return add
