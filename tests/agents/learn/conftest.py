"""A small world of real crystals: a head that never saw nitrogen, and new crystals to learn from.

Codes, features and labels are the shipped checkpoint's; only the choice of crystals is ours. The
head is trained here on 2,500 training crystals without nitrogen, and 700 validation crystals of the
same kind are the held-out set. Half of the new crystals have nitrogen, half are like the known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from db import campaigns, candidates
from db.states import State
from model.bank import CodeBank
from model.codes import CrystalCodes
from model.generator import Generator
from model.property.head_training import fit_head, new_head
from model.settings import HeadConfig

LEVEL = "chgnet-0.3.0"
TARGET = f"formation_energy_per_atom@{LEVEL}"
SEED = 5


class World(SimpleNamespace):
    """Stands for a `Generator` with another bank and head.

    Attributes:
        bank: Crystals without nitrogen; roles as in the shipped bank.
        head: A head trained on them.
        new: Codes of 240 new crystals, half of them with nitrogen.
        values: Their formation energies (eV/atom).
    """

    name = "without-nitrogen"

    def features(self, codes: Sequence[CrystalCodes]) -> torch.Tensor:
        return self.generator.features(codes)

    def predictions(self, codes: Sequence[CrystalCodes], on: str) -> list[dict[str, Any]]:
        """Return the record of this world's head for each crystal."""
        means, stds = self.head.predict(self.features(codes))[TARGET]
        return [
            {
                "property": "formation_energy_per_atom",
                "value": mean,
                "unit": "eV/atom",
                "model": "head",
                "version": self.head.version,
                "level": LEVEL,
                "in_domain": False,
                "std": std,
                "on": on,
            }
            for mean, std in zip(means.tolist(), stds.tolist(), strict=True)
        ]

    def add_evaluated(self, name: str, rows: Sequence[int], values: np.ndarray) -> list[str]:
        """Insert some of the new crystals as candidates and evaluate them in order."""
        codes = [self.new[row] for row in rows]
        proposals = [
            {
                "generator_version": self.version,
                "codes_hash": one.digest(),
                "codes": one.record(),
                "predictions": [prediction],
            }
            for one, prediction in zip(codes, self.predictions(codes, "decoded"), strict=True)
        ]
        ids = candidates.insert_proposals(name, proposals)
        for candidate_id, value in zip(ids, values, strict=True):
            evaluation = {"formation_energy_per_atom": float(value), "energy": 0.0, "level": LEVEL}
            self.move(candidate_id, State.EVALUATED, updates={"evaluation": evaluation})
        return ids

    def relax(self, candidate_id: str, codes: CrystalCodes, value: float) -> None:
        """Take an evaluated candidate through relaxation; its crystal becomes these codes."""
        self.move(candidate_id, State.PRESCREENED)
        self.move(candidate_id, State.RELAXING)
        relaxation = {"formation_energy_per_atom": float(value), "level": LEVEL}
        self.move(candidate_id, State.RELAXED, updates={"relaxation": relaxation})
        self.move(
            candidate_id,
            State.SCREENED,
            updates={"relaxed_codes": codes.record()},
            predictions=self.predictions([codes], "relaxed"),
        )

    def move(self, candidate_id: str, to: State, **fields: Any) -> None:
        """Move a candidate one state on."""
        found = candidates.load(candidate_id)
        candidates.transition(
            candidate_id,
            source=State(found.state),
            to=to,
            token=found.token,
            agent="test",
            **fields,
        )


@pytest.fixture(scope="session")
def world() -> World:
    torch.set_num_threads(1)
    generator = Generator.load("perov5")
    bank = generator.bank
    nitride = np.array(["N" in elements(formula) for formula in bank.formulas])
    rng = np.random.default_rng(0)
    known = np.concatenate(
        [
            rng.choice(np.flatnonzero(~nitride & (bank.role == role)), size, replace=False)
            for role, size in (("train", 2500), ("val", 700))
        ]
    )
    others = np.setdiff1d(np.flatnonzero(~nitride & (bank.role == "train")), known)
    new = np.concatenate(
        [
            rng.choice(np.flatnonzero(nitride & (bank.role == "train")), 120, replace=False),
            rng.choice(others, 120, replace=False),
        ]
    )
    rng.shuffle(new)
    small = CodeBank.from_codes(
        [bank.codes(int(i)) for i in known],
        ids=bank.ids[known].tolist(),
        formulas=bank.formulas[known].tolist(),
        role=bank.role[known].tolist(),
        properties={TARGET: bank.properties[TARGET][known]},
    )
    train = small.rows("train")
    features = generator.features([small.codes(int(i)) for i in train])
    labels = {TARGET: torch.from_numpy(small.properties[TARGET][train])}
    config = HeadConfig(width=96, members=3, epochs=25)
    head = fit_head(new_head(features, labels, config, 0), features, labels, config, seed=0)
    return World(
        generator=generator,
        version=generator.version,
        bank=small,
        head=head,
        new=[bank.codes(int(i)) for i in new],
        values=bank.properties[TARGET][new],
    )


def elements(formula: str) -> set[str]:
    """Return the symbols in a formula."""
    return set(re.findall(r"[A-Z][a-z]?", formula))


@pytest.fixture
def campaign(database: Any) -> str:
    campaigns.create("nitrides", config={}, seed=SEED)
    return "nitrides"
