"""Recombined codes: where their genes come from, and what the potential's labels belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from agents.relax.potential import Potential, PotentialResult
from agents.relax.recombination import label_codes, recombine
from agents.relax.references import ElementalReference, ElementalReferences
from model.generator import Decoded, Generator

MU = -1.5


class Volume(Potential):
    """A potential whose energy is the volume of the cell; small cells have none."""

    name, version = "volume", "1"

    def __init__(self, elements: frozenset[str], smallest: float) -> None:
        self.elements, self.smallest = elements, smallest

    def evaluate(self, structures: Sequence) -> list[PotentialResult]:
        self.require_elements(structures)
        return [
            PotentialResult(
                s.volume if s.volume > self.smallest else np.nan, np.zeros((len(s), 3)), np.eye(3)
            )
            for s in structures
        ]


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator.load("perov5")


def references(symbols: frozenset[str]) -> ElementalReferences:
    header = {"potential": "volume", "version": "1"}
    phases = {s: ElementalReference(s, MU, "none", {}, 1, "made up") for s in symbols}
    return ElementalReferences(header, phases, "none")


def test_each_gene_has_a_donor_and_the_local_codes_stay(generator: Generator) -> None:
    bank = generator.bank
    drawn = recombine(generator, 30, np.random.default_rng(0))
    bases = {bank.codes(int(row)).local for row in bank.rows("val")}
    assert {codes.local for codes in drawn} <= bases
    train = [bank.codes(int(row)) for row in bank.rows("train")]
    for codes in drawn:
        donors = [c.global_genes for c in train if c.n_species == codes.n_species]
        for place, gene in enumerate(codes.global_genes):
            assert gene in {genes[place] for genes in donors}
    again = recombine(generator, 30, np.random.default_rng(0))
    assert [c.digest() for c in drawn] == [c.digest() for c in again]
    assert len({c.digest() for c in drawn}) > 25


def test_labels_belong_to_their_codes(generator: Generator) -> None:
    codes = recombine(generator, 130, np.random.default_rng(0))
    structures = [item.structure for item in generator.decode(codes)]
    volumes = [s.volume for s in structures]
    present = {site.specie.symbol for s in structures for site in s}
    unknown = structures[0][0].specie.symbol
    known = frozenset(present - {unknown})
    smallest = float(np.median(volumes))
    labelled = label_codes(
        generator, Volume(known, smallest), references(frozenset(present)), codes
    )
    expected = {
        c.digest(): s.volume / len(s) - MU
        for c, s in zip(codes, structures)
        if s.volume > smallest and unknown not in {site.specie.symbol for site in s}
    }
    found = dict(zip((c.digest() for c in labelled.codes), labelled.values))
    assert found == pytest.approx(expected)
    assert 0 < len(labelled.codes) == len(labelled.values) < len(codes)
    assert labelled.refused == len(codes) - len(labelled.codes)
    assert labelled.level == "volume-1"


def test_flat_cells_and_overlapping_atoms_get_no_label(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = recombine(generator, 3, np.random.default_rng(0))
    flat = Structure(Lattice.orthorhombic(30, 30, 0.04), ["Na"], [[0, 0, 0]])
    overlapping = Structure(Lattice.cubic(5), ["Na", "Cl"], [[0, 0, 0], [0.05, 0, 0]])
    sound = Structure(Lattice.cubic(3), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    decoded = [Decoded(structure) for structure in (flat, overlapping, sound)]
    monkeypatch.setattr(generator, "decode", lambda _: decoded)
    known = frozenset({"Na", "Cl"})
    labelled = label_codes(generator, Volume(known, 1.0), references(known), codes)
    assert labelled.codes == [codes[2]]
    assert labelled.refused == 2
