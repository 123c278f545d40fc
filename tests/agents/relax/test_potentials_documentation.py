"""The example of `docs/potentials.md` works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from agents.relax.batch import relax
from agents.relax.gate import GateFailure
from agents.relax.settings import RelaxSettings

PAGE = Path(__file__).parents[3] / "docs" / "potentials.md"


def test_the_documented_potential_relaxes_argon_and_does_not_pass_the_gate() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    scope: dict[str, object] = {"__name__": "documented"}
    exec(compile(source, str(PAGE), "exec"), scope)
    potential = scope["potential"]
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Ar"], [[0, 0, 0]])
    start = cubic.get_primitive_structure()
    relaxation = relax(start, potential, RelaxSettings(stress_max=0.01, max_steps=300))
    assert relaxation.converged
    # Lennard-Jones solid: a = 2^(2/3) * 0.9712 sigma = 5.24 Å, less a little for the cut-off
    constant = (4 * relaxation.structure.volume) ** (1 / 3)
    assert constant == pytest.approx(5.24, abs=0.05)
    with pytest.raises(GateFailure, match="only 0 of the known crystals"):
        scope["check"](potential)
