"""A trained ALIGNN screen on disk: weights, the elements and sizes it knows, and its model card."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from agents.screen.alignn_network import ALIGNNNetwork, ALIGNNShape
from agents.screen.domain import TrainingSet
from agents.screen.screen import MissingModel, UnsoundModel

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = Path(__file__).parent / "data" / "alignn"
"""The checkpoint that comes with the package."""

_WEIGHTS, _DOMAIN, _CARD = "weights.safetensors", "domain.npz", "card.json"
_FILES = (_WEIGHTS, _DOMAIN)


class Calibration(BaseModel):
    """How wrong a property is on held-out crystals, in groups of predicted values.

    Attributes:
        edges: Values between the groups, ascending.
        std: Of each group, the half-width that holds 68.3 % of the errors (one more than edges).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    edges: tuple[float, ...]
    std: tuple[float, ...] = Field(min_length=1)


class Errors(BaseModel):
    """Errors on one split.

    Attributes:
        crystals: How many were predicted, of every size.
        mae: Mean absolute error by property (eV/atom, eV), and ``band_gap_at_least_0``, that of
            max(0, gap), which is what a window is compared with.
        rmse: Root mean square error, likewise.
        mae_larger: MAE of the cells with more atoms than were trained on.
        crystals_larger: How many of these there are.
        coverage: Share of the errors below one ``std``.
        linear: MAE of the part that is linear in the composition, alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crystals: int
    mae: dict[str, float]
    rmse: dict[str, float]
    mae_larger: dict[str, float]
    crystals_larger: int
    coverage: dict[str, float]
    linear: dict[str, float]


class ModelCard(BaseModel):
    """What must be known of a checkpoint to use it and to defend it.

    Attributes:
        format: Of the folder.
        version: In the records; ends with the first digits of the weights' sha256.
        package: Whose layers these are.
        shape: Sizes.
        level: Level of theory of the labels, as in the predictions.
        functional: The same in words.
        domain: Name of the crystals it was trained on, as in the reasons against a domain.
        training_data: Table, split and rows.
        licence: Of the data and of the weights.
        config: Of the training.
        training: Command, seed, time, threads, best epoch, validation errors of all epochs.
        golden: Formula to property to value of known crystals, as these weights gave them.
        calibration: By property.
        errors: By split; ``val`` chose the epoch and the calibration, ``test`` was looked at once.
        sha256: Of the other files and of the data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = "discovery-alignn-1"
    version: str
    package: str
    shape: ALIGNNShape
    level: str
    functional: str
    domain: str
    training_data: str
    licence: str
    config: dict[str, Any]
    training: dict[str, Any]
    golden: dict[str, dict[str, float]]
    calibration: dict[str, Calibration]
    errors: dict[str, Errors]
    sha256: dict[str, str]


def write_checkpoint(
    folder: Path, network: ALIGNNNetwork, domain: TrainingSet, card: dict[str, Any]
) -> ModelCard:
    """Write a checkpoint; an existing one is replaced when the new one is complete.

    Args:
        folder: To write.
        network: Trained.
        domain: What it was trained on.
        card: The fields of `ModelCard` without ``version``, ``shape`` and the files' digests.

    Returns:
        The complete card.
    """
    partial = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(_plain(network.state_dict()), partial / _WEIGHTS)
    domain.save(partial / _DOMAIN)
    digests = {name: _sha256(partial / name) for name in _FILES}
    shape = network.shape
    size = f"{shape.alignn_layers}+{shape.gcn_layers}x{shape.hidden}"
    complete = ModelCard.model_validate(
        {
            **card,
            "shape": shape,
            "version": f"{card['config']['dataset']}-{size}-{digests[_WEIGHTS][:8]}",
            "sha256": {**card["sha256"], **digests},
        }
    )
    text = json.dumps(complete.model_dump(mode="json"), indent=1)
    (partial / _CARD).write_text(text + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)
    return complete


def read_checkpoint(folder: Path) -> tuple[ALIGNNNetwork, TrainingSet, ModelCard]:
    """Read a checkpoint; nothing in it is executed.

    Args:
        folder: As `write_checkpoint` wrote it.

    Returns:
        The network, frozen; its domain; its card.

    Raises:
        MissingModel: The folder or one of its files is not there.
        UnsoundModel: A file is not the one the card was written for, or does not fit the network.
    """
    missing = [name for name in (*_FILES, _CARD) if not (folder / name).is_file()]
    if missing:
        raise MissingModel(f"ALIGNN's checkpoint {folder} has no {', '.join(missing)}")
    try:
        card = ModelCard.model_validate_json((folder / _CARD).read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise UnsoundModel(f"{folder / _CARD}: {key}: {fault['msg']}") from error
    content = {name: (folder / name).read_bytes() for name in _FILES}
    for name in _FILES:
        if hashlib.sha256(content[name]).hexdigest() != card.sha256.get(name):
            raise UnsoundModel(f"{folder / name} is not the file its card was written for")
    network = ALIGNNNetwork(card.shape)
    try:
        network.load_state_dict(load(content[_WEIGHTS]))
    except (SafetensorError, RuntimeError) as error:
        raise UnsoundModel(
            f"{folder / _WEIGHTS} does not fit the network of its card: {error!s:.300}"
        ) from error
    domain = TrainingSet.load(folder / _DOMAIN, card.domain)
    return network.eval().requires_grad_(False), domain, card


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
