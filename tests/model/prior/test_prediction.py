"""Structure prediction, with a prior that knows the answer and one that does not."""

from __future__ import annotations

import csv
import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.data.canonical import Crystal
from model.prior.conditions import ImpossibleConditions
from model.prior.prediction import structure_prediction
from model.prior.settings import Temperatures


class Oracle:
    """Draws rock salt for NaCl most of the time, once another structure; nothing for KBr."""

    version = "oracle"

    def check_cell(self, cell):
        if 35 in cell:
            raise ImpossibleConditions("no bromine")

    def sample_cells(self, cells, *, seed, temperature):
        assert all(cell == {11: 1, 17: 1} for cell in cells)
        return [i % len(cells) != 0 for i in range(len(cells))]

    def temperatures(self, value):
        return Temperatures()

    def log_likelihood(self, codes):
        return torch.tensor([-5.0 if rocksalt else -1.0 for rocksalt in codes])


class Decoder:
    """Turns the oracle's booleans into crystals."""

    name, version, prior = "oracle", "0", Oracle()

    def decode_crystals(self, codes):
        numbers = np.array([11, 17])
        frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
        salt = np.array([3.99] * 3 + [60.0] * 3)
        cubic = np.array([3.4] * 3 + [90.0] * 3)
        return [Crystal(numbers, frac, salt if rocksalt else cubic) for rocksalt in codes]


@pytest.fixture
def folder(tmp_path):
    """Two test rows: NaCl and KBr, both rock salt."""
    with gzip.open(tmp_path / "mp20_test.csv.gz", "wt", newline="") as stream:
        columns = ["formation_energy_per_atom", "band_gap"]
        writer = csv.writer(stream)
        writer.writerow(["material_id", "structure", *columns])
        for i, species in enumerate((["Na", "Cl"], ["K", "Br"])):
            structure = {
                "cell": [4.0, 4.0, 4.0, 60, 60, 60],
                "species": species,
                "frac": [[0, 0, 0], [0.5, 0.5, 0.5]],
            }
            writer.writerow([f"t{i}", json.dumps(structure), -1.0, 1.0])
    return tmp_path


def test_agreement_ranks_first_and_impossible_rows_count(folder):
    result = structure_prediction(
        Decoder(), dataset="mp20", split="test", data_dir=folder, samples=5, seed=0
    )
    assert result["n"] == 2
    assert result["impossible"] == 1
    assert result["match_at_1"] == 0.5  # four of five draws agree on rock salt
    assert result["match_at_k"] == 0.5
    assert result["match_random"] == 0  # the first draw was the other structure
    assert result["rms_at_1"] == pytest.approx(0, abs=1e-6)


def test_a_generator_without_a_prior_is_refused(folder):
    with pytest.raises(ValueError, match="has no prior"):
        structure_prediction(
            SimpleNamespace(name="old"), dataset="mp20", split="test", data_dir=folder
        )


def test_more_samples_than_draws_are_refused(folder):
    with pytest.raises(ValueError, match="20 samples"):
        structure_prediction(
            Decoder(), dataset="mp20", split="test", data_dir=folder, samples=20, draws=10
        )
