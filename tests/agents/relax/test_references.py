"""The shipped elemental references belong to CHGNet 0.3.0 and give known formation energies."""

from __future__ import annotations

import json

import pytest

from agents.relax.reference_table import recompute
from agents.relax.references import (
    DATA,
    ElementalReferences,
    MissingReference,
    ReferenceMismatch,
)


def test_shipped_structures_have_the_stored_energies(chgnet, references):
    assert references.elements == chgnet.elements
    symbols = sorted(references.elements)
    structures = [references.structure(symbol) for symbol in symbols]
    for symbol, structure, energy in zip(symbols, structures, chgnet.energies(structures)):
        assert structure.composition.chemical_system == symbol
        assert len(structure) == references[symbol].n_atoms <= 20
        stored = references[symbol].energy_per_atom
        assert energy / len(structure) == pytest.approx(stored, abs=2e-4), symbol


def test_shipped_structures_are_relaxed(chgnet, references):
    symbols = ["Na", "O", "Ti", "Si", "Sn", "Br"]
    for result in chgnet.evaluate([references.structure(s) for s in symbols]):
        assert result.max_force < 0.05


@pytest.mark.parametrize(
    ("name", "expected"),
    [("NaCl", -2.08), ("SrTiO3", -3.58), ("LaAlO3", -3.74), ("GaAs", -0.27), ("Si", 0.0)],
)
def test_formation_energies_of_known_crystals(chgnet, references, crystal, name, expected):
    structure = crystal(name)
    energy = chgnet.energies([structure])[0]
    value = references.formation_energy_per_atom(structure.composition, energy)
    assert value == pytest.approx(expected, abs=0.03)


def test_formation_energy_does_not_depend_on_the_size_of_the_cell(chgnet, references, crystal):
    small = crystal("NaCl")
    large = small * (2, 1, 1)
    values = [
        references.formation_energy_per_atom(s.composition, chgnet.energies([s])[0])
        for s in (small, large)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_a_table_of_another_version_is_refused(chgnet, tmp_path):
    table = json.loads((DATA / "chgnet-0.3.0.json").read_text())
    table["header"]["version"] = "0.2.0"
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table))
    with pytest.raises(ReferenceMismatch, match=r"chgnet-0\.2\.0.*potential is chgnet-0\.3\.0"):
        ElementalReferences.load(chgnet, path)


def test_missing_table_and_missing_element_are_clear_errors(references):
    with pytest.raises(MissingReference, match=r"m3gnet-1 .*discovery models references --potent"):
        ElementalReferences.load("m3gnet-1")
    with pytest.raises(MissingReference, match="no reference energy for Po"):
        references.formation_energy_per_atom("PoO2", -10.0)


@pytest.mark.data
def test_the_table_can_be_recomputed(chgnet, references, data_dir, tmp_path):
    path = recompute(chgnet, data_dir, tmp_path / "table.json", elements=["Al", "Ti"])
    again = ElementalReferences.load(chgnet, path)
    assert again.elements == {"Al", "Ti"}
    assert again.header["data_sha256"] == references.header["data_sha256"]
    for key in ("fmax", "stress_max", "pressure", "relax_cell"):  # whatever optimiser meets them
        assert again.header["relaxation"][key] == references.header["relaxation"][key]
    for symbol in again.elements:
        assert again[symbol].source_id == references[symbol].source_id
        stored = references[symbol].energy_per_atom
        assert again[symbol].energy_per_atom == pytest.approx(stored, abs=5e-4)


@pytest.mark.data
def test_recomputing_unknown_elements_is_refused(chgnet, data_dir, tmp_path):
    with pytest.raises(ValueError, match="Po, Xx"):
        recompute(chgnet, data_dir, tmp_path / "table.json", elements=["Po", "Xx"])
    assert not (tmp_path / "table.json").exists()
