"""Fixtures of the metrics' tests."""

from __future__ import annotations

import pytest

from model.generator import Generator
from model.property.head import PropertyHead


@pytest.fixture
def headed(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> Generator:
    """The shipped generator with an untrained head: what it predicts does not matter here."""
    width = generator.features([generator.bank.codes(0)]).shape[1]
    head = PropertyHead(width, ["formation_energy_per_atom@castelli2012"], seed=1).eval()
    monkeypatch.setattr(generator, "head", head)
    return generator
