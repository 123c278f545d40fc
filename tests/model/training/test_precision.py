"""Mixed precision: the dense layers change, quantisers, losses, lattice and weights do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model.settings import TrainConfig
from model.training import EpochReport, train
from model.training.corpus import read_corpus
from model.training.loop import NetworkTraining
from model.training.precision import is_compiled, uses_bfloat16

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_automatic_choices_are_for_gpus_only(
    tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert not uses_bfloat16(tiny_config, CPU)
    assert not is_compiled(tiny_config, CPU)
    assert uses_bfloat16(tiny_config, GPU)
    assert is_compiled(tiny_config, GPU)
    off = tiny_config.model_copy(update={"precision": "float32", "compile": "off"})
    assert not uses_bfloat16(off, GPU)
    assert not is_compiled(off, GPU)
    on = tiny_config.model_copy(update={"precision": "bfloat16", "compile": "on"})
    assert uses_bfloat16(on, CPU)
    assert is_compiled(on, CPU)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert not uses_bfloat16(tiny_config, GPU)


def test_training_in_bfloat16_stays_near_float32(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    totals = {}
    for precision in ("float32", "bfloat16"):
        reports: list[EpochReport] = []
        config = tiny_config.model_copy(update={"precision": precision})
        out = tmp_path / precision
        train(config, data_dir=tiny_data, out=out, on_epoch=reports.append)
        totals[precision] = [r.losses["total"] for r in reports]
        weights = load_file(out / "model.safetensors").values()
        assert not any(w.dtype == torch.bfloat16 for w in weights)
    assert totals["bfloat16"] == pytest.approx(totals["float32"], rel=0.02)
    assert totals["bfloat16"] != totals["float32"]


def test_only_dense_layers_run_in_bfloat16(tiny_config: TrainConfig, tiny_data: Path) -> None:
    config = tiny_config.model_copy(update={"precision": "bfloat16"})
    with torch.random.fork_rng(devices=[]):
        training = NetworkTraining(config, read_corpus(config, tiny_data), device=CPU)
        network = training.network
        seen: dict[str, set[torch.dtype]] = {}

        def record(name: str, module: nn.Module) -> None:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                results = output if isinstance(output, tuple) else (output,)
                kinds = {x.dtype for x in (*inputs, *results) if x.is_floating_point()}
                seen.setdefault(name, set()).update(kinds)

            module.register_forward_hook(hook)

        for name, quantiser in network.quantisers.items():
            record(f"quantiser {name}", quantiser)
        for name, module in network.lattice.named_modules():  # type: ignore[union-attr]
            if isinstance(module, nn.Linear):
                record(f"lattice {name}", module)
        for module in network.dense_modules:
            record("dense", next(m for m in module.modules() if isinstance(m, nn.Linear)))
        training.run_epoch()
        training.run_epoch()
    dense = seen.pop("dense")
    assert torch.bfloat16 in dense
    assert len(seen) > 4
    assert all(kinds == {torch.float32} for kinds in seen.values())


def test_compilation_is_asked_for_on_dense_modules_only(
    tiny_config: TrainConfig, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compiled.append(self))
    for choice, expected in (("auto", False), ("on", True)):
        config = tiny_config.model_copy(update={"compile": choice})
        with torch.random.fork_rng(devices=[]):
            training = NetworkTraining(config, read_corpus(config, tiny_data), device=CPU)
        assert compiled == (list(training.network.dense_modules) if expected else [])
    assert compiled
