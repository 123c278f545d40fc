"""Targets: weights and cards of the models that screen and relax, ours and other people's."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agents.relax.potential import UnusablePotential
from agents.screen import hdf5_arrays
from agents.screen.alignn_checkpoint import SHIPPED
from agents.screen.screen import MissingModel, UnsoundModel
from fuzzing.target import Target, saved

TORCH = (b"PK\x03\x04", b"PK\x05\x06", b"\x80\x02", b"ctorch\n", b"cos\nsystem\n", b"\x85R.", b"R.")


def cards(folder: Path) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(json.loads((folder / "card.json").read_text())).encode()]


def with_card(checkpoint: Path, data: bytes, folder: Path) -> Path:
    """Make a checkpoint of which only the card is other."""
    for file in checkpoint.iterdir():
        if file.name != "card.json":
            (folder / file.name).symlink_to(file)
    return saved(data, folder, "card.json").parent


def _read_alignn(data: bytes, folder: Path) -> object:
    from agents.screen.alignn_checkpoint import read_checkpoint

    return read_checkpoint(with_card(SHIPPED, data, folder))


@cache
def _jarvis() -> tuple[bytes, ...]:
    import torch
    from alignn.models.alignn_atomwise_pure import ALIGNNAtomWisePure, ALIGNNAtomWisePureConfig

    sizes = {"alignn_layers": 1, "gcn_layers": 1, "hidden_features": 4, "embedding_features": 4}
    model = {"name": "alignn_atomwise_pure", **sizes, "atom_input_features": 92}
    network = ALIGNNAtomWisePure(ALIGNNAtomWisePureConfig(**model, calculate_gradient=False))
    weights = io.BytesIO()
    torch.save({"model": network.state_dict()}, weights)
    config = {"target": "optb88vdw_bandgap", "neighbor_strategy": "pure_torch", "model": model}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("a/config.json", json.dumps(config))
        written.writestr("a/best_model.pt", weights.getvalue())
    return (archive.getvalue(),)


def _read_jarvis(data: bytes, folder: Path) -> object:
    from agents.screen.alignn_jarvis_files import read_jarvis_model

    return read_jarvis_model(saved(data, folder, "own.zip"))


def _read_jarvis_config(data: bytes, folder: Path) -> object:
    from agents.screen.alignn_jarvis_files import read_jarvis_model

    with zipfile.ZipFile(io.BytesIO(_jarvis()[0])) as archive:
        (folder / "best_model.pt").write_bytes(archive.read("a/best_model.pt"))
    return read_jarvis_model(saved(data, folder, "config.json").parent)


def _jarvis_configs() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_jarvis()[0])) as archive:
        return [archive.read("a/config.json")]


def _openlam() -> list[bytes]:
    import torch

    state = {
        "model.Default.w": torch.zeros(3),
        "_extra_state": {"model_params": {"type_map": ["Na", "Cl"], "model_dict": {"a": {}}}},
    }
    buffer = io.BytesIO()
    torch.save({"model": state}, buffer)
    old = io.BytesIO()
    torch.save({"model": state}, old, _use_new_zipfile_serialization=False)
    return [buffer.getvalue(), old.getvalue()]


def _read_openlam(data: bytes, folder: Path) -> object:
    from agents.relax.openlam_weights import choose_head, read_checkpoint

    path = saved(data, folder, "own.pt")
    state = read_checkpoint(path)
    return choose_head(path, state["_extra_state"]["model_params"], "a")


@cache
def _frozen() -> tuple[bytes, ...]:
    import torch

    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum()

    with TemporaryDirectory() as folder:
        path = Path(folder) / "own.pth"
        torch.jit.script(Sum()).save(str(path))
        return (path.read_bytes(),)


def _read_frozen(data: bytes, folder: Path) -> object:
    from agents.relax.openlam_weights import inspect_frozen

    return inspect_frozen(saved(data, folder, "own.pth"))


class _Named(dict[str, Any]):
    """Gives every array that is asked for a number of its own."""

    def __missing__(self, name: str) -> Any:
        import numpy as np

        self[name] = np.full((1, 1) if "bias" not in name else (1,), float(len(self)))
        return self[name]


@cache
def _megnet() -> tuple[bytes, ...]:
    """A model of the published kind with the smallest layers: names and shapes from its reader."""
    import h5py

    from agents.screen import megnet_weights
    from agents.screen.megnet_network import MEGNetNetwork, MEGNetShape

    shape = MEGNetShape(
        elements=3,
        embedding=2,
        widths=(2, 2),
        update=(2, 2),
        blocks=1,
        pool=2,
        pool_steps=1,
        output=(2, 2),
        centers=(0.0, 1.0),
        gaussian_width=0.5,
        cutoff=4.0,
        probability=False,
    )
    asked = _Named()
    parts = megnet_weights._translate(asked, shape)
    names = {float(array.ravel()[0]): name for name, array in asked.items()}
    network = MEGNetNetwork(shape).state_dict()
    layers: list[dict[str, Any]] = [
        {"class_name": "Dense", "config": {"name": f"dense_{n}", "units": 2, "activation": "x"}}
        for n in range(1, 10)
    ]
    pool = {
        "recurrent_activation": "hard_sigmoid",
        "activation_lstm": "tanh",
        "n_hidden": 2,
        "T": 1,
    }
    layers += [{"class_name": "Set2Set", "config": pool}]
    layers += [{"class_name": "MEGNetLayer", "config": {"pool_method": "mean", "units_e": [2, 2]}}]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.hdf5"
        with h5py.File(path, "w") as file:
            weights = file.create_group("model_weights")
            for target, value in parts.items():
                layer, _, array = names[float(value.ravel()[0])].partition("/")
                content = network[target]
                turned = content.T if content.ndim == 2 and "embedding" not in target else content
                weights.create_dataset(f"{layer}/{layer}/{array}:0", data=turned.numpy())
            file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})
        return (path.read_bytes(),)


def _read_megnet(data: bytes, folder: Path) -> object:
    from agents.screen.megnet_weights import read_network

    path = saved(data, folder, "own.hdf5")
    converter = {
        "bond_converter": {"centers": {"data": [0.0, 1.0]}, "width": 0.5},
        "cutoff": 4.0,
    }
    path.with_name("own.hdf5.json").write_text(json.dumps({"graph_converter": converter}))
    return read_network(path)


TARGETS = (
    Target(
        "alignn-card",
        lambda: cards(SHIPPED)(),
        _read_alignn,
        (MissingModel, UnsoundModel),
        seconds=30.0,
        weight=0.1,
    ),
    Target(
        "alignn-jarvis",
        _jarvis,
        _read_jarvis,
        (UnsoundModel,),
        tokens=TORCH,
        largest=1 << 17,
        weight=4,
    ),
    Target(
        "alignn-jarvis-configuration",
        _jarvis_configs,
        _read_jarvis_config,
        (UnsoundModel,),
        weight=0.7,
    ),
    Target("openlam", _openlam, _read_openlam, (UnusablePotential,), tokens=TORCH, weight=5),
    Target(
        "openlam-frozen",
        _frozen,
        _read_frozen,
        (UnusablePotential,),
        tokens=(b"ops.aten.",),
        weight=6,
    ),
    Target(
        "megnet",
        _megnet,
        _read_megnet,
        (UnsoundModel, MissingModel),
        program=hdf5_arrays.__file__,
        weight=0.1,
    ),
)
