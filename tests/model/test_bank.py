"""The code bank: file round trip, rows, donors."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from model.bank import CodeBank, CorruptBank
from model.codes import CrystalCodes


def _codes(species: int, atoms: int, shift: int) -> CrystalCodes:
    return CrystalCodes(
        species=tuple((i, shift) for i in range(species)),
        crystal=(shift, 300),
        local=tuple((i, 1, 2, 127) for i in range(atoms)),
    )


@pytest.fixture
def bank() -> CodeBank:
    return CodeBank.from_codes(
        [_codes(2, 3, 0), _codes(3, 5, 1), _codes(2, 4, 2), _codes(2, 2, 3)],
        ids=["1", "2", "3", "4"],
        formulas=["NaCl", "SrTiO3", "MgO", "NaN"],
        role=["train", "train", "train", "val"],
        properties={"band_gap@pbe": np.array([1.0, np.nan, 3.0, 4.0])},
    )


def test_codes_survive_the_file(bank: CodeBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npz")
    loaded = CodeBank.load(tmp_path / "bank.npz")
    assert len(loaded) == 4
    assert loaded.codes(1) == _codes(3, 5, 1)
    assert loaded.codes(3) == _codes(2, 2, 3)
    assert loaded.ids.tolist() == ["1", "2", "3", "4"]
    assert loaded.formulas[3] == "NaN"
    np.testing.assert_array_equal(loaded.n_atoms, [3, 5, 4, 2])
    np.testing.assert_allclose(loaded.properties["band_gap@pbe"], [1, np.nan, 3, 4])


def test_global_genes_of_many_rows_are_those_of_their_codes(bank: CodeBank) -> None:
    rows = np.array([0, 2, 3])
    expected = [bank.codes(int(row)).global_genes for row in rows]
    np.testing.assert_array_equal(bank.global_genes(rows), expected)
    assert bank.global_genes(rows).dtype == np.int64
    with pytest.raises(ValueError, match=r"\[2, 3\] species"):
        bank.global_genes(np.array([0, 1]))


def test_donors_are_training_crystals_with_as_many_species(bank: CodeBank) -> None:
    assert bank.donors(_codes(2, 9, 9)).tolist() == [0, 2]
    assert bank.donors(_codes(3, 5, 0)).tolist() == [1]
    assert bank.rows("val").tolist() == [3]


def test_a_bank_of_pickles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bank.npz"
    path.write_bytes(pickle.dumps({"ids": ["1"]}))
    with pytest.raises(CorruptBank):
        CodeBank.load(path)
    with path.open("wb") as stream:
        np.savez(stream, ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorruptBank):
        CodeBank.load(path)


def test_a_truncated_bank_is_refused(bank: CodeBank, tmp_path: Path) -> None:
    path = tmp_path / "bank.npz"
    bank.save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptBank):
        CodeBank.load(path)
