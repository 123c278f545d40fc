"""The shipped checkpoints: small, whole, and as good as their cards say."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint import SHIPPED
from model.generator import Generator
from model.metrics.reconstruction import reconstruction
from model.metrics.validity import shortest_distances
from model.prior.conditions import Conditions

NAMES = ("perov5", "carbon24", "mp20", "c2db")
_LIMIT = 12e6  # bytes


@pytest.fixture(scope="module", params=NAMES)
def shipped(request: pytest.FixtureRequest) -> Generator:
    return Generator.load(request.param)


def test_a_checkpoint_is_small_and_has_every_part(shipped: Generator) -> None:
    folder = SHIPPED / shipped.name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= _LIMIT
    assert shipped.prior is not None
    assert set(shipped.bank.role.tolist()) == {"train", "val"}
    assert shipped.card["data"]["n"] == {
        role: len(shipped.bank.rows(role)) for role in ("train", "val")
    }


@pytest.mark.data
def test_unseen_crystals_come_back(shipped: Generator, data_dir: Path) -> None:
    result = reconstruction(
        shipped, dataset=shipped.name, split="test", data_dir=data_dir, limit=40
    )
    assert result["match_rate"] >= 0.97
    assert result["match_rate_free"] >= 0.97
    assert result["rms"] < 0.03
    assert result["from_stored_codes"]


def test_what_the_prior_draws_decodes_to_separate_atoms(shipped: Generator) -> None:
    assert shipped.prior is not None
    codes = shipped.prior.sample(64, seed=3)
    crystals = shipped.decode_crystals(codes)
    assert (shortest_distances(crystals) > 0.5).mean() >= 0.9
    assert len({c.digest() for c in codes}) >= 55
    assert shipped.prior.sample(64, seed=3) == codes


def test_a_formula_is_kept() -> None:
    generator = Generator.load("mp20")
    assert generator.prior is not None
    codes = generator.prior.sample(8, seed=0, conditions=Conditions(formula="SrTiO3"))
    found = {item.structure.composition.reduced_formula for item in generator.decode(codes)}
    assert found == {"SrTiO3"}
