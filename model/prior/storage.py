"""The file of a prior: safetensors with float16 weights, tables and a description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from model.prior.network import PriorNetwork
from model.prior.settings import PriorConfig
from model.prior.tables import NetworkTables

_FORMAT = "discovery-code-prior-1"
_WEIGHT, _TABLE = "network.", "table."
_STORED = {
    "role_slot": torch.int8,
    "token_element": torch.uint8,
    "token_seen": torch.uint8,
    "oxidation_states": torch.uint8,
}
_BOOLEAN = ("token_seen", "oxidation_states")


class CorruptPrior(ValueError):
    """Bytes that are not a prior written by `CodePrior.to_bytes`."""


def pack(
    network: PriorNetwork, tables: NetworkTables, config: PriorConfig, card: Mapping[str, Any]
) -> bytes:
    """Return the parts of a prior as bytes."""
    tensors = {
        _WEIGHT + name: value.detach().half().contiguous()
        for name, value in network.state_dict().items()
    }
    for name, table in tables.tensors().items():
        tensors[_TABLE + name] = table.to(_STORED.get(name, table.dtype)).contiguous()
    description = {"format": _FORMAT, "config": config.model_dump(mode="json"), "card": dict(card)}
    # One key only: the order of several would change the bytes, and with them the version.
    return save(tensors, metadata={"prior": json.dumps(description, sort_keys=True)})


def unpack(payload: bytes) -> tuple[PriorNetwork, NetworkTables, PriorConfig, dict[str, Any]]:
    """Return the parts that `pack` wrote.

    Raises:
        CorruptPrior: if the bytes are damaged, of another format, or hold values that are not
            finite.
    """
    try:
        tensors = load(payload)
        description = read_description(payload)
        config = PriorConfig(**description["config"])
        stored = {k.removeprefix(_TABLE): v for k, v in tensors.items() if k.startswith(_TABLE)}
        for name in _STORED:
            stored[name] = stored[name].long()
        for name in _BOOLEAN:
            stored[name] = stored[name].bool()
        tables = NetworkTables(**stored)
        card = dict(description["card"])
    except (SafetensorError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorruptPrior(f"not a prior over codes: {error!s:.300}") from error
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise CorruptPrior(f"the prior holds values that are not finite: {broken[:5]}")
    weights = {
        k.removeprefix(_WEIGHT): v.float() for k, v in tensors.items() if k.startswith(_WEIGHT)
    }
    try:
        _require_held(config, tables, len(payload))
        with torch.random.fork_rng(devices=[]):
            network = PriorNetwork(config, tables)
        network.load_state_dict(weights, strict=True)
    except (RuntimeError, ValueError, LookupError, TypeError, MemoryError) as error:
        raise CorruptPrior(f"the prior's weights do not fit its sizes: {error!s:.300}") from error
    return network, tables, config, card


COUNTS = ("crystal_codes", "crystal_levels", "max_atoms")
LARGEST_COUNT = 100_000
"""Tables of this many rows are made; the shipped priors have at most some hundred."""


def _require_held(config: PriorConfig, tables: NetworkTables, payload_bytes: int) -> None:
    """Refuse sizes that the file cannot hold, before memory is reserved for them.

    Raises:
        ValueError: There are more weights than bytes, or a table has countless rows.
    """
    blocks = config.blocks * (4 + 2 * config.expansion) * config.width**2
    if 2 * blocks > payload_bytes:  # half precision at least; and layers without end take time
        raise ValueError(f"more than {blocks} weights in {payload_bytes} bytes")
    counts = [int(one) for name in COUNTS for one in getattr(tables, name).flatten()]
    if not all(0 < count <= LARGEST_COUNT for count in counts):
        raise ValueError(f"{', '.join(COUNTS)} are {counts!r:.100}")


def read_description(payload: bytes) -> dict[str, Any]:
    """Read the description from the safetensors header (8 bytes length, then JSON)."""
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    description: dict[str, Any] = json.loads(header["__metadata__"]["prior"])
    if description.get("format") != _FORMAT:
        raise ValueError(f"format {description.get('format')!r}, expected {_FORMAT!r}")
    return description
