"""The shipped generator: encode, decode, search space, errors per item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from model.codes import CrystalCodes
from model.data.dataset import read_split
from model.generator import EncodingError, Generator
from model.property.head_training import property_metrics


def _codes(generator: Generator, structures: list[Structure]) -> list[CrystalCodes]:
    codes = generator.encode(structures)
    assert all(isinstance(c, CrystalCodes) for c in codes)
    return [c for c in codes if isinstance(c, CrystalCodes)]


def test_known_perovskites_come_back(generator: Generator, perovskites: list[Structure]) -> None:
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    decoded = generator.decode(_codes(generator, perovskites))
    for original, item in zip(perovskites, decoded):
        assert item.error is None
        assert item.structure is not None
        assert item.structure.composition == original.composition
        distance = matcher.get_rms_dist(original, item.structure)
        assert distance is not None
        assert distance[0] < 0.05
        assert item.structure.volume == pytest.approx(original.volume, rel=0.1)


def test_the_way_a_crystal_is_written_does_not_matter(
    generator: Generator, perovskites: list[Structure]
) -> None:
    rng = np.random.default_rng(0)
    rewritten = []
    for structure in perovskites:
        order = rng.permutation(len(structure))
        shift = rng.random(3)
        species = [structure[int(i)].specie for i in order]
        rewritten.append(
            Structure(structure.lattice, species, structure.frac_coords[order] + shift)
        )
    first, second = generator.encode(perovskites), generator.encode(rewritten)
    assert [c.species for c in first] == [c.species for c in second]
    assert [c.crystal for c in first] == [c.crystal for c in second]
    assert [sorted(c.local) for c in first] == [sorted(c.local) for c in second]


def test_batches_give_what_single_items_give(
    generator: Generator, perovskites: list[Structure]
) -> None:
    together = _codes(generator, perovskites)
    assert together == [generator.encode([s])[0] for s in perovskites]
    volumes = [d.structure.volume for d in generator.decode(together) if d.structure]
    single = [generator.decode([c])[0].structure.volume for c in together]
    np.testing.assert_allclose(volumes, single, rtol=1e-4)
    assert generator.encode([]) == []
    assert generator.decode([]) == []
    assert generator.features([]).shape == (0, generator.head.n_features)


def test_what_cannot_be_encoded_says_why_and_spares_the_rest(
    generator: Generator, perovskites: list[Structure]
) -> None:
    lattice = Lattice.cubic(4)
    spread = np.linspace(0, 0.9, 10)[:, None] * [1, 1, 1]
    bad = {
        "10 atoms": Structure(lattice, ["Sr"] * 10, spread),
        "1 atoms": Structure(lattice, ["Sr"], [[0, 0, 0]]),
        "atomic numbers \\[94\\]": Structure(lattice, ["Pu", "Ti", "O", "O", "O"], spread[:5]),
        "partial occupancies": Structure(lattice, [{"Sr": 0.5, "Ba": 0.5}] * 5, spread[:5]),
    }
    result = generator.encode([perovskites[0], *bad.values(), perovskites[1]])
    expected = _codes(generator, perovskites[:2])
    assert [result[0], result[-1]] == expected
    for reason, item in zip(bad, result[1:-1]):
        assert isinstance(item, EncodingError)
        assert reason.replace("\\", "") in item.reason
    limited = Generator.load("perov5")
    limited.model.config = limited.model.config.model_copy(update={"max_species": 2})
    item = limited.encode([perovskites[0]])[0]
    assert isinstance(item, EncodingError)
    assert "3 distinct elements" in item.reason


def test_gene_sizes_are_the_codebooks(generator: Generator, perovskites: list[Structure]) -> None:
    codes = _codes(generator, perovskites[:1])[0]
    sizes = generator.gene_sizes(codes)
    config = generator.card["config"]["model"]
    species = [config["species_codes"]] * (3 * config["species_levels"])
    assert list(sizes) == species + [config["crystal_codes"]] * config["crystal_levels"]
    assert len(sizes) == len(codes.global_genes)
    extreme = codes.with_global_genes([s - 1 for s in sizes])
    assert len(generator.decode([extreme])) == 1
    for position, size in enumerate(sizes):
        genes = list(codes.global_genes)
        genes[position] = size
        with pytest.raises(ValueError, match=f"gene {position} is {size}"):
            generator.decode([codes, codes.with_global_genes(genes)])
    local = CrystalCodes(codes.species, codes.crystal, ((0, 0, 0, 10_000), *codes.local[1:]))
    with pytest.raises(ValueError, match="10000"):
        generator.features([local])
    with pytest.raises(ValueError, match="global genes"):
        generator.decode([CrystalCodes(codes.species, codes.crystal[:1], codes.local)])


def test_any_genes_decode_without_an_exception(
    generator: Generator, perovskites: list[Structure]
) -> None:
    rng = np.random.default_rng(5)
    base = _codes(generator, perovskites[:1])[0]
    sizes = generator.gene_sizes(base)
    wild = [base.with_global_genes([int(rng.integers(s)) for s in sizes]) for _ in range(300)]
    for item in generator.decode(wild):
        assert (item.structure is None) != (item.error is None)
        if item.structure is not None:
            assert np.isfinite(item.structure.volume)


def test_an_unbuildable_cell_is_an_error_of_its_item(perovskites: list[Structure]) -> None:
    broken = Generator.load("perov5")
    codes = _codes(broken, perovskites[:2])
    broken.model.lattice.scale.fill_(float("nan"))
    for item in broken.decode(codes):
        assert item.structure is None
        assert item.error is not None
        assert "not finite" in item.error


def test_global_genes_from_donors_give_new_compositions(generator: Generator) -> None:
    rng = np.random.default_rng(0)
    distinct, far = [], []
    for row in rng.choice(generator.bank.rows("val"), 20, replace=False):
        base = generator.bank.codes(int(row))
        donors = rng.choice(generator.bank.donors(base), 64)
        genes = [generator.bank.codes(int(d)).global_genes for d in donors]
        decoded = generator.decode([base.with_global_genes(g) for g in genes])
        structures = [d.structure for d in decoded if d.structure is not None]
        distinct.append(len({s.composition.formula for s in structures}))
        for s in structures:
            far.append(s.distance_matrix[~np.eye(len(s), dtype=bool)].min() > 0.5)
        assert all(len(s) == base.n_atoms for s in structures)
    assert np.mean(distinct) >= 55
    assert np.mean(far) >= 0.99


def test_the_head_predicts_crystals_it_never_saw(generator: Generator) -> None:
    bank = generator.bank
    rows = bank.rows("val")[:1500]
    features = generator.features([bank.codes(int(i)) for i in rows])
    labels = {k: torch.tensor(v[rows]).float() for k, v in bank.properties.items()}
    metrics = property_metrics(generator.head, features, labels)
    assert set(metrics) == {
        "formation_energy_per_atom@castelli2012",
        "formation_energy_per_atom@chgnet-0.3.0",
    }
    for figures in metrics.values():
        assert figures["r2"] > 0.93
        assert 0.9 <= figures["coverage_95"] <= 0.99


@pytest.mark.data
def test_the_test_split_is_reconstructed(generator: Generator, data_dir: Path) -> None:
    from model.metrics.reconstruction import reconstruction

    result = reconstruction(generator, dataset="perov5", split="test", data_dir=data_dir, limit=100)
    assert result["n"] == 100
    assert result["match_rate"] >= 0.99
    assert result["rms"] <= 0.02
    # The same with a loop of our own over pymatgen objects.
    table = read_split("perov5", "test", data_dir=data_dir, limit=100)
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    originals = [
        Structure(Lattice.from_parameters(*c.cell), c.numbers, c.frac) for c in table.crystals
    ]
    decoded = generator.decode(_codes(generator, originals))
    found = [matcher.get_rms_dist(a, b.structure) for a, b in zip(originals, decoded)]
    matched = [f[0] for f in found if f is not None]
    assert result["match_rate"] == len(matched) / 100
    assert result["rms"] == pytest.approx(np.mean(matched), abs=1e-4)


@pytest.mark.data
def test_held_out_crystals_are_not_in_the_training_rows(
    generator: Generator, data_dir: Path
) -> None:
    bank = generator.bank
    for role in ("train", "val"):
        table = read_split("perov5", role, data_dir=data_dir)
        assert generator.card["data"]["sha256"][role] == table.sha256
        assert bank.ids[bank.rows(role)].tolist() == table.ids
        assert bank.formulas[bank.rows(role)].tolist() == table.formulas
