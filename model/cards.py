"""The card of a checkpoint: what its files are and what they were made from."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import CorruptCheckpoint, MissingCheckpoint

SHIPPED = Path(__file__).parent / "checkpoints"
FORMAT = "discovery-generator-1"
CARD, WEIGHTS, HEAD, BANK = "card.json", "model.safetensors", "head.safetensors", "bank.npz"
PRIOR = "prior.safetensors"
_KEYS = {"format", "name", "config", "data", "metrics", "elements", "atom_counts", "files"}


def shipped_names() -> list[str]:
    """Return the names of the checkpoints that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))


def resolve_checkpoint(name_or_path: str | Path) -> Path:
    """Return the directory of a shipped checkpoint ("perov5") or of a path.

    Raises:
        MissingCheckpoint: if neither exists; the message lists what does.
    """
    shipped = SHIPPED / str(name_or_path)
    for directory in (shipped, Path(name_or_path)):
        if (directory / CARD).is_file():
            return directory
    near = difflib.get_close_matches(str(name_or_path), shipped_names(), n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise MissingCheckpoint(
        f"there is no checkpoint {str(name_or_path)!r}; "
        f"shipped: {', '.join(shipped_names()) or 'none'}; "
        f"or give the directory that `discovery train` wrote.{guess}"
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
        "weights": card["files"][WEIGHTS],
        "bank": card["files"][BANK],
        "network": {k: card["config"].get(k) for k in ("architecture", "model", "vqcrystal")},
        "elements": card["elements"],
        "atom_counts": card["atom_counts"],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def load_card(directory: Path) -> dict[str, Any]:
    """Read the card of a checkpoint directory.

    Raises:
        MissingCheckpoint: if it has none.
        CorruptCheckpoint: if it is no card.
    """
    path = directory / CARD
    if not path.is_file():
        raise MissingCheckpoint(f"{directory} holds no {CARD}")
    try:
        card = json.loads(path.read_text())
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is not JSON: {error}") from error
    if not isinstance(card, dict) or _KEYS - set(card):
        raise CorruptCheckpoint(f"{path} lacks {sorted(_KEYS - set(card))}")
    if card["format"] != FORMAT:
        raise CorruptCheckpoint(f"{path} has format {card['format']!r}, expected {FORMAT!r}")
    if set(card["files"]) - {PRIOR} != {WEIGHTS, HEAD, BANK}:
        raise CorruptCheckpoint(f"{path} describes the files {sorted(card['files'])}")
    return card


def verified_file(directory: Path, card: Mapping[str, Any], name: str) -> Path:
    """Return the path of a file of a checkpoint that is the one its card describes.

    Raises:
        CorruptCheckpoint: if it is missing or another one.
    """
    path = directory / name
    if not path.is_file():
        raise CorruptCheckpoint(f"checkpoint {directory} lacks {name}")
    if sha256_of(path) != card["files"][name]:
        raise CorruptCheckpoint(f"{path} is not the file its card describes (sha256 differs)")
    return path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
