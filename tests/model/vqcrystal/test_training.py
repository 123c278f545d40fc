"""The switch: the product's trainer, checkpoint and generator with the published network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure

from model.codes import CrystalCodes
from model.generator import Generator
from model.metrics.reconstruction import reconstruction
from model.settings import HeadConfig, LossWeights, TrainConfig
from model.training import EpochReport, train
from model.vqcrystal.network import VQCrystalNetwork
from model.vqcrystal.settings import VQCrystalConfig

CONFIG = TrainConfig(
    name="published",
    architecture="vqcrystal",
    epochs=16,
    batch_size=16,
    learning_rate=1e-2,
    validate_rows=8,
    losses=LossWeights(coordinates=30),
    vqcrystal=VQCrystalConfig(
        max_atoms=8,
        width=16,
        heads=2,
        local_blocks=1,
        decoder_blocks=1,
        code_dim=8,
        local_codes=16,
        global_codes=16,
        global_levels=4,
    ),
    head=HeadConfig(width=8, members=2, epochs=2),
    prior=None,
)


@pytest.fixture(scope="module")
def trained(
    tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[EpochReport]]:
    """A checkpoint trained once, and the reports of its epochs."""
    reports: list[EpochReport] = []
    out = tmp_path_factory.mktemp("out") / "published"
    train(CONFIG, data_dir=tiny_data, out=out, on_epoch=reports.append)
    return out, reports


def test_one_switch_trains_the_published_network(
    trained: tuple[Path, list[EpochReport]],
) -> None:
    out, reports = trained
    generator = Generator.load(out)
    assert isinstance(generator.model, VQCrystalNetwork)
    assert set(reports[-1].losses) - {"total"} == {
        "species",
        "coordinates",
        "lattice",
        "commitment",
        "count",
        "properties",
    }
    for name in ("species", "coordinates", "lattice"):
        assert reports[-1].losses[name] < 0.7 * reports[0].losses[name], name


def test_the_checkpoint_encodes_decodes_and_is_searched(
    trained: tuple[Path, list[EpochReport]], tiny_data: Path, perovskites: list[Structure]
) -> None:
    generator = Generator.load(trained[0])
    codes, refused = generator.encode([perovskites[0], perovskites[2]])  # SrTiO3, KNbO3
    assert isinstance(codes, CrystalCodes)
    assert not isinstance(refused, CrystalCodes)  # no potassium in the tiny data
    assert codes.species == ()
    sizes = generator.gene_sizes(codes)
    assert sizes == (16,) * 4
    rng = np.random.default_rng(0)
    drawn = [codes.with_global_genes(rng.integers(0, sizes).tolist()) for _ in range(8)]
    assert all(len(d.structure or "12345") == 5 for d in generator.decode(drawn))
    with pytest.raises(ValueError, match="allowed are 0 to 15"):
        generator.decode([codes.with_global_genes([16, 0, 0, 0])])
    assert generator.features([codes, *drawn]).shape == (9, generator.head.n_features)
    assert len(generator.bank.donors(codes)) == 96
    row = int(generator.bank.rows("val")[0])
    again = generator.bank.codes(row)
    assert again.species == ()
    result = reconstruction(generator, dataset="perov5", split="test", data_dir=tiny_data)
    assert result["n"] == 24
    assert result["composition_accuracy"] > 0.2
