"""Generation: what is drawn, what is read from files, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from model.codes import CrystalCodes
from model.generator import Generator
from model.metrics.generation import MissingPrior, draw, evaluate_generation, read_structures


class _Bank:
    """A prior that gives training crystals back."""

    def __init__(self, generator: Generator) -> None:
        self.bank = generator.bank

    def sample(self, n: int, *, seed: int, temperature: float) -> list[CrystalCodes]:
        rows = np.random.default_rng(seed).choice(self.bank.rows("train"), n)
        return [self.bank.codes(int(row)) for row in rows]


@pytest.fixture
def drawing(headed: Generator, monkeypatch: pytest.MonkeyPatch) -> Generator:
    """The shipped generator with a prior of training crystals."""
    monkeypatch.setattr(headed, "prior", _Bank(headed))
    return headed


def test_draws_are_judged_without_fingerprints(drawing: Generator, tiny_data: Path) -> None:
    result = evaluate_generation(
        drawing, dataset="perov5", data_dir=tiny_data, n=40, n_fingerprints=0, n_unique=20, seed=3
    )
    assert result["n"] == 40
    assert result["novelty"]["n"] == 20
    assert result["coverage"] is None
    assert result["validity"]["structural"] == 1.0
    assert result["properties"]["n_test"] == 24
    assert result["seed"] == 3
    json.dumps(result, allow_nan=False)


def test_coverage_is_measured_against_the_test_split(
    drawing: Generator, tiny_data: Path, tmp_path: Path
) -> None:
    result = evaluate_generation(
        drawing,
        dataset="perov5",
        data_dir=tiny_data,
        n=4,
        n_fingerprints=3,
        limit=4,
        cache=tmp_path,
    )
    assert result["coverage"]["n"] == 3
    assert result["coverage"]["n_test"] == 4
    assert 0 <= result["coverage"]["cov_precision"] <= 1


def test_crystals_come_from_files_too(
    generator: Generator, perovskites: list[Structure], tiny_data: Path, tmp_path: Path
) -> None:
    folder, file = tmp_path / "cif", tmp_path / "set.extxyz"
    folder.mkdir()
    for i, structure in enumerate(perovskites):
        structure.to(filename=str(folder / f"{i}.cif"))
    write(file, [AseAtomsAdaptor.get_atoms(s) for s in perovskites], format="extxyz")
    for path in (folder, file):
        found = read_structures(path)
        assert [sorted(c.numbers) for c in found] == [sorted(s.atomic_numbers) for s in perovskites]
    result = evaluate_generation(
        generator, dataset="perov5", data_dir=tiny_data, n_fingerprints=0, structures=file
    )
    assert result["n"] == 5
    assert result["properties"]["energy"] is None
    with pytest.raises(ValueError, match="no file or folder"):
        read_structures(tmp_path / "nowhere")


def test_a_checkpoint_without_a_prior_cannot_draw(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "prior", None)
    with pytest.raises(MissingPrior, match="no prior"):
        draw(generator, 3, seed=0, temperature=1.0)
