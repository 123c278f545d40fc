"""From a trained VQ-VAE to a checkpoint: code bank, property head, figures, card."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.bank import CodeBank
from model.checkpoint import save_checkpoint
from model.codes import CrystalCodes
from model.data.canonical import Crystal, canonical
from model.data.dataset import CrystalTable
from model.data.tensors import CrystalTensors
from model.generator import Generator
from model.metrics.reconstruction import reconstruction_of
from model.networks.network import CodeNetwork
from model.prior.tables import network_tables
from model.prior.training import fit_prior
from model.property.descriptors import property_inputs
from model.property.head_training import (
    calibrated_on,
    fit_head,
    new_head,
    property_metrics,
)
from model.settings import TrainConfig

_CHUNK = 1024
_RECONSTRUCTED = 500  # validation crystals behind the card's reconstruction figures


def assemble(
    config: TrainConfig,
    model: CodeNetwork,
    tables: Mapping[str, CrystalTable],
    kept: Mapping[str, list[int]],
    *,
    label_hashes: Mapping[str, str],
    out: Path,
    started: float,
    training: Mapping[str, Any] | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the checkpoint of a trained model.

    Args:
        config: it was trained with.
        model: trained, on the CPU.
        tables: "train" and "val" splits with all labels.
        kept: rows of each that the model has room for.
        label_hashes: sha256 of the extra label files by target.
        out: directory to write.
        started: `time.perf_counter()` at the start of the run.
        training: what the card says about the epochs.
        on_stage: called with the name of each stage when it begins.

    Returns:
        `out`.
    """
    on_stage("bank")
    codes, features, labels = {}, {}, {}
    for role, table in tables.items():
        rows = kept[role]
        codes[role], features[role] = encode_rows(model, [table.crystals[i] for i in rows])
        labels[role] = {
            name: torch.from_numpy(values[rows]).float() for name, values in table.labels.items()
        }
    on_stage("head")
    head = new_head(features["train"], labels["train"], config.head, config.seed)
    head = fit_head(head, features["train"], labels["train"], config.head, seed=config.seed)
    head = calibrated_on(head, features["val"], labels["val"])
    bank = _bank(tables, kept, codes)
    card = _card(config, tables, kept, label_hashes)
    card["training"] = dict(training or {})
    generator = Generator(
        name=config.name, version="training", card=card, model=model, bank=bank, head=head
    )
    validation = reconstruction_of(
        generator, tables["val"], dataset=config.dataset, split="val", limit=_RECONSTRUCTED
    )
    card["metrics"] = {
        "reconstruction": {
            key: validation[key]
            for key in ("split", "n", "match_rate", "rms", "composition_accuracy", "protocol")
        },
        "head": {"split": "val", **property_metrics(head, features["val"], labels["val"])},
    }
    prior = None
    if config.prior is not None:
        on_stage("prior")
        tables_of_codes = network_tables(generator)
        prior = fit_prior(bank, tables_of_codes, config.prior, seed=config.seed)
        card["metrics"]["prior"] = prior.card
    card["metrics"]["seconds"] = round(time.perf_counter() - started, 1)
    return save_checkpoint(out, model=model, head=head, bank=bank, card=card, prior=prior)


@torch.inference_mode()
def encode_rows(
    model: CodeNetwork, crystals: Sequence[Crystal]
) -> tuple[list[CrystalCodes], Tensor]:
    """Return codes and property features (n, F) of crystals."""
    codes: list[CrystalCodes] = []
    features = []
    for start in range(0, len(crystals), _CHUNK):
        part = [canonical(c) for c in crystals[start : start + _CHUNK]]
        indices = model.encode_to_codes(CrystalTensors.from_canonical(part))
        codes.extend(indices.to_codes())
        features.append(property_inputs(model, indices))
    return codes, torch.cat(features).clone()


def _bank(
    tables: Mapping[str, CrystalTable],
    kept: Mapping[str, list[int]],
    codes: Mapping[str, Sequence[CrystalCodes]],
) -> CodeBank:
    """Collect the rows of all splits in one bank."""
    places = [(role, i) for role in tables for i in kept[role]]
    names = list(next(iter(tables.values())).labels)
    return CodeBank.from_codes(
        [c for role in tables for c in codes[role]],
        ids=[tables[role].ids[i] for role, i in places],
        formulas=[tables[role].formulas[i] for role, i in places],
        role=[role for role, _ in places],
        properties={
            name: np.array([tables[role].labels[name][i] for role, i in places]) for name in names
        },
    )


def _card(
    config: TrainConfig,
    tables: Mapping[str, CrystalTable],
    kept: Mapping[str, list[int]],
    label_hashes: Mapping[str, str],
) -> dict[str, Any]:
    """Describe the checkpoint, but for its figures."""
    crystals = [tables["train"].crystals[i] for i in kept["train"]]
    sizes = [len(c.numbers) for c in crystals]
    recorded = config.model_dump(mode="json")
    recorded["extra_labels"] = {t: Path(p).name for t, p in recorded["extra_labels"].items()}
    if config.data is not None:
        recorded["data"] |= {"train": config.data.train.name, "val": config.data.val.name}
    return {
        "name": config.name,
        "seed": config.seed,
        "code_version": version("discovery"),
        "torch_version": torch.__version__,
        "config": recorded,
        "elements": sorted({int(z) for c in crystals for z in c.numbers}),
        "atom_counts": [min(sizes), max(sizes)],
        "data": {
            "dataset": config.dataset,
            "sha256": {role: table.sha256 for role, table in tables.items()},
            "labels_sha256": dict(label_hashes),
            "targets": list(tables["train"].labels),
            "n": {role: len(rows) for role, rows in kept.items()},
            "skipped": {
                role: len(table) + len(table.skipped) - len(kept[role])
                for role, table in tables.items()
            },
        },
    }
