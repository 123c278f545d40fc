"""A made-up campaign of real codes: those of training perovskites, with crystals and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from campaign_records import POTENTIAL, candidate, store_campaign
from pymatgen.core import Lattice, Structure

from db.connection import Session
from db.crystals import structure_to_record
from db.states import State
from discovery.figures.source import CampaignData, read_campaign
from model.bank import CodeBank
from model.cards import BANK, resolve_checkpoint

COUNT = 96
ACTIVE = 24  # DFT was chosen for the last of them


@pytest.fixture(scope="session")
def bank() -> CodeBank:
    """The training crystals of the shipped Perov-5 generator."""
    return CodeBank.load(resolve_checkpoint("perov5") / BANK)


@pytest.fixture
def perovskites(database: Session, bank: CodeBank) -> CampaignData:
    """Read a campaign: cubic and tetragonal crystals, two proposers, three generations of each."""
    store_campaign("perovskites", perovskite_documents(bank))
    return read_campaign("perovskites")


def perovskite_documents(bank: CodeBank) -> list[dict[str, Any]]:
    """Make the candidates; every number follows from their order."""
    source = np.random.default_rng(3)
    made = []
    for number in range(COUNT):
        chosen = number >= COUNT - ACTIVE
        row, relaxed_row = 7 * number, 7 * number + 1
        crystal = structure_to_record(_perovskite(1.0 if number % 3 else 1.1))
        energy = float(source.normal(-1.0, 0.5))
        document = candidate(
            number,
            State.VERIFIED if chosen else State.RELAXED,
            energy=energy,
            hit=bool(number % 4 == 0) if chosen else None,
            proposer="genetic" if number % 2 else "donor",
            episode=number % 2,
            generation=number // 32,
            codes=bank.codes(row).record(),
            structure=crystal,
            base_id=str(bank.ids[number % 2]),
            n_atoms=5,
        )
        document["relaxation"]["structure"] = crystal
        document["relaxed_codes"] = bank.codes(relaxed_row).record()
        for model, level, name, value in (
            ("chgnet", POTENTIAL, "formation_energy_per_atom", energy - 0.5),
            ("megnet", "pbe-mp2018", "formation_energy_per_atom", energy - 0.3),
            ("megnet", "pbe-mp2018", "band_gap", abs(energy)),
            ("head", "castelli2012", "formation_energy_per_atom", 99.0),
            ("head", POTENTIAL, "formation_energy_per_atom", energy - 0.2),
        ):
            document["predictions"].append(_prediction(model, level, name, value))
            document["properties"][f"{name}_{model}"] = value
        if chosen:
            document["selection"]["control"] = number % 5 == 0
            document["verification"]["space_group"] = 221
        made.append(document)
    return made


def _prediction(model: str, level: str, name: str, value: float) -> dict[str, Any]:
    made = {"property": name, "model": model, "level": level, "value": value, "std": 0.1}
    return {**made, "version": "1", "on": "relaxed", "in_domain": True}


def _perovskite(stretch: float) -> Structure:
    lattice = Lattice.tetragonal(3.9, 3.9 * stretch)
    halves = [[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(lattice, ["Sr", "Ti", *"OOO"], [[0, 0, 0], [0.5, 0.5, 0.5], *halves])
