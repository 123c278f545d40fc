"""Ionic substitution, against pymatgen's own predictor and volumes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionPredictor
from pymatgen.analysis.structure_prediction.volume_predictor import DLSVolumePredictor
from pymatgen.core import Composition, Element, Lattice, Species, Structure

from agents.propose.build import build_proposer
from agents.propose.records import proposal_records
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import SubstitutionSettings
from agents.propose.space import search_space
from agents.propose.substitution import substitutions, with_predicted_volume

ALL = {Element.from_Z(z).symbol for z in range(1, 101)}


def structure_of(formula: str, a: float = 4.0) -> Structure:
    if formula == "NaCl":
        return Structure(Lattice.cubic(a), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    symbols = [str(e) for e in Composition(formula)]
    sites = [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), symbols, sites)


def test_substitutions_and_probabilities_are_pymatgens():
    threshold = 0.004
    predictor = SubstitutionPredictor(threshold=threshold)
    ions = {Species("Na", 1): 1, Species("Cl", -1): 1}
    expected = {}
    for entry in predictor.composition_prediction(ions, to_this_composition=True):
        pairs = {old.symbol: new.symbol for new, old in entry["substitutions"].items()}
        expected[frozenset(pairs.items())] = entry["probability"]
    found = list(
        itertools.takewhile(
            lambda s: s.probability > threshold, substitutions(structure_of("NaCl"), ALL)
        )
    )
    own = {frozenset(s.elements.items()): s.probability for s in found}
    assert len(expected) > 10
    assert set(own) == set(expected)
    for key, probability in own.items():
        assert probability == pytest.approx(expected[key])
    falling = [s.probability for s in found]
    assert falling == sorted(falling, reverse=True)


def test_only_elements_of_the_domain_are_put_in():
    domain = {"Sr", "Ti", "O", "Ba", "Zr", "S"}
    found = list(itertools.islice(substitutions(structure_of("SrTiO3"), domain), 20))
    assert {new for s in found for new in s.elements.values()} <= domain
    assert {"Sr": "Ba", "Ti": "Zr", "O": "O"} in [s.elements for s in found]


def test_an_alloy_is_substituted_at_equal_oxidation_states():
    alloy = structure_of("NaCl").replace_species({"Na": "Ti", "Cl": "Al"}, in_place=False)
    assert not Composition("TiAl").oxi_state_guesses()
    found = list(itertools.islice(substitutions(alloy, ALL), 30))
    assert found[0].elements == {"Ti": "Ti", "Al": "Al"}
    assert {"Ti": "Zr", "Al": "Al"} in [s.elements for s in found]
    assert {"Ga", "Fe", "Cr", "In", "Sc", "V"} & {s.elements["Al"] for s in found}


def test_volumes_are_pymatgens_and_follow_the_ions():
    base = structure_of("NaCl", 3.5)
    larger = base.replace_species({"Na": "Cs", "Cl": "I"}, in_place=False)
    scaled = with_predicted_volume(larger)
    assert scaled.volume == pytest.approx(DLSVolumePredictor().predict(larger))
    assert scaled.volume > 1.3 * base.volume
    assert base.volume == pytest.approx(3.5**3)
    gases = base.replace_species({"Na": "He", "Cl": "Xe"}, in_place=False)
    assert with_predicted_volume(gases).volume == base.volume  # nothing is known of them


@pytest.fixture
def proposer(shipped):
    settings = SubstitutionSettings(batch=8, generations=3)
    return build_proposer(settings, search_space(shipped, 2), EpisodeSeed(0, 0), 50, shipped)


def test_it_proposes_crystals_that_keep_the_bases_sites(shipped, proposer):
    base = shipped.decode([proposer.space.base])[0].structure
    proposals = proposer.ask(0)
    formulas = [p.structure.composition.reduced_formula for p in proposals]
    assert len(set(formulas)) == 8
    assert base.composition.reduced_formula not in formulas
    for proposal in proposals:
        assert np.allclose(proposal.structure.frac_coords, base.frac_coords)
        angles = (proposal.structure.lattice.angles, base.lattice.angles)
        assert np.allclose(*angles)
        assert proposal.codes == shipped.encode([proposal.structure])[0]
        numbers = {site.specie.Z for site in proposal.structure}
        assert numbers <= shipped.elements


def test_generations_continue_and_a_rebuilt_one_asks_the_same(shipped, proposer):
    first = proposer.ask(0)
    proposer.tell(0, [])
    second = proposer.ask(1)
    formulas = [p.structure.composition.reduced_formula for p in first + second]
    assert len(set(formulas)) == 16
    again = build_proposer(proposer.settings, proposer.space, EpisodeSeed(0, 0), 50, shipped)
    again.tell(0, [])
    assert again.ask(1) == second


def test_the_substituted_crystal_is_recorded_not_what_its_codes_decode_to(shipped, proposer):
    proposals = proposer.ask(0)
    decoded = shipped.decode([p.codes for p in proposals])
    records = proposal_records(proposals, decoded, shipped, shipped.head)
    for proposal, record in zip(proposals, records, strict=True):
        assert record["structure"]["lattice"] == proposal.structure.lattice.matrix.tolist()
        assert record["formula"] == proposal.structure.composition.reduced_formula
        assert record["codes"] == proposal.codes.record()
    moved = [
        abs(d.structure.volume / p.structure.volume - 1)
        for d, p in zip(decoded, proposals, strict=True)
    ]
    assert max(moved) > 1e-6
