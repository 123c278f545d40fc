"""Latent space: components against sklearn, symmetry against pymatgen, codes by counting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from pymatgen.symmetry.groups import SpaceGroup
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples

from model.data.canonical import crystal_from_structure
from model.generator import Generator
from model.metrics import latent as module
from model.metrics.latent import (
    code_vectors,
    evaluate_latent,
    perplexities,
    principal_components,
)
from model.metrics.probe import ProbeResult
from model.metrics.symmetry import crystal_system, silhouettes, space_group
from model.networks.indices import CodeIndices


def test_components_are_those_of_sklearn() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 5)) * [4, 3, 2, 1, 0.5]
    found, share = principal_components(vectors, 3)
    reference = PCA(3).fit(vectors)
    assert np.abs(found) == pytest.approx(np.abs(reference.transform(vectors)))
    assert share == pytest.approx(reference.explained_variance_ratio_)


def test_slots_that_few_crystals_use_do_not_rule_the_picture() -> None:
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(500, 12)))
    vectors[:, 4:8] *= 0.05  # a species slot that two crystals use
    vectors[:2, 4:8] = 3.0
    balanced = module._balanced(vectors, crystal_width=4)
    spread = balanced.square().sum(0)
    assert spread[:8].sum().item() == pytest.approx(spread[8:].sum().item())
    found, _ = principal_components(balanced.numpy(), 1)
    assert np.abs(found[:2]).max() < 3 * np.abs(found[2:]).max()
    standardised, _ = principal_components(((vectors - vectors.mean(0)) / vectors.std(0)).numpy())
    assert np.abs(standardised[:2, 0]).max() > 3 * np.abs(standardised[2:, 0]).max()


def test_space_groups_are_those_of_pymatgen(perovskites: list[Structure]) -> None:
    lattice = Lattice.from_parameters(5.4, 5.5, 7.7, 90, 90, 90)
    odd = Structure(lattice, ["Sr", "Ti", "O"], [[0.1, 0.2, 0.3], [0.5, 0.4, 0.9], [0.3, 0.8, 0.1]])
    for structure in (*perovskites, odd):
        expected = SpacegroupAnalyzer(structure, symprec=0.1).get_space_group_number()
        assert space_group(crystal_from_structure(structure)) == expected


def test_crystal_systems_are_those_of_pymatgen() -> None:
    for number in (1, 2, 3, 15, 16, 74, 75, 142, 143, 167, 168, 194, 195, 230):
        expected = SpaceGroup.from_int_number(number).crystal_system
        assert crystal_system(number) == expected


def test_silhouettes_are_large_where_symmetry_decides_and_none_where_nothing_does() -> None:
    rng = np.random.default_rng(1)
    groups = [221] * 20 + [62] * 20 + [None] * 3
    vectors = rng.normal(0, 0.1, (43, 4)) + np.repeat([0.0, 5.0, 9.0], [20, 20, 3])[:, None]
    codes = rng.integers(0, 8, (43, 6))
    result = silhouettes(vectors, codes, groups, seed=0)
    names = ["cubic"] * 20 + ["orthorhombic"] * 20
    assert result["n"] == 40
    assert result["classes"]["space_group"] == {"221": 20, "62": 20}
    expected = silhouette_samples(vectors[:40], names).mean()
    assert result["vectors"]["crystal_system"] == pytest.approx(expected)
    assert expected > 0.9
    assert abs(result["codes"]["space_group"]) < 0.1
    alone = silhouettes(vectors[:20], codes[:20], groups[:20], seed=0)
    assert alone["vectors"]["space_group"] is None


def test_code_vectors_are_what_the_decoder_sees(generator: Generator) -> None:
    codes = [generator.bank.codes(i) for i in range(12)]
    vectors, local = code_vectors(generator, codes)
    for row, own in enumerate(codes):
        seen = generator.model.vectors(CodeIndices.from_codes([own], generator.model.species_slots))  # type: ignore[operator]
        expected = torch.cat([seen.species.flatten(1), seen.crystal], -1)[0]
        assert torch.allclose(vectors[row], expected)
        per_atom = torch.cat([seen.role, seen.axes.flatten(-2)], -1)[0]
        assert torch.allclose(local[row], per_atom.mean(0), atol=1e-6)


def test_perplexity_is_the_effective_number_of_codes(generator: Generator) -> None:
    result = perplexities(generator)
    first = np.array(
        [generator.bank.codes(int(r)).crystal[0] for r in generator.bank.rows("train")]
    )
    share = np.bincount(first) / len(first)
    share = share[share > 0]
    assert result["crystal.0"]["perplexity"] == pytest.approx(np.prod(share**-share))
    assert result["crystal.0"]["used"] == len(share)
    assert result["crystal.0"]["size"] == generator.model.config.crystal_codes
    assert len(result) == sum(
        (
            generator.model.config.species_levels,
            generator.model.config.crystal_levels,
            len(generator.model.local_sizes),
        )
    )


def test_a_split_is_described_with_points_to_draw(
    generator: Generator, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def quick(*columns: torch.Tensor, seed: int) -> ProbeResult:
        steps.append([len(c) for c in columns])
        return ProbeResult(0.5, 0.1, 3)

    monkeypatch.setattr(module, "probe", quick)
    figures, points = evaluate_latent(
        generator, dataset="perov5", split="test", data_dir=tiny_data, seed=1
    )
    trained = len(generator.bank.rows("train"))
    assert steps == [[trained, trained, 24, 24]] * 3
    assert set(figures["probes"]["formation_energy_per_atom@castelli2012"]) == {
        "global",
        "local",
        "both",
    }
    assert len(points) == figures["n"] == 24
    assert sum(figures["explained_variance"]) <= 1 + 1e-9
    assert points[0]["formation_energy_per_atom@castelli2012"] is None  # "heatmatch": no label
    json.dumps([figures, points], allow_nan=False)
