"""Reads the published MEGNet files (Keras hdf5 with a JSON beside it) without TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.screen.hdf5_arrays import DESCRIPTION, read_arrays
from agents.screen.megnet_network import MEGNetNetwork, MEGNetShape
from agents.screen.screen import MissingModel, UnsoundModel

Arrays = dict[str, np.ndarray]

_FEATURES = ("atoms", "bonds", "state")
_UPDATES = {"bond": "e", "atom": "v", "state": "u"}


def read_network(path: Path) -> MEGNetNetwork:
    """Build a network from its files.

    Args:
        path: ``NAME.hdf5``; ``NAME.hdf5.json`` must lie beside it.

    Returns:
        The network, frozen.

    Raises:
        MissingModel: One of the two files does not exist.
        UnsoundModel: They are not a MEGNet model of the published kind.
    """
    description_path = path.with_name(path.name + ".json")
    for needed in (path, description_path):
        if not needed.is_file():
            raise MissingModel(f"{needed} does not exist")
    try:
        arrays, layers = _read_hdf5(path)
        converter = json.loads(description_path.read_text())["graph_converter"]
        shape = _read_shape(arrays, layers, converter)
        network = MEGNetNetwork(shape)
        network.load_state_dict(_translate(arrays, shape))
    except (KeyError, ValueError, OSError, RuntimeError, StopIteration) as error:
        raise UnsoundModel(
            f"{path} is not a MEGNet model of the published kind: {error}"
        ) from error
    return network.eval().requires_grad_(False)


def _read_hdf5(path: Path) -> tuple[Arrays, list[dict[str, Any]]]:
    """Return arrays by their short name (``dense_1/kernel``) and Keras' layer descriptions."""
    arrays = read_arrays(path)
    description = json.loads(arrays.pop(DESCRIPTION).tobytes())
    return arrays, description["config"]["layers"]


def _read_shape(
    arrays: Arrays, layers: list[dict[str, Any]], converter: dict[str, Any]
) -> MEGNetShape:
    def of_class(name: str) -> list[dict[str, Any]]:
        return [layer["config"] for layer in layers if layer["class_name"] == name]

    pools, blocks = of_class("Set2Set"), of_class("MEGNetLayer")
    dense = {layer["name"]: layer for layer in of_class("Dense")}
    expected = {"recurrent_activation": "hard_sigmoid", "activation_lstm": "tanh"}
    for name, value in expected.items():
        if any(pool[name] != value for pool in pools):
            raise ValueError(f"Set2Set has {name} other than {value}")
    if any(block["pool_method"] != "mean" for block in blocks):
        raise ValueError("a block does not average over neighbours")
    numbers = range(6 * len(blocks) + 1, len(dense))
    elements, embedding = arrays["embedding_1/embeddings"].shape
    return MEGNetShape(
        elements=elements,
        embedding=embedding,
        widths=tuple(dense[name]["units"] for name in ("dense_1", "dense_2")),
        update=tuple(blocks[0]["units_e"]),
        blocks=len(blocks),
        pool=pools[0]["n_hidden"],
        pool_steps=pools[0]["T"],
        output=tuple(dense[f"dense_{number}"]["units"] for number in numbers),
        centers=tuple(float(c) for c in converter["bond_converter"]["centers"]["data"]),
        gaussian_width=float(converter["bond_converter"]["width"]),
        cutoff=float(converter["cutoff"]),
        probability=dense[f"dense_{len(dense)}"]["activation"] == "sigmoid",
    )


def _translate(arrays: Arrays, shape: MEGNetShape) -> dict[str, torch.Tensor]:
    """Give Keras' arrays the names of our modules; kernels (in, out) become weights (out, in)."""
    state = {"embedding.weight": torch.tensor(arrays["embedding_1/embeddings"])}

    def put(target: str, kernel: str, bias: str) -> None:
        state[f"{target}.weight"] = torch.tensor(arrays[kernel]).T.contiguous()
        state[f"{target}.bias"] = torch.tensor(arrays[bias])

    def put_dense(target: str, number: int) -> None:
        put(target, f"dense_{number}/kernel", f"dense_{number}/bias")

    number = 0
    for block in range(shape.blocks):
        for feature in _FEATURES:
            for depth in range(len(shape.widths)):
                number += 1
                put_dense(f"before.{block}.{feature}.linears.{depth}", number)
        layer = f"meg_net_layer_{block + 1}"
        for update, letter in _UPDATES.items():
            for depth in range(len(shape.update)):
                put(
                    f"blocks.{block}.{update}.linears.{depth}",
                    f"{layer}/weight_{letter}_{depth}",
                    f"{layer}/bias_{letter}_{depth}",
                )
    for depth in range(len(shape.output)):
        number += 1
        put_dense(f"hidden.linears.{depth}", number)
    put_dense("output", number + 1)
    for index, pool in enumerate(("pool_atoms", "pool_bonds"), start=1):
        layer = f"set2_set_{index}"
        put(f"{pool}.memory", f"{layer}/x_to_m_weight", f"{layer}/x_to_m_bias")
        put(f"{pool}.gates", f"{layer}/recurrent_kernel", f"{layer}/recurrent_bias")
    return state
