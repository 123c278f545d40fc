"""Labelling a data set with a potential."""

from __future__ import annotations

import csv
import gzip
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from agents.relax.labels import label_dataset
from agents.tables import parse_structure

pytestmark = pytest.mark.data


def test_labels_equal_single_points_computed_one_by_one(chgnet, references, data_dir, tmp_path):
    out = tmp_path / "labels.csv.gz"
    assert label_dataset(chgnet, references, data_dir, out, limit=6) == 12
    labels = pd.read_csv(out, dtype={"id": str}).set_index("id").value
    rows = pd.read_csv(data_dir / "perov5_val.csv.gz", keep_default_na=False, dtype=str, nrows=6)
    for row in rows.itertuples():
        structure = parse_structure(row.structure)
        mu = {e: references[e].energy_per_atom for e in {s.specie.symbol for s in structure}}
        (result,) = chgnet.evaluate([structure])
        expected = (result.energy - sum(mu[s.specie.symbol] for s in structure)) / 5
        assert labels[row.material_id] == pytest.approx(expected, abs=1e-4)


def test_crystals_outside_the_domain_get_no_label(chgnet, references, tmp_path):
    cell = '"{""cell"":[3.3,3.3,3.3,90,90,90],""species"":[""%s""],""frac"":[[0,0,0]]}"'
    text = f"material_id,structure\nknown,{cell % 'Al'}\nunknown,{cell % 'Po'}\n"
    with gzip.open(tmp_path / "toy_train.csv.gz", "wt") as stream:
        stream.write(text)
    out = tmp_path / "labels.csv.gz"
    assert label_dataset(chgnet, references, tmp_path, out, dataset="toy", splits=["train"]) == 1
    assert list(pd.read_csv(out).id) == ["known"]


def test_the_same_labels_give_the_same_bytes(chgnet, references, data_dir, tmp_path):
    paths = [tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"]
    for path in paths:
        label_dataset(chgnet, references, data_dir, path, limit=2)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_layers_of_c2db_are_labelled_as_they_are_meant(tmp_path):
    frac = [[0.5, 0.288675, 0.5], [0.0, 0.57735, 0.6], [0.0, 0.57735, 0.4]]
    cell = [3.18, 3.18, 15.6, 90.0, 90.0, 120.0]
    layer = json.dumps({"cell": cell, "species": ["Mo", "S", "S"], "frac": frac})
    with gzip.open(tmp_path / "c2db_train.csv.gz", "wt") as stream:
        csv.writer(stream).writerows([["material_id", "structure"], ["a", layer]])
    bonds = []

    def energies(structures):
        bonds.extend(one.get_distance(0, 1) for one in structures)
        return np.zeros(len(structures))

    known = frozenset({"Mo", "S"})
    references = SimpleNamespace(elements=known, formation_energy_per_atom=lambda _, energy: energy)
    potential = SimpleNamespace(elements=known, energies=energies)
    label_dataset(
        potential, references, tmp_path, tmp_path / "out", dataset="c2db", splits=["train"]
    )
    assert bonds == pytest.approx([2.41], abs=0.01)
