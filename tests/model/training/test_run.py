"""Training on a tiny data set: repeatable, learning, writing what can be loaded."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.errors import InvalidConfig, MissingDataset
from model.generator import Generator
from model.metrics.reconstruction import reconstruction
from model.settings import DataConfig
from model.training import EpochReport, TrainConfig, load_train_config, train


@pytest.fixture(scope="module")
def first(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[EpochReport]]:
    """A checkpoint trained once, and the reports of its epochs."""
    reports: list[EpochReport] = []
    labels = tmp_path_factory.mktemp("labels") / "extra.csv"
    labels.write_text("id,value\n" + "\n".join(f"m{i},{i / 10}" for i in range(0, 90, 2)) + "\n")
    config = tiny_config.model_copy(
        update={"extra_labels": {"formation_energy_per_atom@x": labels}}
    )
    out = tmp_path_factory.mktemp("out") / "tiny"
    train(config, data_dir=tiny_data, out=out, on_epoch=reports.append)
    return out, reports


def test_losses_fall_and_epochs_are_reported(first: tuple[Path, list[EpochReport]]) -> None:
    _, reports = first
    assert [r.epoch for r in reports] == [1, 2, 3, 4]
    assert reports[-1].losses["total"] < 0.8 * reports[0].losses["total"]
    assert reports[-1].losses["coordinates"] < reports[0].losses["coordinates"]
    assert len(reports[-1].perplexity["species"]) == 2
    assert "epoch 4/4" in str(reports[-1])
    assert [r.validation is not None for r in reports] == [False, True, True, True]
    assert reports[0].learning_rate > reports[-1].learning_rate
    assert reports[-1].seconds_left == 0


def test_the_card_tells_the_training(first: tuple[Path, list[EpochReport]]) -> None:
    out, reports = first
    told = json.loads((out / "card.json").read_text())["training"]
    assert told["losses"]["total"] == pytest.approx([r.losses["total"] for r in reports], rel=1e-3)
    assert told["perplexity"]["species"][1] == pytest.approx(
        [r.perplexity["species"][1] for r in reports], rel=1e-3
    )
    assert [v["epoch"] for v in told["validation"]] == [2, 3, 4]
    assert told["best_epoch"] == max(r.epoch for r in reports if r.best)
    assert told["precision"] == "float32"
    assert told["resumed_after"] == []


def test_the_checkpoint_holds_both_splits_and_all_labels(
    first: tuple[Path, list[EpochReport]], tiny_data: Path
) -> None:
    generator = Generator.load(first[0])
    assert len(generator.bank.rows("train")) == 96
    assert len(generator.bank.rows("val")) == 24
    assert generator.head.targets == [
        "formation_energy_per_atom@castelli2012",
        "formation_energy_per_atom@x",
    ]
    castelli = generator.bank.properties["formation_energy_per_atom@castelli2012"]
    np.testing.assert_array_equal(np.isnan(castelli[:6]), [1, 0, 0, 1, 0, 0])
    extra = generator.bank.properties["formation_energy_per_atom@x"]
    np.testing.assert_allclose(extra[:5], [0.0, np.nan, 0.2, np.nan, 0.4], atol=1e-6)
    result = reconstruction(generator, dataset="perov5", split="test", data_dir=tiny_data)
    assert result["n"] == 24
    assert 0 <= result["match_rate"] <= result["composition_accuracy"] <= 1


def test_one_seed_gives_one_result_and_leaves_the_global_ones(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(11 if name == "a" else 12)
        before = torch.random.get_rng_state()
        others = random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index]
        config = tiny_config.model_copy(update={"epochs": 2, "seed": seed})
        train(config, data_dir=tiny_data, out=tmp_path / name)
        assert torch.equal(before, torch.random.get_rng_state())
        assert others[0] == random.getstate()
        np.testing.assert_array_equal(others[1], np.random.get_state()[1])  # type: ignore[index]
        runs.append(tmp_path / name)
    a, b, c = (load_file(run / "model.safetensors") for run in runs)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], c[key]) for key in a)
    assert Generator.load(runs[0]).head.version == Generator.load(runs[1]).head.version


def test_an_existing_checkpoint_is_replaced_only_at_the_end(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "kept"
    out.mkdir()
    (out / "card.json").write_text("old")

    def interrupt(report: EpochReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_config, data_dir=tiny_data, out=out, on_epoch=interrupt)
    assert (out / "card.json").read_text() == "old"


def test_own_crystals_are_trained_on_wherever_their_files_lie(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    def config(folder: Path) -> TrainConfig:
        data = DataConfig(
            train=folder / "perov5_train.csv.gz",
            val=folder / "perov5_val.csv.gz",
            labels={"distortion@own": "e_form_castelli_eV_per_cell"},
        )
        changes = {"dataset": "own", "data": data, "epochs": 2, "limit": 40}
        return tiny_config.model_copy(update=changes)

    def interrupt(report: EpochReport) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train(config(tiny_data), data_dir=tmp_path, out=out, on_epoch=interrupt)
    moved = shutil.copytree(tiny_data, tmp_path / "moved")
    reports: list[EpochReport] = []
    train(config(moved), data_dir=tmp_path, out=out, on_epoch=reports.append)
    assert [r.epoch for r in reports] == [2]
    generator = Generator.load(out)
    assert generator.card["data"]["targets"] == ["distortion@own"]
    assert generator.card["data"]["n"] == {"train": 40, "val": 24}
    assert generator.card["metrics"]["reconstruction"]["n"] == 24
    assert generator.card["config"]["data"]["train"] == "perov5_train.csv.gz"
    assert "moved" not in (out / "card.json").read_text()


def test_crystals_without_labels_make_a_generator_without_predictions(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    files = (tiny_data / f"perov5_{split}.csv.gz" for split in ("train", "val"))
    data = DataConfig(train=next(files), val=next(files))
    changes = {"dataset": "own", "data": data, "epochs": 2, "limit": 40}
    out = train(tiny_config.model_copy(update=changes), data_dir=tmp_path, out=tmp_path / "out")
    generator = Generator.load(out)
    assert generator.head.targets == []
    codes = [generator.bank.codes(0)]
    assert generator.head.predict(generator.features(codes)) == {}
    assert generator.decode(codes)[0].structure is not None


def test_wrong_configurations_are_refused(tiny_config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    cases = {
        "name: x\nepoch: 3\n": "epoch: Extra inputs",
        "name: x\nmodel: {width: 30, heads: 4}\n": "multiple of heads",
        "name: x\ndataset: mp21\n": "dataset",
        "name: x\ndataset: own\n": "need both",
        "name: x\ndata: {train: a.cif, val: b.cif}\n": "need both",
        "[1, 2]": "expected a mapping",
        "a: [": "not valid YAML",
    }
    for text, reason in cases.items():
        path.write_text(text)
        with pytest.raises(InvalidConfig, match=reason):
            load_train_config(path)
    with pytest.raises(InvalidConfig, match="there is no"):
        load_train_config(tmp_path / "none.yaml")
    with pytest.raises(MissingDataset, match="perov5_train"):
        train(tiny_config, data_dir=tmp_path, out=tmp_path / "out")


def test_the_shipped_configuration_is_valid() -> None:
    from importlib import resources

    with resources.as_file(resources.files("configs") / "model" / "perov5.yaml") as path:
        assert load_train_config(path).name == "perov5"
