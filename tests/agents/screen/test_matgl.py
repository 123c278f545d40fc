"""Property models of matgl: a small one trained here passes the gate, everything else does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure

from agents.screen.known_values import KNOWN, require_known_values
from agents.screen.matgl import MatglScreen
from agents.screen.megnet_golden import golden_crystals
from agents.screen.models import load_models, load_screen, resolve_models
from agents.screen.screen import MissingModel, Refusal, UnsoundModel
from agents.screen.settings import ScreenSettings

matgl = pytest.importorskip("matgl")

NAME = "MEGNet-Eform-MP-2018.6.1"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a MEGNet of matgl that knows the five crystals by heart."""
    from matgl.ext.pymatgen import Structure2Graph
    from matgl.models import MEGNet

    torch.manual_seed(0)
    crystals = golden_crystals()
    elements = tuple(sorted({s for c in crystals.values() for s in c.symbol_set}))
    model = MEGNet(
        dim_edge_embedding=20,
        hidden_layer_sizes_input=(16, 8),
        hidden_layer_sizes_conv=(16, 16, 8),
        hidden_layer_sizes_output=(8, 8),
        nblocks=1,
        element_types=elements,
    )
    converter = Structure2Graph(element_types=elements, cutoff=model.cutoff)
    inputs = []
    for formula, crystal in crystals.items():
        graph, lattice, state = converter.get_graph(crystal)
        graph.pbc_offshift = torch.matmul(graph.pbc_offset, lattice[0])
        graph.pos = graph.frac_coords @ lattice[0]
        known = KNOWN[formula]["formation_energy_per_atom"]
        inputs.append((graph, torch.tensor(state), torch.tensor(known)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(400):
        errors = [model(g=graph, state_attr=state) - known for graph, state, known in inputs]
        loss = torch.stack([error.squeeze() ** 2 for error in errors]).mean()
        if loss < 1e-3:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("models") / "matgl" / NAME
    model.save(folder)
    return folder.parent.parent


def test_a_model_by_name_passes_the_gate_and_predicts(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(hub))
    monkeypatch.setenv("XDG_CACHE_HOME", str(hub / "nothing"))
    screen = load_screen(f"matgl:{NAME}")
    salt = golden_crystals()["NaCl"]
    unknown = Structure(Lattice.cubic(4), ["Cs", "I"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    answer, refusal = screen.predict([salt, unknown], on="given")
    assert isinstance(answer, list)
    (prediction,) = answer
    assert prediction.value == pytest.approx(-2.105, abs=0.15)
    assert (prediction.model, prediction.unit, prediction.level, prediction.on) == (
        f"matgl:{NAME}",
        "eV/atom",
        "pbe-mp2018",
        "given",
    )
    assert prediction.version == screen.digests["state.pt"][:12]
    assert refusal == Refusal(screen.name, "Cs, I is not among its elements")
    settings = ScreenSettings(models=("head", f"matgl:{NAME}"))
    choices = json.loads(json.dumps(resolve_models(settings)))
    assert {c["name"]: c["used"] for c in choices} == {
        "megnet": False,
        "alignn": False,
        "head": True,
        f"matgl:{NAME}": True,
    }
    assert [s.name for s in load_models(choices).screens] == [f"matgl:{NAME}"]


def test_the_gate_refuses_shifted_weights_and_a_model_under_another_name(
    hub: Path, tmp_path: Path
) -> None:
    model = matgl.load_model(hub / "matgl" / NAME)
    model.save(tmp_path / "MEGNet-BandGap-MP-2018.6.1")
    with pytest.raises(UnsoundModel, match=r"is refused: NaCl: band_gap .* expected 5\.003"):
        MatglScreen.from_folder(tmp_path / "MEGNet-BandGap-MP-2018.6.1")
    model.save(tmp_path / "MEGNet-Something")
    with pytest.raises(UnsoundModel, match="either Eform or BandGap"):
        MatglScreen.from_folder(tmp_path / "MEGNet-Something")
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.3)
    model.save(tmp_path / NAME)
    with pytest.raises(UnsoundModel, match="is refused"):
        MatglScreen.from_folder(tmp_path / NAME)
    (tmp_path / NAME / "state.pt").unlink()
    with pytest.raises(UnsoundModel, match=r"state\.pt missing"):
        MatglScreen.from_folder(tmp_path / NAME)


@pytest.mark.models
def test_a_potential_is_no_property_model(models_dir: Path) -> None:
    folder = models_dir / "matgl" / "M3GNet-MP-2021.2.8-PES"
    with pytest.raises(UnsoundModel, match=r"relax\.potential"):
        MatglScreen.from_folder(folder)


def test_an_absent_model_says_how_to_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingModel, match=f"discovery models fetch matgl:{NAME}"):
        load_screen(f"matgl:{NAME}")
    with pytest.raises(ValueError, match="unknown screen 'cgcnn'"):
        load_screen("cgcnn")


def test_the_gate_wants_a_number_for_every_crystal(hub: Path) -> None:
    screen = MatglScreen.from_folder(hub / "matgl" / NAME)
    assert len(require_known_values(screen, [screen.property])) == 5
    with pytest.raises(UnsoundModel, match="says nothing on band_gap of NaCl"):
        require_known_values(screen, ["band_gap"])
    screen.elements = frozenset({"Na", "Cl"})
    with pytest.raises(UnsoundModel, match="gives no number for Si"):
        require_known_values(screen, [screen.property])
