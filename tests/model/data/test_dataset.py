"""Splits of the field's data sets: labels, order, limits, errors; canonical forms of real ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from model.data.cache import cached_tensors
from model.data.canonical import Crystal, canonical, structure_from_arrays
from model.data.dataset import LABELS, read_labels, read_split
from model.data.sources import read_source
from model.errors import MissingDataset


def test_only_clean_heats_of_formation_are_labels(tiny_data: Path) -> None:
    table = read_split("perov5", "val", data_dir=tiny_data)
    clean = np.array([i % 3 != 0 for i in range(24)])  # as `tiny_data` marks them
    assert table.ids == [f"m{i}" for i in range(24)]
    values = table.labels["formation_energy_per_atom@castelli2012"]
    np.testing.assert_array_equal(np.isfinite(values), clean)


def test_a_bad_row_is_skipped_and_does_not_count_for_the_limit(tmp_path: Path) -> None:
    good = json.dumps({"cell": [4] * 3 + [90] * 3, "species": ["C"], "frac": [[0, 0, 0]]})
    rows = ["material_id\tstructure", f"a\t{good}", "b\t{}", f"c\t{good}", f"d\t{good}"]
    lines = [",".join(f'"{x.replace(chr(34), chr(34) * 2)}"' for x in r.split("\t")) for r in rows]
    with gzip.open(tmp_path / "carbon24_val.csv.gz", "wt") as stream:
        stream.write("\n".join(lines))
    table = read_split("carbon24", "val", data_dir=tmp_path, limit=2)
    assert table.ids == ["a", "c"]
    assert table.skipped == [("b", "KeyError: 'species'")]


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'qm9'; known: perov5"):
        read_split("qm9", "val", data_dir=tmp_path)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        read_split("mp20", "dev", data_dir=tmp_path)
    with pytest.raises(MissingDataset, match=r"mp20_val\.csv\.gz"):
        read_split("mp20", "val", data_dir=tmp_path)
    (tmp_path / "labels.csv").write_text("name,value\na,1\n")
    with pytest.raises(ValueError, match="columns id and value"):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.data
@pytest.mark.parametrize("dataset", list(LABELS))
def test_real_rows_are_all_read_alike_as_split_and_as_source(data_dir: Path, dataset: str) -> None:
    split = read_split(dataset, "val", data_dir=data_dir, limit=200)
    source = read_source(data_dir / f"{dataset}_val.csv.gz", limit=200)
    assert split.skipped == source.skipped == []
    assert (split.ids, split.formulas, split.sha256) == (
        source.ids,
        source.formulas,
        source.sha256,
    )


@pytest.mark.data
@pytest.mark.parametrize("dataset", ["carbon24", "mp20"])
def test_real_crystals_keep_their_form_when_moved_and_reordered(
    data_dir: Path, dataset: str
) -> None:
    rng = np.random.default_rng(0)
    matcher = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, scale=False)
    for i, crystal in enumerate(read_split(dataset, "val", data_dir=data_dir, limit=200).crystals):
        order = rng.permutation(len(crystal.numbers))
        shift = rng.random(3)
        moved = Crystal(crystal.numbers[order], crystal.frac[order] + shift, crystal.cell)
        form, again = canonical(crystal), canonical(moved)
        np.testing.assert_array_equal(form.numbers, again.numbers)
        difference = form.frac - again.frac
        # Symmetric crystals have several equal origins, equal within the grid of the order.
        np.testing.assert_allclose(difference - np.rint(difference), 0, atol=0.02)
        if i % 10 == 0:
            before, _ = structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)
            after, _ = structure_from_arrays(form.numbers, form.frac, form.cell)
            assert matcher.fit(before, after)


@pytest.mark.data
def test_distances_of_real_skewed_cells_equal_pymatgen(data_dir: Path, tmp_path: Path) -> None:
    table = read_split("carbon24", "val", data_dir=data_dir)
    skew = [float(np.abs(crystal.cell[3:] - 90).sum()) for crystal in table.crystals]
    rows = [*np.argsort(skew)[-100:].tolist(), table.ids.index("C-145355-492-14")]
    for _ in range(2):  # computed, then from the cache
        tensors = cached_tensors(table, rows, tmp_path)
        for i, n in enumerate(tensors.n_atoms.tolist()):
            form = canonical(table.crystals[rows[i]])
            structure, _ = structure_from_arrays(form.numbers, form.frac, form.cell)
            assert isinstance(structure, Structure)
            other = ~torch.eye(n, dtype=torch.bool)
            np.testing.assert_allclose(
                tensors.distances[i, :n, :n][other],
                structure.distance_matrix[other.numpy()],
                atol=2e-5,
            )
