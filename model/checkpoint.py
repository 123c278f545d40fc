"""Checkpoints: a directory of safetensors, one JSON card and the code bank."""

from __future__ import annotations

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
from model.cards import (
    BANK,
    CARD,
    FORMAT,
    HEAD,
    PRIOR,
    SHIPPED,
    WEIGHTS,
    generator_version,
    load_card,
    resolve_checkpoint,
    sha256_of,
    shipped_names,
    verified_file,
)
from model.errors import CorruptCheckpoint
from model.networks.build import build_network
from model.networks.network import CodeNetwork
from model.prior.code_prior import CodePrior, CorruptPrior
from model.property.head import CorruptHead, PropertyHead
from model.settings import TrainConfig

__all__ = [
    "FORMAT",
    "SHIPPED",
    "Checkpoint",
    "generator_version",
    "load_checkpoint",
    "resolve_checkpoint",
    "save_checkpoint",
    "shipped_names",
]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint directory holds; see `generator_version` for its version."""

    card: dict[str, Any]
    version: str
    model: CodeNetwork
    head: PropertyHead
    bank: CodeBank
    prior: CodePrior | None


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
    (partial / WEIGHTS).write_bytes(save(tensors))
    (partial / HEAD).write_bytes(head.to_bytes())
    bank.save(partial / BANK)
    names = [WEIGHTS, HEAD, BANK]
    if prior is not None:
        (partial / PRIOR).write_bytes(prior.to_bytes())
        names.append(PRIOR)
    files = {name: sha256_of(partial / name) for name in names}
    full = {**card, "format": FORMAT, "files": files}
    (partial / CARD).write_text(json.dumps(full, indent=2, sort_keys=True) + "\n")
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
    card = load_card(directory)
    for name in card["files"]:
        verified_file(directory, card, name)
    try:
        config = TrainConfig(**card["config"])
    except ValidationError as error:
        raise CorruptCheckpoint(f"the card of {directory} has no valid config: {error}") from error
    model = _load_model(directory / WEIGHTS, config, len(card["data"]["targets"]))
    try:
        head = PropertyHead.from_bytes((directory / HEAD).read_bytes())
        bank = CodeBank.load(directory / BANK)
        prior = None
        if PRIOR in card["files"]:
            prior = CodePrior.from_bytes((directory / PRIOR).read_bytes())
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
