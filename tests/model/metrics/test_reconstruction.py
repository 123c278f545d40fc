"""Reconstruction: rates against pymatgen by hand, bits by counting, failures with reasons."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from model.data.canonical import structure_from_arrays
from model.data.dataset import read_split
from model.generator import Generator
from model.metrics import reconstruction as module
from model.metrics.code_cost import code_cost, positions
from model.metrics.reconstruction import reconstruction


def test_rates_are_those_of_the_matcher(generator: Generator, tiny_data: Path) -> None:
    table = read_split("perov5", "test", data_dir=tiny_data)
    truths = [structure_from_arrays(c.numbers, c.frac, c.cell)[0] for c in table.crystals]
    decoded = [d.structure for d in generator.decode(generator.encode_crystals(table.crystals))]  # type: ignore[arg-type]
    distances = [
        StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).get_rms_dist(one, other)
        for one, other in zip(decoded, truths)
    ]
    found = [d[0] for d in distances if d is not None]
    result = reconstruction(generator, dataset="perov5", split="test", data_dir=tiny_data)
    assert result["n"] == 24
    assert result["match_rate"] == len(found) / 24
    assert result["rms"] == pytest.approx(np.mean(found))
    assert result["from_stored_codes"] is True
    assert 0 < result["rms_angstrom"] < result["rms"] * 6
    json.dumps(result, allow_nan=False)


def test_a_wrong_atom_count_is_no_free_match(
    generator: Generator, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [5] * 20 + [4] * 4
    monkeypatch.setattr(module, "count_atoms", lambda _, crystals: wrong[: len(crystals)])
    failures: list[dict] = []
    result = reconstruction(
        generator, dataset="perov5", split="test", data_dir=tiny_data, failures=failures
    )
    assert result["match_rate"] == 1.0
    assert result["match_rate_free"] == result["atom_count_accuracy"] == pytest.approx(20 / 24)
    counted = [f for f in failures if f["reason"] == "atom count: 4"]
    assert len(counted) == 4
    assert all("match_rate_free" in f["metrics"] for f in counted)
    assert all("match_rate" not in f["metrics"] for f in failures)


def test_what_fails_is_listed_with_its_reason(generator: Generator, tmp_path: Path) -> None:
    species = [["Sr", "Ti", "O", "O", "O"], ["Pu", "Ti", "O", "O", "O"]]
    frac = [[0, 0, 0], [0.5] * 3, [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    with gzip.open(tmp_path / "perov5_test.csv.gz", "wt", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["material_id", "structure", "e_form_castelli_eV_per_cell", "e_form_how"])
        for i, kinds in enumerate(species):
            crystal = {"cell": [3.95] * 3 + [90] * 3, "species": kinds, "frac": frac}
            writer.writerow([f"m{i}", json.dumps(crystal), "", ""])
    failures: list[dict] = []
    result = reconstruction(
        generator, dataset="perov5", split="test", data_dir=tmp_path, failures=failures
    )
    assert result["match_rate"] == 0.5
    assert result["encode_errors"] == 1
    assert [(f["id"], f["formula"]) for f in failures] == [("m1", "PuTiO3")]
    assert "94" in failures[0]["reason"]
    assert failures[0]["metrics"] == ["match_rate", "match_rate_free", "match_rate_strict"]


def test_bits_are_the_logarithms_of_the_codebooks(generator: Generator) -> None:
    codes = [generator.bank.codes(i) for i in range(40)]
    cost = code_cost(generator, codes)
    config = generator.model.config
    per_atom = math.log2(config.role_codes * config.axis_codes**3)
    tokens = [
        c.n_species * config.species_levels * math.log2(config.species_codes)
        + config.crystal_levels * math.log2(config.crystal_codes)
        for c in codes
    ]
    assert cost["bits_local_per_atom"] == pytest.approx(per_atom)
    assert cost["bits_global"] == pytest.approx(np.mean(tokens))
    assert cost["bits_per_crystal"] == pytest.approx(np.mean(tokens) + 5 * per_atom)
    assert cost["bits_per_atom"] == pytest.approx(np.mean(tokens) / 5 + per_atom)


def test_entropy_coded_bits_of_the_training_set_are_its_entropy(generator: Generator) -> None:
    rows = generator.bank.rows("train")
    codes = [generator.bank.codes(int(row)) for row in rows]  # all: that is what is counted
    counts: dict = {}
    for c in codes:
        for position, code in positions(c):
            counts.setdefault(position, Counter())[code] += 1
    entropy = -sum(
        n * math.log2(n / column.total()) for column in counts.values() for n in column.values()
    ) / len(codes)
    cost = code_cost(generator, codes)
    assert cost["bits_per_crystal_entropy"] == pytest.approx(entropy, rel=0.01)
    assert cost["bits_per_crystal_entropy"] < cost["bits_per_crystal"]
