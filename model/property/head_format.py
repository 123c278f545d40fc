"""How a property head is kept in bytes: safetensors with a description in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

_PREFIX = "discovery-property-head-"
_FORMAT = 2
LARGEST_SIZE = 1 << 24
_READABLE = (1, 2)  # 1: one noise for all rows, no intervals


class CorruptHead(ValueError):
    """Bytes that are not a property head written by `PropertyHead.to_bytes`."""


def pack(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> bytes:
    """Return tensors and description as bytes; equal content gives equal bytes.

    A tensor that half precision holds exactly is kept in it, which `fit_head` sees to for the
    large ones.

    Args:
        tensors: the weights.
        description: plain values; empty ones are left out.
    """
    kept = {key: value for key, value in description.items() if value != []}
    # One key only: the order of several would change the bytes, and with them the version.
    text = json.dumps({"format": f"{_PREFIX}{_FORMAT}", **kept}, sort_keys=True)
    small = {key: _smallest(value.detach().cpu()) for key, value in tensors.items()}
    return save(small, metadata={"head": text})


def unpack(payload: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, in single precision, and the description; its "format" as a number.

    Raises:
        CorruptHead: if the bytes are damaged, of an unknown format, or hold non-finite weights.
    """
    try:
        tensors = {key: value.float() for key, value in load(payload).items()}
        description = _description(payload)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CorruptHead(f"not a property head: {error!s:.300}") from error
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise CorruptHead("the head holds weights that are not finite")
    return tensors, description


def check_sizes(description: Mapping[str, Any], payload_bytes: int) -> None:
    """Refuse sizes of a head that its file cannot hold, before memory is reserved for them.

    Raises:
        ValueError: A size is no positive whole number, or there are more weights than bytes.
    """
    names = ("n_features", "width", "members")
    sizes = [description[name] for name in names] + [description.get("depth", 2)]
    if not all(isinstance(size, int) and 0 < size < LARGEST_SIZE for size in sizes):
        raise ValueError(f"n_features, width, members and depth are {sizes}")
    features, width, members, depth = sizes
    weights = members * width * (features + (depth - 1) * width)
    if 2 * weights > payload_bytes:  # half precision at least
        raise ValueError(f"{weights} weights in {payload_bytes} bytes")


def _smallest(value: Tensor) -> Tensor:
    """Return the tensor in half precision where that loses nothing."""
    half = value.half()
    return (half if torch.equal(half.float(), value) else value).contiguous()


def _description(payload: bytes) -> dict[str, Any]:
    """Read the description from the safetensors header (8 bytes length, then JSON)."""
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    description: dict[str, Any] = json.loads(header["__metadata__"]["head"])
    known = {f"{_PREFIX}{number}": number for number in _READABLE}
    if description.get("format") not in known:
        raise ValueError(f"format {description.get('format')!r}, readable are {list(known)}")
    description["format"] = known[description["format"]]
    return description
