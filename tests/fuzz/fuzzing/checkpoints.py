"""Targets: checkpoints of our generators: weights, cards, code banks, states of a training."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

from fuzzing.published import TORCH, cards, with_card
from fuzzing.target import Target, saved
from model.bank import CorruptBank
from model.errors import CheckpointError
from model.prior.storage import CorruptPrior
from model.property.head_format import CorruptHead
from model.training.state import UnusableState


@cache
def _heads() -> tuple[bytes, ...]:
    from model.property.head import PropertyHead

    targets = ["band_gap@pbe", "formation_energy_per_atom@pbe"]
    return (PropertyHead(4, targets, width=8, members=2).to_bytes(),)


def _read_head(data: bytes, folder: Path) -> object:
    from model.property.head import PropertyHead

    return PropertyHead.from_bytes(data)


@cache
def _priors() -> tuple[bytes, ...]:
    import torch

    from model.prior.code_prior import CodePrior
    from model.prior.network import PriorNetwork
    from model.prior.neutrality import oxidation_states
    from model.prior.settings import PriorConfig, Temperatures
    from model.prior.tables import NetworkTables, element_features, element_order

    tables = NetworkTables(
        role_slot=torch.zeros(1, 2, dtype=torch.long),
        token_element=torch.tensor([[38, 22], [8, 8]]),
        token_seen=torch.ones(2, 2, dtype=torch.bool),
        axis_coordinate=torch.arange(2) / 2,
        element_order=element_order(),
        element_features=element_features(),
        oxidation_states=oxidation_states(),
        crystal_codes=torch.tensor([2]),
        crystal_levels=torch.tensor([1]),
        max_atoms=torch.tensor([2]),
    )
    config = PriorConfig(
        width=16, heads=2, blocks=1, expansion=2, dropout=0.0, sampling=Temperatures()
    )
    prior = CodePrior(PriorNetwork(config, tables), tables, config, card={"rows": {}})
    return (prior.to_bytes(),)


def _read_prior(data: bytes, folder: Path) -> object:
    from model.prior.code_prior import CodePrior

    return CodePrior.from_bytes(data)


@cache
def _banks() -> tuple[bytes, ...]:
    from model.checkpoint import SHIPPED

    bank = (SHIPPED / "carbon24" / "bank.npz").read_bytes()
    return (_fewer_rows(bank),)


def _fewer_rows(data: bytes) -> bytes:
    """Keep a few rows of every array, so that inputs are small."""
    import numpy as np

    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name][:4] for name in archive.files}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _read_bank(data: bytes, folder: Path) -> object:
    from model.bank import CodeBank

    return CodeBank.load(saved(data, folder, "bank.npz"))


def _shipped() -> Path:
    from model.checkpoint import SHIPPED

    return SHIPPED / "perov5"


def _read_generator(data: bytes, folder: Path) -> object:
    """Read a checkpoint whose card was changed; the digests in it are made to fit again."""
    from model.checkpoint import load_checkpoint

    return load_checkpoint(with_card(_shipped(), data, folder))


@cache
def _states() -> tuple[bytes, ...]:
    import torch

    from model.training import state

    buffer = io.BytesIO()
    content = {
        "format": state._FORMAT,
        "fingerprint": {"config": "a"},
        "training": {"epoch": 3, "network": {"w": torch.zeros(4)}},
    }
    torch.save(content, buffer)
    return (buffer.getvalue(),)


def _read_state(data: bytes, folder: Path) -> object:
    from model.training import state

    found = state.TrainingFolder(folder / "out")
    found.path.mkdir()
    (found.path / state._STATE).write_bytes(data)
    return found.load({"config": "a"})


TARGETS = (
    Target(
        "head",
        _heads,
        _read_head,
        (CorruptHead,),
        tokens=(b"F32", b"data_offsets", b'"width"'),
        weight=6,
    ),
    Target(
        "prior",
        _priors,
        _read_prior,
        (CorruptPrior,),
        tokens=(b"F32", b"I64", b'"width"'),
        largest=1 << 17,
        weight=3,
    ),
    Target(
        "bank",
        _banks,
        _read_bank,
        (CorruptBank,),
        tokens=(b"\x93NUMPY", b"'descr'", b"|O"),
        weight=5,
    ),
    Target(
        "generator-card",
        lambda: cards(_shipped())(),
        _read_generator,
        (CheckpointError,),
        seconds=30.0,
        weight=0.06,
    ),
    Target("training-state", _states, _read_state, (UnusableState,), tokens=TORCH, weight=4),
)
