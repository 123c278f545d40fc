"""A potential and a DFT code that an installed package brings, as `agents.extensions` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.extensions import POTENTIALS, extensions, load_extension
from agents.relax.gate import GateFailure
from agents.relax.potential import UnusablePotential, load_potential
from agents.verify.backend import load_backend
from agents.verify.settings import VerifySettings

MODULE = """
from agents.relax.potential import Potential, PotentialResult
from agents.verify.gpaw.backend import GPAWBackend
import numpy as np

class Flat(Potential):
    name, version = "flat", "1"
    elements = frozenset({"Na", "Cl", "Mg", "O"})

    def __init__(self, device):
        self.device = device

    def evaluate(self, structures):
        return [PotentialResult(0.0, np.zeros((len(s), 3)), np.zeros((3, 3))) for s in structures]

class MyCode(GPAWBackend):
    name = "mycode"
"""
ENTRIES = """
[discovery.potentials]
flat = brought_{n}:Flat

[discovery.dft]
mycode = brought_{n}:MyCode
"""


def install(folder: Path, n: int) -> None:
    """Put a package with its metadata where Python finds packages."""
    (folder / f"brought_{n}.py").write_text(MODULE)
    metadata = folder / f"brought_{n}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: brought-{n}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRIES.format(n=n))


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(tmp_path, 1)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_brought_potential_is_loaded_by_name_and_judged_by_the_gate(brought: Path) -> None:
    assert load_extension(POTENTIALS, "flat")("cpu").level == "flat-1"
    with pytest.raises(GateFailure, match="flat-1 is refused by the sanity gate: NaCl"):
        load_potential("flat")


def test_an_unknown_potential_is_refused_with_the_brought_ones(brought: Path) -> None:
    with pytest.raises(UnusablePotential, match="openlam-test, flat"):
        load_potential("flatter")


def test_a_brought_dft_code_is_a_backend_that_campaigns_may_name(brought: Path) -> None:
    assert VerifySettings(backend="mycode").backend == "mycode"
    assert load_backend("mycode").name == "mycode"


@pytest.mark.usefixtures("brought")
def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no backend 'abacus': auto, gpaw, vasp, none, mycode"):
        VerifySettings(backend="abacus")
    with pytest.raises(ValueError, match="named 'abacus': choose one of gpaw, vasp, mycode"):
        load_backend("abacus")


def test_without_such_packages_there_are_none() -> None:
    found: Any = load_extension(POTENTIALS, "flat")

    assert found is None
    assert "flat" not in extensions(POTENTIALS)


def test_a_name_that_two_packages_bring_is_refused(brought: Path) -> None:
    install(brought, 2)

    with pytest.raises(ValueError, match="2 installed packages bring 'flat'"):
        load_potential("flat")
