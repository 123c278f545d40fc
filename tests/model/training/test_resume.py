"""A training that is interrupted, refused or broken off: nothing is lost and nothing mixed up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

import model.training.run
from model.networks.vqvae import CrystalVQVAE
from model.settings import TrainConfig
from model.training import EpochReport, train
from model.training.loop import NonFiniteLoss
from model.training.progress import Validation
from model.training.state import TrainingFolder, TrainingInProgress, UnusableState
from model.training.validation import ValidationSet


@pytest.fixture(scope="module")
def config(tiny_config: TrainConfig) -> TrainConfig:
    """Long enough that codes are still revived when it is interrupted."""
    return tiny_config.model_copy(update={"epochs": 6, "validate_every": 3})


@pytest.fixture(scope="module")
def uninterrupted(
    config: TrainConfig, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoint of a training in one go."""
    return train(config, data_dir=tiny_data, out=tmp_path_factory.mktemp("one") / "go")


def assert_same_bits(one: Path, other: Path) -> None:
    """Compare weights, head and bank of two checkpoints."""
    for name in ("model.safetensors", "head.safetensors"):
        a, b = load_file(one / name), load_file(other / name)
        assert a.keys() == b.keys()
        assert [key for key in a if not torch.equal(a[key], b[key])] == []
    with (
        np.load(one / "bank.npz", allow_pickle=False) as a,
        np.load(other / "bank.npz", allow_pickle=False) as b,
    ):
        assert set(a) == set(b)
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def stop(report: EpochReport) -> None:
    raise KeyboardInterrupt


def test_a_killed_process_is_continued_to_the_same_bits(
    config: TrainConfig, tiny_data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "discovery", "train", "--config", str(file), "--out", str(out)]
    environment = os.environ | {
        "DISCOVERY_DATA": str(tiny_data),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    history = tmp_path / "out.partial" / "history.jsonl"
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, env=environment, stderr=stderr)
        deadline = time.monotonic() + 120
        while not history.is_file() or len(history.read_text().splitlines()) < 2:
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()

    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "epoch 6/6" in done.stderr
    assert "epoch 2/6" not in done.stderr
    assert_same_bits(out, uninterrupted)
    (resumed,) = json.loads((out / "card.json").read_text())["training"]["resumed_after"]
    assert 2 <= resumed < 6
    assert not history.parent.exists()


def test_stopping_after_every_epoch_changes_no_bit(
    config: TrainConfig, tiny_data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for _ in range(config.epochs):
        with pytest.raises(KeyboardInterrupt):
            train(config, data_dir=tiny_data, out=out, on_epoch=stop)
    lines = (tmp_path / "out.partial" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 7))
    train(config, data_dir=tiny_data, out=out, on_epoch=stop)  # nothing but the assembly is left
    assert_same_bits(out, uninterrupted)


def test_a_failed_assembly_is_repeated_without_training(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config.model_copy(update={"epochs": 2})

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(model.training.run, "assemble", fail)
        with pytest.raises(OSError, match="disk full"):
            train(config, data_dir=tiny_data, out=tmp_path / "out")
    train(config, data_dir=tiny_data, out=tmp_path / "out", on_epoch=stop)
    assert (tmp_path / "out" / "card.json").is_file()


def test_another_configuration_or_other_data_are_refused_by_name(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(tiny_data, data)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config, data_dir=data, out=out, on_epoch=stop)

    other = tiny_config.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(UnusableState, match=r"config\.learning_rate was 0\.003 and is 0\.5"):
        train(other, data_dir=data, out=out, on_epoch=stop)
    shutil.copy(data / "perov5_test.csv.gz", data / "perov5_val.csv.gz")
    with pytest.raises(UnusableState, match=r"sha256\.val was \w{16} and is \w{16}") as refused:
        train(tiny_config, data_dir=data, out=out, on_epoch=stop)
    assert "sha256.train" not in str(refused.value)
    assert "config." not in str(refused.value)

    epochs: list[int] = []
    with pytest.raises(UnusableState):
        train(other, data_dir=data, out=out, on_epoch=lambda r: epochs.append(r.epoch))
    with pytest.raises(KeyboardInterrupt):
        train(other, data_dir=data, out=out, restart=True, on_epoch=stop)
    lines = (tmp_path / "out.partial" / "history.jsonl").read_text().splitlines()
    assert len(lines) == 1


def test_a_damaged_or_unsafe_state_is_refused(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    state = tmp_path / "out.partial" / "state.pt"
    state.parent.mkdir()
    state.write_bytes(b"torn")
    with pytest.raises(UnusableState, match="--restart"):
        train(tiny_config, data_dir=tiny_data, out=tmp_path / "out")
    torch.save({"format": torch.arange(10_000)}, state)
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    with pytest.raises(UnusableState, match="is damaged"):
        train(tiny_config, data_dir=tiny_data, out=tmp_path / "out")
    torch.save({"format": Path("/")}, state)  # any class at all
    with pytest.raises(UnusableState, match="cannot be read"):
        train(tiny_config, data_dir=tiny_data, out=tmp_path / "out")


def test_two_trainings_do_not_share_a_folder(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    folder = TrainingFolder(tmp_path / "out")
    with folder.locked(), pytest.raises(TrainingInProgress, match="another process"):
        train(tiny_config, data_dir=tiny_data, out=tmp_path / "out")
    assert not folder.path.exists()


def test_a_loss_that_is_not_a_number_stops_with_its_name(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = CrystalVQVAE.losses

    def broken(self: CrystalVQVAE, *args: object, discrete: bool) -> dict[str, Tensor]:
        result = losses(self, *args, discrete=discrete)  # type: ignore[arg-type]
        return {**result, "lattice": result["lattice"] / (0 if discrete else 1)}

    monkeypatch.setattr(CrystalVQVAE, "losses", broken)
    with pytest.raises(NonFiniteLoss, match=r"lattice = inf is not finite in epoch 2 of 4"):
        train(tiny_config, data_dir=tiny_data, out=tmp_path / "out")
    state = torch.load(tmp_path / "out.partial" / "state.pt", weights_only=True)
    assert state["training"]["epoch"] == 1
    assert all(value.isfinite().all() for value in state["training"]["network"].values())


def test_a_gradient_that_is_not_a_number_never_reaches_the_weights(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = CrystalVQVAE.losses

    def broken(self: CrystalVQVAE, *args: object, discrete: bool) -> dict[str, Tensor]:
        result = losses(self, *args, discrete=discrete)  # type: ignore[arg-type]
        return {**result, "role": (result["role"] * 0).sqrt()}  # 0, with an infinite slope

    monkeypatch.setattr(CrystalVQVAE, "losses", broken)
    with pytest.raises(NonFiniteLoss, match=r"gradient = nan is not finite in epoch 1"):
        train(tiny_config, data_dir=tiny_data, out=tmp_path / "out")


def test_the_checkpoint_has_the_weights_that_validated_best(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = iter([(0.5, 0.01), (0.75, 0.04), (0.75, 0.03), (0.75, 0.05), (0.5, 0.001)])
    monkeypatch.setattr(
        ValidationSet, "measure", lambda self, network: Validation(6, *next(verdicts))
    )
    weights: dict[int, dict[str, Tensor]] = {}

    def remember(report: EpochReport) -> None:
        state = torch.load(tmp_path / "out.partial" / "state.pt", weights_only=True)
        weights[report.epoch] = state["training"]["network"]

    config = tiny_config.model_copy(update={"epochs": 6, "validate_every": 1})
    train(config, data_dir=tiny_data, out=tmp_path / "out", on_epoch=remember)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    same = [e for e, w in weights.items() if all(torch.equal(w[key], saved[key]) for key in saved)]
    assert same == [4]
    assert json.loads((tmp_path / "out" / "card.json").read_text())["training"]["best_epoch"] == 4
