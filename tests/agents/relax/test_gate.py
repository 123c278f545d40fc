"""The sanity gate accepts CHGNet and refuses potentials that are wrong."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from agents.relax.gate import GateFailure, check, measure
from agents.relax.potential import load_potential


def test_chgnet_passes_within_five_seconds(chgnet):
    started = time.monotonic()
    checks = check(chgnet)
    assert time.monotonic() - started < 5
    energies = {c.crystal: c.value for c in checks if c.quantity.startswith("formation")}
    # Materials Project (MP-20), eV/atom
    assert energies["NaCl"] == pytest.approx(-2.110, abs=0.1)
    assert energies["SrTiO3"] == pytest.approx(-3.551, abs=0.1)
    assert energies["LaAlO3"] == pytest.approx(-3.715, abs=0.1)


@pytest.mark.models
@pytest.mark.parametrize("name", ["M3GNet-MP-2021.2.8-PES", "TensorNet-MatPES-PBE-v2025.1-PES"])
def test_stale_matgl_weights_are_refused(models_dir, name):
    with pytest.raises(GateFailure, match=r"refused by the sanity gate: NaCl: formation energy"):
        load_potential(str(models_dir / "matgl" / name))


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        (lambda r: replace(r, energy=0.9 * r.energy), "formation energy"),
        (lambda r: replace(r, forces=1.1 * r.forces), "force against finite differences"),
        (lambda r: replace(r, forces=-r.forces), "force against finite differences"),
        (lambda r: replace(r, stress=-r.stress), "stress against finite differences"),
        (lambda r: replace(r, forces=r.forces + 0.1), "largest force"),
        (lambda r: replace(r, energy=float("nan")), "formation energy"),
    ],
)
def test_a_spoiled_chgnet_is_refused(chgnet, stand_in, change, quantity):
    spoiled = stand_in(lambda structure: change(chgnet.evaluate([structure])[0]))
    with pytest.raises(GateFailure) as failure:
        check(spoiled)
    assert failure.value.potential == "chgnet-0.3.0"
    assert quantity in str(failure.value)
    assert not failure.value.failed.passed


def test_a_potential_without_known_crystals_in_its_domain_is_refused(chgnet, stand_in):
    carbon = stand_in(lambda structure: chgnet.evaluate([structure])[0])
    carbon.elements = frozenset({"C"})
    with pytest.raises(GateFailure, match="too few to judge it"):
        check(carbon)
    carbon.elements = frozenset({"Na", "Cl", "Mg", "O"})
    assert {c.crystal for c in measure(carbon)} == {"NaCl", "MgO"}
