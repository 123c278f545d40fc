"""Checkpoints: a directory of safetensors, one JSON card and the code bank."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from model.bank import CodeBank, CorruptBank
from model.errors import CorruptCheckpoint, MissingCheckpoint
from model.networks.build import build_network
from model.networks.network import CodeNetwork
from model.prior.code_prior import CodePrior, CorruptPrior
from model.property.head import CorruptHead, PropertyHead
from model.settings import TrainConfig

SHIPPED = Path(__file__).parent / "checkpoints"
FORMAT = "discovery-generator-1"
_CARD, _WEIGHTS, _HEAD, _BANK = "card.json", "model.safetensors", "head.safetensors", "bank.npz"
_PRIOR = "prior.safetensors"
_CARD_KEYS = {"format", "name", "config", "data", "metrics", "elements", "atom_counts", "files"}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint directory holds; see `generator_version` for its version."""

    card: dict[str, Any]
    version: str
    model: CodeNetwork
    head: PropertyHead
    bank: CodeBank
    prior: CodePrior | None


def shipped_names() -> list[str]:
    """Return the names of the checkpoints that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{_CARD}"))


def resolve_checkpoint(name_or_path: str | Path) -> Path:
    """Return the directory of a shipped checkpoint ("perov5") or of a path.

    Raises:
        MissingCheckpoint: if neither exists; the message lists what does.
    """
    shipped = SHIPPED / str(name_or_path)
    for directory in (shipped, Path(name_or_path)):
        if (directory / _CARD).is_file():
            return directory
    raise MissingCheckpoint(
        f"there is no checkpoint {str(name_or_path)!r}; "
        f"shipped: {', '.join(shipped_names()) or 'none'}; "
        "or give the directory that `discovery train` wrote"
    )


def save_checkpoint(
    directory: Path,
    *,
    model: CodeNetwork,
    head: PropertyHead,
    bank: CodeBank,
    card: Mapping[str, Any],
    prior: CodePrior | None = None,
) -> Path:
    """Write a checkpoint; an existing one is replaced only when the new one is complete.

    Args:
        directory: where to.
        model: trained model.
        head: property head on its features.
        bank: codes made with it.
        card: all of the card but "format" and "files".
        prior: over the codes, where one was trained.

    Returns:
        `directory`.
    """
    partial = directory.with_name(f".{directory.name}.partial-{os.getpid()}")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    (partial / _WEIGHTS).write_bytes(save(tensors))
    (partial / _HEAD).write_bytes(head.to_bytes())
    bank.save(partial / _BANK)
    names = [_WEIGHTS, _HEAD, _BANK]
    if prior is not None:
        (partial / _PRIOR).write_bytes(prior.to_bytes())
        names.append(_PRIOR)
    files = {name: _sha256(partial / name) for name in names}
    full = {**card, "format": FORMAT, "files": files}
    (partial / _CARD).write_text(json.dumps(full, indent=2, sort_keys=True) + "\n")
    if directory.exists():
        old = directory.with_name(f".{directory.name}.old-{os.getpid()}")
        directory.rename(old)
        partial.rename(directory)
        shutil.rmtree(old)
    else:
        partial.rename(directory)
    return directory


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read and verify a checkpoint directory.

    Raises:
        MissingCheckpoint: if it has no card.
        CorruptCheckpoint: if a file is missing, its hash differs from the card, or its content
            does not fit the configuration.
    """
    card = _load_card(directory)
    for name, expected in card["files"].items():
        path = directory / name
        if not path.is_file():
            raise CorruptCheckpoint(f"checkpoint {directory} lacks {name}")
        if _sha256(path) != expected:
            raise CorruptCheckpoint(f"{path} is not the file its card describes (sha256 differs)")
    try:
        config = TrainConfig(**card["config"])
    except ValidationError as error:
        raise CorruptCheckpoint(f"the card of {directory} has no valid config: {error}") from error
    model = _load_model(directory / _WEIGHTS, config, len(card["data"]["targets"]))
    try:
        head = PropertyHead.from_bytes((directory / _HEAD).read_bytes())
        bank = CodeBank.load(directory / _BANK)
        prior = None
        if _PRIOR in card["files"]:
            prior = CodePrior.from_bytes((directory / _PRIOR).read_bytes())
    except (CorruptHead, CorruptBank, CorruptPrior) as error:
        raise CorruptCheckpoint(f"checkpoint {directory}: {error}") from error
    return Checkpoint(
        card=card,
        version=generator_version(card),
        model=model,
        head=head,
        bank=bank,
        prior=prior,
    )


def generator_version(card: Mapping[str, Any]) -> str:
    """Return the version of the generator that a card describes, head and prior left out.

    It changes with everything that codes, decoded crystals, base draws, donors and the comparison
    with the training set depend on: the weights, the bank, the model's configuration, the elements
    and the sizes it encodes. A head is exchanged during a campaign and a prior only proposes: both
    have versions of their own.

    Args:
        card: with "files", "config", "elements" and "atom_counts".

    Returns:
        12 hex digits of a sha256.
    """
    parts = {
        "weights": card["files"][_WEIGHTS],
        "bank": card["files"][_BANK],
        "network": {k: card["config"].get(k) for k in ("architecture", "model", "vqcrystal")},
        "elements": card["elements"],
        "atom_counts": card["atom_counts"],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _load_card(directory: Path) -> dict[str, Any]:
    """Read the card and check that it is one."""
    path = directory / _CARD
    if not path.is_file():
        raise MissingCheckpoint(f"{directory} holds no {_CARD}")
    try:
        card = json.loads(path.read_text())
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is not JSON: {error}") from error
    if not isinstance(card, dict) or _CARD_KEYS - set(card):
        raise CorruptCheckpoint(f"{path} lacks {sorted(_CARD_KEYS - set(card))}")
    if card["format"] != FORMAT:
        raise CorruptCheckpoint(f"{path} has format {card['format']!r}, expected {FORMAT!r}")
    if set(card["files"]) - {_PRIOR} != {_WEIGHTS, _HEAD, _BANK}:
        raise CorruptCheckpoint(f"{path} describes the files {sorted(card['files'])}")
    return card


def _load_model(path: Path, config: TrainConfig, n_targets: int) -> CodeNetwork:
    """Build the model of a configuration and fill in its weights, strictly."""
    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise CorruptCheckpoint(f"{path} is not a safetensors file: {error}") from error
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise CorruptCheckpoint(f"{path} holds values that are not finite: {broken[:5]}")
    model = build_network(config, n_targets)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CorruptCheckpoint(f"{path} does not fit its configuration: {error}") from error
    return model.eval()


def _sha256(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
