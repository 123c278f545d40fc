"""Mixed precision and compilation of the parts of a network that stand them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from model.networks.network import CodeNetwork
from model.settings import TrainConfig


def uses_bfloat16(config: TrainConfig, device: torch.device) -> bool:
    """Return whether the dense modules run in bfloat16: by choice, or on a GPU that has it."""
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.precision == "bfloat16"


def is_compiled(config: TrainConfig, device: torch.device) -> bool:
    """Return whether the dense modules are compiled: by choice, or on a GPU."""
    if config.compile == "auto":
        return device.type == "cuda"
    return config.compile == "on"


def accelerate(
    network: CodeNetwork, device: torch.device, *, bfloat16: bool, compiled: bool
) -> None:
    """Make a network's dense modules faster, in place; names and values of weights stay.

    Their results are float32 whatever they compute in, so quantisers, losses and the lattice,
    which are none of them, see float32 only.

    Args:
        network: to train.
        device: it is on.
        bfloat16: autocast to bfloat16.
        compiled: compile, for batches of any size.
    """
    for module in network.dense_modules:
        if bfloat16:
            module.forward = _in_bfloat16(module.forward, device.type)
        if compiled:
            module.compile(dynamic=True)


def _in_bfloat16(forward: Callable[..., Any], device_type: str) -> Callable[..., Any]:
    """Wrap a forward in autocast."""

    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device_type, dtype=torch.bfloat16):
            result = forward(*args, **kwargs)
        return _as_float32(result)

    return run


def _as_float32(value: Any) -> Any:
    """Return a result with its floating-point tensors in float32."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(map(_as_float32, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: _as_float32(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value
