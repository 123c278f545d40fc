"""JARVIS' file format, with models made here by the package: both generations, and refusals."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alignn.models.alignn_atomwise_pure import ALIGNNAtomWisePure, ALIGNNAtomWisePureConfig
from pymatgen.core import Lattice, Structure
from torch import Tensor, nn
from torch.nn import functional

from agents.screen.alignn_graph import batch_graphs, build_graph
from agents.screen.alignn_jarvis import PLAUSIBLE, ALIGNNJarvis
from agents.screen.alignn_jarvis_files import build_graphs, read_jarvis_model
from agents.screen.alignn_network import element_features
from agents.screen.megnet_golden import golden_crystals
from agents.screen.models import load_models, resolve_models
from agents.screen.screen import MissingModel, Refusal, UnsoundModel
from agents.screen.settings import ScreenSettings

SIZES = {
    "alignn_layers": 1,
    "gcn_layers": 1,
    "hidden_features": 16,
    "embedding_features": 8,
    "atom_input_features": 92,
}
MODERN: dict[str, Any] = {
    "target": "formation_energy_peratom",
    "atom_features": "cgcnn",
    "neighbor_strategy": "pure_torch",
    "cutoff": 5.01,
    "three_body_cutoff": 3.51,
    "max_neighbors": None,
    "model": {"name": "alignn_atomwise_pure", **SIZES, "calculate_gradient": False},
}
OLD: dict[str, Any] = {
    "target": "optb88vdw_bandgap",
    "atom_features": "cgcnn",
    "neighbor_strategy": "k-nearest",
    "cutoff": 8.0,
    "max_neighbors": 12,
    "model": {"name": "alignn", **SIZES, "link": "identity", "num_classes": 2},
}


def modern_network(seed: int = 0) -> ALIGNNAtomWisePure:
    torch.manual_seed(seed)
    return ALIGNNAtomWisePure(ALIGNNAtomWisePureConfig(**MODERN["model"])).eval()


def old_state(seed: int = 0) -> dict[str, Tensor]:
    """Weights with the names of the package's DGL model: its norms are batch norms."""
    random = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, value in modern_network(seed).state_dict().items():
        state[name] = value
        stem, _, last = name.rpartition(".")
        is_norm = "bn_" in stem or stem.endswith("layer.1")
        if is_norm and last == "bias":
            state[f"{stem}.running_mean"] = 0.3 * torch.randn(value.shape, generator=random)
            state[f"{stem}.running_var"] = 0.5 + torch.rand(value.shape, generator=random)
            state[f"{stem}.num_batches_tracked"] = torch.tensor(7)
    return state


def write_folder(folder: Path, config: dict[str, Any], state: object, name: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(state, folder / name)
    return folder


def write_zip(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{folder.name}/{file.name}")
    return path


@pytest.fixture
def modern(tmp_path: Path) -> Path:
    state = {"model": modern_network().state_dict(), "optimizer": {"step": 3}}
    return write_folder(tmp_path / "made" / "energy", MODERN, state, "best_model.pt")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path / "made" / "gap", OLD, {"model": {}}, "checkpoint_9.pt")
    torch.save({"model": old_state()}, folder / "checkpoint_300.pt")
    return folder


def test_radius_model_gives_the_packages_numbers(modern: Path, tmp_path: Path) -> None:
    """The same weights on graphs by our own, independent builder."""
    for path in (modern, write_zip(tmp_path / "energy.zip", modern)):
        screen = ALIGNNJarvis([read_jarvis_model(path)], batch=2)
        crystals = list(golden_crystals().values())
        answers = screen.predict(crystals, on="given")
        graphs = batch_graphs([build_graph(c, 5.01) for c in crystals], 3.51)
        network = modern_network()
        with torch.inference_mode():
            expected = _plain_forward(network, graphs).tolist()
        for answer, value in zip(answers, expected, strict=True):
            assert not isinstance(answer, Refusal)
            [prediction] = answer
            assert prediction.value == pytest.approx(value, abs=2e-5)
            assert prediction.property == "formation_energy_per_atom"
            assert (prediction.unit, prediction.level) == ("eV/atom", "optb88vdw-jarvis")
            assert prediction.version == screen.version


def _plain_forward(network: nn.Module, graphs: Any) -> Tensor:
    from agents.screen.alignn_network import ALIGNNNetwork, ALIGNNShape

    ours = ALIGNNNetwork(ALIGNNShape(properties=("x",), cutoff=5.01))
    ours.core = network
    return ours.residual(graphs).squeeze(1)


def test_old_model_gives_the_numbers_of_its_formulae(old: Path) -> None:
    """ALIGNN of 2021 written out atom by atom and bond by bond, with batch normalisation."""
    model = read_jarvis_model(old)
    state = old_state()
    for formula in ("Si", "SrTiO3"):
        crystal, screen = golden_crystals()[formula], ALIGNNJarvis([model])
        [answer] = screen.predict([crystal])
        assert not isinstance(answer, Refusal)
        assert (answer[0].property, answer[0].unit) == ("band_gap", "eV")
        assert answer[0].value == pytest.approx(_alignn_2021(crystal, state), abs=5e-5)


def _shells(crystal: Structure) -> list[tuple[int, int, np.ndarray]]:
    """Bonds to the 12 nearest atoms and all equally far, each in both directions.

    As in the package, where both atoms are one site the bond to an image and that to the opposite
    image are two bonds of two directions: such bonds count twice.
    """
    bonds: dict[tuple[int, int, tuple[int, ...]], np.ndarray] = {}
    for i, site in enumerate(crystal):
        around = sorted(crystal.get_neighbors(site, 12.0), key=lambda n: n.nn_distance)
        limit = around[11].nn_distance + 1e-6
        for other in around:
            if other.nn_distance <= limit:
                image = tuple(int(k) for k in other.image)
                vector = other.coords - site.coords
                if other.index < i:
                    bonds[(other.index, i, tuple(-k for k in image))] = -vector
                else:
                    bonds[(i, other.index, image)] = vector
    forward = [(i, j, vector) for (i, j, _), vector in bonds.items()]
    return forward + [(j, i, -vector) for i, j, vector in forward]


def _alignn_2021(crystal: Structure, state: dict[str, Tensor]) -> float:
    def linear(name: str, value: Tensor) -> Tensor:
        return value @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, value: Tensor) -> Tensor:
        centred = value - state[f"{name}.running_mean"]
        width = (state[f"{name}.running_var"] + 1e-5).sqrt()
        return functional.silu(centred / width * state[f"{name}.weight"] + state[f"{name}.bias"])

    def embed(name: str, value: Tensor) -> Tensor:
        return norm(f"{name}.layer.1", linear(f"{name}.layer.0", value))

    def expand(value: Tensor, low: float, high: float, bins: int) -> Tensor:
        centres = torch.linspace(low, high, bins)
        return torch.exp(-(bins - 1) / (high - low) * (value[:, None] - centres) ** 2)

    def convolve(
        name: str, ends: list[tuple[int, int]], x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        gates, over, under = [], torch.zeros_like(x), torch.zeros_like(x)
        for k, (i, j) in enumerate(ends):
            gate = linear(f"{name}.src_gate", x[i]) + linear(f"{name}.dst_gate", x[j])
            gate = gate + linear(f"{name}.edge_gate", y[k])
            gates.append(gate)
            over[j] += torch.sigmoid(gate) * linear(f"{name}.dst_update", x[i])
            under[j] += torch.sigmoid(gate)
        new = linear(f"{name}.src_update", x) + over / (under + 1e-6)
        return x + norm(f"{name}.bn_nodes", new), y + norm(f"{name}.bn_edges", torch.stack(gates))

    bonds = _shells(crystal)
    ends = [(i, j) for i, j, _ in bonds]
    vectors = torch.tensor(np.array([v for _, _, v in bonds]), dtype=torch.float32)
    pairs = [
        (a, b) for a, (_, j, _) in enumerate(bonds) for b, (i, _, _) in enumerate(bonds) if i == j
    ]
    cosines = torch.stack(
        [-functional.cosine_similarity(vectors[a], vectors[b], dim=0) for a, b in pairs]
    )
    x = embed("atom_embedding", element_features()[list(crystal.atomic_numbers)])
    y = expand(vectors.norm(dim=1), 0, 8, 80)
    z = expand(cosines, -1, 1, 40)
    for step in ("1", "2"):
        y, z = embed(f"edge_embedding.{step}", y), embed(f"angle_embedding.{step}", z)
    x, m = convolve("alignn_layers.0.node_update", ends, x, y)
    y, z = convolve("alignn_layers.0.edge_update", pairs, m, z)
    x, y = convolve("gcn_layers.0", ends, x, y)
    return float(linear("fc", x.mean(dim=0)))


def test_untrained_models_do_not_pass_the_gate(modern: Path) -> None:
    with pytest.raises(UnsoundModel, match=r"formation_energy_peratom says .* for NaCl, outside"):
        ALIGNNJarvis.load(modern.parent)


def test_a_model_with_plausible_values_passes_the_gate(
    modern: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = dict.fromkeys(golden_crystals(), (-50.0, 50.0))
    monkeypatch.setitem(PLAUSIBLE, "formation_energy_peratom", wide)
    monkeypatch.setenv("DISCOVERY_MODELS", str(modern.parent.parent))
    modern.parent.rename(modern.parent.parent / "alignn-jarvis")
    settings = ScreenSettings(models=("alignn-jarvis",))
    choices = [choice for choice in resolve_models(settings) if choice["used"]]
    [screen] = load_models(choices).screens
    assert isinstance(screen, ALIGNNJarvis)
    assert screen.version.startswith("jarvis-")
    assert "JARVIS" in screen.dependence
    assert list(screen.digests) == ["formation_energy_peratom"]


def test_two_models_of_one_property_are_refused(modern: Path, tmp_path: Path) -> None:
    write_zip(modern.parent / "again.zip", modern)
    with pytest.raises(UnsoundModel, match="several models of formation_energy_per_atom"):
        ALIGNNJarvis.load(modern.parent)


def test_pickles_are_not_executed(tmp_path: Path) -> None:
    class Surprise:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    folder = write_folder(tmp_path / "evil", MODERN, {"model": Surprise()}, "best_model.pt")
    with pytest.raises(UnsoundModel, match="not an ALIGNN model of a known kind"):
        read_jarvis_model(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "exfoliation_energy"}, "exfoliation_energy"),
        ({"neighbor_strategy": "voronoi"}, "voronoi"),
        ({"model": {**MODERN["model"], "hidden_features": 32}}, "size mismatch"),
        ({"model": {**MODERN["model"], "alignn_layers": 2}}, "Missing key"),
        ({"model": {**MODERN["model"], "output_features": 3}}, "3 outputs"),
        ({"model": {**MODERN["model"], "classification": True}}, "classifiers"),
        ({"model": {**MODERN["model"], "name": "ealignn_atomwise"}}, "ealignn_atomwise"),
        ({"model": {**MODERN["model"], "surprise": 1}}, "surprise"),
        ({"model": {**MODERN["model"], "name": "alignn"}}, "Missing key"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    state = {"model": modern_network().state_dict()}
    folder = write_folder(tmp_path / "other", {**MODERN, **change}, state, "best_model.pt")
    with pytest.raises(UnsoundModel, match=said):
        read_jarvis_model(folder)


def test_incomplete_and_absent_files_are_named(tmp_path: Path, modern: Path) -> None:
    with pytest.raises(MissingModel, match="does not exist"):
        read_jarvis_model(tmp_path / "nothing.zip")
    (modern / "best_model.pt").unlink()
    with pytest.raises(UnsoundModel, match=r"0 \.pt files"):
        read_jarvis_model(modern)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UnsoundModel, match="not a zip file"):
        read_jarvis_model(tmp_path / "text.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingModel, match="has no zip file or folder"):
        ALIGNNJarvis.load(tmp_path / "empty")


def test_no_folder_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingModel, match="DISCOVERY_MODELS"):
        ALIGNNJarvis.load()


def test_what_it_cannot_take_gets_no_number(modern: Path) -> None:
    screen = ALIGNNJarvis([read_jarvis_model(modern)])
    lonely = Structure(Lattice.cubic(12.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    collapsed = golden_crystals()["NaCl"].copy()
    collapsed.scale_lattice(0.5)
    found = screen.predict([lonely, golden_crystals()["NaCl"], collapsed])
    reasons = [answer.reason if isinstance(answer, Refusal) else None for answer in found]
    assert "2 of 2 atoms have no neighbour within 5.01 Å" in str(reasons[0])
    assert reasons[1] is None
    assert "far too small" in str(reasons[2])


def test_nearest_shells_are_whole() -> None:
    """In rock salt 6 of the other kind and the whole next shell of 12, which counts twice."""
    bonds, angles = build_graphs(golden_crystals()["NaCl"], OLD)
    assert torch.bincount(bonds.src).tolist() == [30, 30]
    assert angles.num_edges == 2 * 30 * 30
