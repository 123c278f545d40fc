"""Checkpoints: what is damaged or does not belong together is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save

from model.bank import CodeBank
from model.checkpoint import SHIPPED
from model.errors import CheckpointError, CorruptCheckpoint, MissingCheckpoint
from model.generator import Generator


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "perov5", tmp_path / "copy"))


def _sign(folder: Path) -> None:
    """Make the card agree with the files, so that only their content is wrong."""
    import hashlib

    card = json.loads((folder / "card.json").read_text())
    for name in card["files"]:
        card["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def test_a_copy_loads_by_path_as_the_same_version(copy: Path, generator: Generator) -> None:
    assert Generator.load(copy).version == generator.version
    assert len(generator.version) == 12


def test_another_bank_is_another_version(copy: Path, generator: Generator) -> None:
    bank = CodeBank.load(copy / "bank.npz")
    bank.role[bank.rows("train")[0]] = "val"  # no base, no donor and no known crystal any more
    bank.save(copy / "bank.npz")
    _sign(copy)
    other = Generator.load(copy)
    assert len(other.bank.rows("train")) == len(generator.bank.rows("train")) - 1
    assert other.version != generator.version
    assert other.head.version == generator.head.version


def test_another_head_is_the_same_generator(copy: Path, generator: Generator) -> None:
    tensors = load((copy / "head.safetensors").read_bytes())
    with safe_open(copy / "head.safetensors", framework="np") as opened:
        metadata = opened.metadata()
    name = next(n for n, value in tensors.items() if value.dtype == np.float32 and value.size > 10)
    tensors[name] = tensors[name] * np.float32(1.01)
    (copy / "head.safetensors").write_bytes(save(tensors, metadata=metadata))
    _sign(copy)
    other = Generator.load(copy)
    assert other.head.version != generator.head.version
    assert other.version == generator.version


@pytest.mark.parametrize("key", ["elements", "atom_counts"])
def test_what_it_encodes_is_part_of_the_version(copy: Path, generator: Generator, key: str) -> None:
    card = json.loads((copy / "card.json").read_text())
    card[key] = card[key][:-1] if key == "elements" else [4, 5]
    (copy / "card.json").write_text(json.dumps(card))
    assert Generator.load(copy).version != generator.version


def test_missing_checkpoint_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match=r"'mp21'.*perov5"):
        Generator.load("mp21")
    with pytest.raises(MissingCheckpoint):
        Generator.load(tmp_path)


def _flip_byte(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))


def _truncate_head(folder: Path) -> None:
    path = folder / "head.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    _sign(folder)


def _lose_bank(folder: Path) -> None:
    (folder / "bank.npz").unlink()


def _break_card(folder: Path) -> None:
    (folder / "card.json").write_text("{")


def _other_format(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "format": "other"}))


def _other_config(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    card["config"]["model"]["width"] = 32
    (folder / "card.json").write_text(json.dumps(card))


def _infinite_weight(folder: Path) -> None:
    tensors = load((folder / "model.safetensors").read_bytes())
    name = "decoder.slot.bias"
    tensors[name] = np.full_like(tensors[name], np.inf)
    (folder / "model.safetensors").write_bytes(save(tensors))
    _sign(folder)


def _lost_tensor(folder: Path) -> None:
    tensors = load((folder / "model.safetensors").read_bytes())
    del tensors["decoder.slot.bias"]
    (folder / "model.safetensors").write_bytes(save(tensors))
    _sign(folder)


@pytest.mark.parametrize(
    "damage",
    [
        _flip_byte,
        _truncate_head,
        _lose_bank,
        _break_card,
        _other_format,
        _other_config,
        _infinite_weight,
        _lost_tensor,
    ],
)
def test_damage_is_refused(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy)
    with pytest.raises(CorruptCheckpoint) as caught:
        Generator.load(copy)
    assert isinstance(caught.value, CheckpointError)
