"""Reads ALIGNN models as JARVIS publishes them, and builds the graphs that they expect."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from alignn.models.alignn_atomwise_pure import ALIGNNAtomWisePure, ALIGNNAtomWisePureConfig
from alignn.torch_graph_builder import TorchGraph, build_pure_torch_graph
from pydantic import ValidationError
from torch import nn

from agents.screen.screen import MissingModel, UnsoundModel
from model.weights import read_weights
from model.zip_files import DamagedZip, open_zip, read_member

if TYPE_CHECKING:
    from pymatgen.core import Structure

TARGETS = {
    "formation_energy_peratom": ("formation_energy_per_atom", "optb88vdw-jarvis"),
    "optb88vdw_bandgap": ("band_gap", "optb88vdw-jarvis"),
    "mbj_bandgap": ("band_gap", "tbmbj-jarvis"),
}
"""JARVIS' name of a property to ours and the level of theory."""

LARGEST_CONFIG = 1 << 20
MOST_LAYERS = 100
MOST_FEATURES = 4_096
LARGEST_WEIGHTS = 1 << 30
"""Bytes; the official models have 16 to 60 MB."""

_STRATEGIES = ("pure_torch", "radius_graph", "k-nearest")


@dataclass(frozen=True)
class JarvisModel:
    """One official model.

    Attributes:
        target: JARVIS' name of the property.
        network: Ready to be asked.
        config: Its ``config.json``.
        sha256: Of its weights.
    """

    target: str
    network: ALIGNNAtomWisePure
    config: dict[str, Any]
    sha256: str


def read_jarvis_model(path: Path) -> JarvisModel:
    """Read a zip file or folder with ``config.json`` and a checkpoint; no pickle is executed.

    Args:
        path: Of the zip file or folder.

    Returns:
        The model; whether it is a sound one is `agents.screen.alignn_jarvis.ALIGNNJarvis.check`.

    Raises:
        MissingModel: There is no such file or folder.
        UnsoundModel: It is not an ALIGNN model of a known kind.
    """
    config_text, weights = _read_files(path)
    try:
        config = json.loads(config_text)
        target, model = str(config["target"]), dict(config["model"])
        if target not in TARGETS:
            raise ValueError(f"property {target!r} is none of {', '.join(TARGETS)}")
        strategy = config.get("neighbor_strategy", "k-nearest")
        if strategy not in _STRATEGIES:
            raise ValueError(f"neighbor_strategy {strategy!r} is none of {', '.join(_STRATEGIES)}")
        network = _build(model, len(weights))
        content = read_weights(BytesIO(weights))
        network.load_state_dict(content.get("model", content), strict=True)
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        RuntimeError,
        ArithmeticError,
        MemoryError,
        RecursionError,
        ValidationError,
    ) as error:
        raise UnsoundModel(f"{path} is not an ALIGNN model of a known kind: {error!s:.300}") from (
            error
        )
    digest = hashlib.sha256(weights).hexdigest()
    return JarvisModel(target, network.eval().requires_grad_(False), config, digest)


def _read_files(path: Path) -> tuple[bytes, bytes]:
    """Return the content of the one ``config.json`` and the bytes of the last checkpoint."""
    if path.is_dir():
        files = {str(p.relative_to(path)): p for p in path.rglob("*") if p.is_file()}
        config, weights = _choose(path, list(files))
        return files[config].read_bytes(), files[weights].read_bytes()
    if not path.is_file():
        raise MissingModel(f"{path} does not exist")
    try:
        with open_zip(path) as archive:
            config, weights = _choose(path, archive.namelist())
            settings = read_member(archive, config, LARGEST_CONFIG)
            return settings, read_member(archive, weights, LARGEST_WEIGHTS)
    except DamagedZip as error:
        raise UnsoundModel(str(error)) from error


def _choose(path: Path, names: Sequence[str]) -> tuple[str, str]:
    configs = [name for name in names if Path(name).name == "config.json"]
    weights = [name for name in names if Path(name).suffix == ".pt"]
    if len(configs) != 1 or not weights:
        raise UnsoundModel(
            f"{path} has {len(configs)} config.json and {len(weights)} .pt files: one "
            "and at least one are needed"
        )

    def rank(name: str) -> tuple[bool, int]:
        steps = re.search(r"checkpoint_(\d+)", name)
        return Path(name).name == "best_model.pt", int(steps[1]) if steps else -1

    return configs[0], max(weights, key=rank)


def _build(model: dict[str, Any], weight_bytes: int) -> ALIGNNAtomWisePure:
    """Build the package's pure-torch network for a model of either generation.

    Args:
        model: Its part of the configuration.
        weight_bytes: Size of the file of weights: a network that is larger cannot be its.

    Raises:
        ValueError: It is of another kind, or of a size that no such file describes.
    """
    for name, value in model.items():
        most = MOST_LAYERS if name.endswith("_layers") else MOST_FEATURES
        if isinstance(value, int | float) and not 0 <= value <= most:
            raise ValueError(f"{name} is {value:g}, not between 0 and {most}")
    kind = model.pop("name")
    if kind not in ("alignn", "alignn_atomwise", "alignn_atomwise_pure"):
        raise ValueError(f"model {kind!r}")
    if model.pop("num_classes", None) and model.get("classification"):
        raise ValueError("a classifier")
    if model.get("classification") or model.get("extra_features"):
        raise ValueError("classifiers and models with extra features are not read")
    settings = {
        **model,
        "name": "alignn_atomwise_pure",
        "calculate_gradient": False,
        "lg_on_fly": True,  # the cosines follow from the bonds, as in the builder
    }
    if kind == "alignn":  # the defaults of this generation
        defaults = {"alignn_layers": 4, "gcn_layers": 4, "hidden_features": 256}
        settings = {**defaults, "atom_input_features": 92, **settings}
    config = ALIGNNAtomWisePureConfig(**settings)
    convolutions = 2 * config.alignn_layers + config.gcn_layers
    least = 5 * convolutions * config.hidden_features**2  # each has five square matrices
    if 2 * least > weight_bytes:  # half precision at least
        raise ValueError(f"more than {least} parameters, but the file has {weight_bytes} bytes")
    network = ALIGNNAtomWisePure(config)
    if network.config.output_features != 1:
        raise ValueError(f"{network.config.output_features} outputs instead of one")
    if kind == "alignn":
        _use_batch_norm(network)
    return network


def _use_batch_norm(module: nn.Module) -> None:
    """Put batch normalisation in the place of every layer normalisation."""
    for name, child in module.named_children():
        if isinstance(child, nn.LayerNorm):
            setattr(module, name, nn.BatchNorm1d(child.normalized_shape[0]))
        else:
            _use_batch_norm(child)


def build_graphs(structure: Structure, config: dict[str, Any]) -> tuple[TorchGraph, TorchGraph]:
    """Build a crystal's graph and line graph with the package, by a model's configuration.

    Args:
        structure: A crystal.
        config: The model's ``config.json``.

    Returns:
        Atoms with bonds, and bonds with angles.
    """
    from jarvis.core.atoms import Atoms

    atoms = Atoms(
        lattice_mat=structure.lattice.matrix,
        coords=structure.frac_coords,
        elements=[site.specie.symbol for site in structure],
        cartesian=False,
    )
    strategy = config.get("neighbor_strategy", "k-nearest")
    features = config.get("atom_features", "cgcnn")
    cutoff = float(config.get("cutoff", 8.0))
    if strategy == "k-nearest":
        return _nearest(atoms, cutoff, int(config.get("max_neighbors", 12)), features, config)
    limited = strategy == "pure_torch"
    three_body = config.get("three_body_cutoff") if limited else None
    graphs: tuple[TorchGraph, TorchGraph] = build_pure_torch_graph(
        atoms,
        two_body_cutoff=cutoff,
        three_body_cutoff=None if three_body is None else min(float(three_body), cutoff),
        max_neighbors=config.get("max_neighbors") if limited else None,
        atom_features=features,
    )
    return graphs


def _nearest(
    atoms: Any, cutoff: float, neighbours: int, features: str, config: dict[str, Any]
) -> tuple[TorchGraph, TorchGraph]:
    """Connect every atom with its nearest ones, whole shells, as ALIGNN did with DGL."""
    from alignn.graphs import build_undirected_edgedata, nearest_neighbor_edges
    from alignn.torch_graph_builder import _line_graph_edges
    from jarvis.core.specie import get_node_attributes

    edges, _ = nearest_neighbor_edges(
        atoms=atoms,
        cutoff=cutoff,
        max_neighbors=neighbours,
        use_canonize=config.get("use_canonize", True),
    )
    first, second, vectors, _ = build_undirected_edgedata(atoms, edges)
    rows = [list(get_node_attributes(s, atom_features=features)) for s in atoms.elements]
    table = torch.tensor(rows, dtype=torch.get_default_dtype())
    bonds = TorchGraph(len(rows), first, second, {"atom_features": table}, {"r": vectors})
    incoming, outgoing = _line_graph_edges(first, second, len(rows))
    return bonds, TorchGraph(bonds.num_edges, incoming, outgoing)
