"""Training a screen: what it learns, and that a killed training gives the same weights."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from agents.screen.alignn import ALIGNN
from agents.screen.alignn_checkpoint import read_checkpoint
from agents.screen.alignn_network import ALIGNNShape
from agents.screen.training import train_screen
from agents.screen.training_data import (
    ScreenData,
    described,
    fit_linear_part,
    read_screen_data,
)
from agents.screen.training_loop import NonFiniteLoss, ScreenTraining
from agents.screen.training_settings import ScreenTrainConfig
from model.training.state import UnusableState

PROPERTIES = ("formation_energy_per_atom", "band_gap")
SHARES = {"Na": -1.5, "K": -1.0, "Cl": -2.0, "Br": -1.2}
CONFIG = ScreenTrainConfig(
    name="tiny",
    epochs=3,
    batch_size=8,
    learning_rate=5e-3,
    average_decay=0.9,
    save_every=3,
    shape=ALIGNNShape(hidden=16, embedding=8),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Salts: the energy is a sum over the elements plus a part that needs the bond length."""
    path = tmp_path_factory.mktemp("data") / "salts.csv.gz"
    random = np.random.default_rng(0)
    splits = ["train"] * 60 + ["val"] * 40 + ["test"] * 40
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "megnet_split", "structure", *PROPERTIES])
        for i, split in enumerate(splits):
            metal, halogen = str(random.choice(["Na", "K"])), str(random.choice(["Cl", "Br"]))
            a = float(random.uniform(3.6, 4.4))
            structure = {
                "cell": [a, a, a, 60, 60, 60],
                "species": [metal, halogen],
                "frac": [[0, 0, 0], [0.5, 0.5, 0.5]],
            }
            energy = (SHARES[metal] + SHARES[halogen]) / 2 + 2 * (a - 4)
            row = [f"s-{i}", split, json.dumps(structure), energy, 3 * (4.5 - a)]
            writer.writerow(row)
    return path


@pytest.fixture(scope="module")
def data(table: Path) -> ScreenData:
    return read_screen_data(table, PROPERTIES, CONFIG.shape.cutoff)


def trained(data: ScreenData, config: ScreenTrainConfig = CONFIG) -> ScreenTraining:
    training = ScreenTraining(config, data, device=torch.device("cpu"))
    while not training.finished:
        training.run_part()
    return training


def test_linear_part_finds_the_shares_of_the_elements(data: ScreenData) -> None:
    shares, scale = fit_linear_part(data.splits["train"])
    # every crystal is half metal, half halogen: only differences are defined
    assert shares[19, 0] - shares[11, 0] == pytest.approx(0.5, abs=0.25)
    assert shares[35, 0] - shares[17, 0] == pytest.approx(0.8, abs=0.25)
    assert shares[8].tolist() == [0, 0]
    assert scale[0] == pytest.approx(2 * 0.8 / 12**0.5, rel=0.2)


def test_network_learns_what_the_composition_does_not_say(data: ScreenData) -> None:
    training = trained(data, CONFIG.model_copy(update={"epochs": 30, "batch_size": 20}))
    last = training.history[-1].validation
    assert last is not None
    val = data.splits["val"]
    alone = (val.composition().float() @ training.network.linear - val.labels).abs().mean(dim=0)
    assert alone[0] == pytest.approx(0.4, abs=0.1)  # of 2 (a - 4) with a from 3.6 to 4.4
    assert last["formation_energy_per_atom"] < 0.65 * alone[0]


def test_best_epoch_is_kept_and_weights_are_averages(data: ScreenData) -> None:
    training = trained(data)
    validated = [r for r in training.history if r.validation]
    assert [r.epoch for r in validated] == [1, 2, 3]
    assert training.best is not None
    scaled = [
        np.mean([r.validation[p] / s for p, s in zip(PROPERTIES, training.network.scale.tolist())])
        for r in validated
        if r.validation
    ]
    assert training.best["epoch"] == 1 + int(np.argmin(scaled))
    weights = training.best_network().core.state_dict()
    raw = training.network.core.state_dict()
    assert not torch.equal(weights["fc.weight"], raw["fc.weight"])
    assert torch.equal(weights["fc.weight"], training.best["weights"]["fc.weight"])


def test_continued_training_equals_an_uninterrupted_one(data: ScreenData, tmp_path: Path) -> None:
    whole = trained(data)
    first = ScreenTraining(CONFIG, data, device=torch.device("cpu"))
    for _ in range(4):  # into the second epoch
        first.run_part()
    torch.save(first.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(99)
    second = ScreenTraining(CONFIG, data, device=torch.device("cpu"))
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert 0 < second.step < whole.step
    while not second.finished:
        second.run_part()
    assert second.resumed_at == [first.step]
    for name, value in whole.network.core.state_dict().items():
        assert torch.equal(value, second.network.core.state_dict()[name]), name
    assert whole.best is not None
    assert second.best is not None
    assert whole.best["error"] == second.best["error"]


def test_seed_decides(data: ScreenData) -> None:
    one_epoch = {"epochs": 1}
    first = trained(data, CONFIG.model_copy(update=one_epoch))
    again = trained(data, CONFIG.model_copy(update=one_epoch))
    other = trained(data, CONFIG.model_copy(update={**one_epoch, "seed": 1}))
    weights = [t.network.core.fc.weight for t in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_every_crystal_is_trained_on_once_an_epoch(data: ScreenData) -> None:
    training = ScreenTraining(CONFIG, data, device=torch.device("cpu"))
    seen: list[list[int]] = []
    for _ in range(2):
        rows: list[int] = []
        while True:
            batches = list(training._batches())
            rows += [row for batch in batches for row in batch]
            training.step += len(batches)
            if training.step % 8 == 0:  # 60 crystals in batches of 8
                break
        assert sorted(rows) == list(range(60))
        seen.append(rows)
    assert seen[0] != seen[1]


def test_loss_that_is_no_number_stops(data: ScreenData) -> None:
    training = ScreenTraining(CONFIG, data, device=torch.device("cpu"))
    training.network.core.fc.weight.data.fill_(torch.nan)
    with pytest.raises(NonFiniteLoss, match="step 1 of 24"):
        training.run_part()


def test_bfloat16_trains_too(data: ScreenData) -> None:
    training = trained(data, CONFIG.model_copy(update={"precision": "bfloat16", "epochs": 1}))
    assert all(v.dtype == torch.float32 for v in training.average.values())
    assert training.history[-1].validation is not None


def test_whole_training_with_its_card(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.screen.training.described", lambda _: described("mp2018_megnet"))
    out = tmp_path / "alignn"
    stages: list[str] = []
    stopped = train_screen(CONFIG, table=table, out=out, stop_after=1)
    assert stopped.training["epochs"] == 1
    assert (tmp_path / "alignn.partial" / "state.pt").exists()
    card = train_screen(CONFIG, table=table, out=out, on_stage=stages.append)
    assert stages == ["graphs", "network", "evaluation"]
    assert not (tmp_path / "alignn.partial").exists()
    assert card.training["resumed_at_steps"] == [8]
    assert card.training["epochs"] == 3
    assert card.version != stopped.version
    network, domain, read = read_checkpoint(out)
    assert read == card
    assert domain.largest == 2
    assert domain.unknown_elements(Structure(Lattice.cubic(4), ["Na", "O"], [[0] * 3, [0.5] * 3]))
    assert ALIGNN.load(out).version == card.version  # golden values are met
    direct = trained(read_screen_data(table, PROPERTIES, CONFIG.shape.cutoff))
    for name, value in direct.best_network().state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
    errors = card.errors["test"]
    assert errors.crystals == 40
    assert errors.mae["band_gap_at_least_0"] <= errors.mae["band_gap"]
    assert errors.rmse["band_gap"] >= errors.mae["band_gap"]
    with pytest.raises(ValueError, match="unknown data set"):
        described("somewhere")


def test_state_of_another_configuration_is_refused(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.screen.training.described", lambda _: described("mp2018_megnet"))
    train_screen(CONFIG, table=table, out=tmp_path / "a", stop_after=1)
    other = CONFIG.model_copy(update={"learning_rate": 1e-4})
    with pytest.raises(UnusableState, match=r"learning_rate was 0\.005 and is 0\.0001"):
        train_screen(other, table=table, out=tmp_path / "a")


_KILLED = """
import sys, time
from pathlib import Path
import agents.screen.training as training
from agents.screen.training_data import described
from agents.screen.training_settings import ScreenTrainConfig
training.described = lambda _: described("mp2018_megnet")
config = ScreenTrainConfig.model_validate_json(sys.argv[1])
training.train_screen(config, table=Path(sys.argv[2]), out=Path(sys.argv[3]),
                      on_report=lambda report: (print(report.step, flush=True), time.sleep(0.2)))
"""


@pytest.mark.chaos
def test_killed_training_continues(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: ScreenData
) -> None:
    monkeypatch.setattr("agents.screen.training.described", lambda _: described("mp2018_megnet"))
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, CONFIG.model_dump_json(), str(table), str(out)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 6:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.05)
    history = (tmp_path / "killed.partial" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in history[:2]] == [3, 6]
    card = train_screen(CONFIG, table=table, out=out)
    assert card.training["resumed_at_steps"] == [json.loads(history[-1])["step"]]
    network, _, _ = read_checkpoint(out)
    for name, value in trained(data).best_network().state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
