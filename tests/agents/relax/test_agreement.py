"""A second potential's opinion: agreement, disagreement with both numbers, no opinion."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from agents.relax.agreement import SecondPotential, agreement
from agents.relax.potential import load_potential
from agents.relax.references import ElementalReferences, ReferenceMismatch
from agents.relax.settings import RelaxSettings
from agents.relax.stage import RelaxStage
from db.crystals import structure_to_record
from db.documents import Candidate
from db.states import State


@pytest.fixture(scope="module")
def openlam():
    """The project's DPA-3 test model: another kind of potential than CHGNet."""
    return load_potential("openlam-test")


@pytest.fixture
def second(openlam) -> SecondPotential:
    """The test model as second potential, with a tolerance that its errors need."""
    return SecondPotential(openlam, ElementalReferences.load(openlam), 0.25)


def test_two_potentials_agree_on_known_crystals(chgnet, references, second, crystal):
    crystals = [crystal(name) for name in ("NaCl", "SrTiO3", "LaAlO3")]
    values = [
        references.formation_energy_per_atom(s.composition, energy)
        for s, energy in zip(crystals, chgnet.energies(crystals))
    ]
    for value, (opinion, verdict) in zip(values, agreement(crystals, values, second)):
        assert verdict is None
        assert opinion.formation_energy == pytest.approx(value, abs=0.25)
        assert opinion.formation_energy != pytest.approx(value, abs=1e-4)
        assert opinion.record()["level"] == second.potential.level


def test_a_disagreement_names_both_numbers(second, crystal):
    ((opinion, verdict),) = agreement([crystal("NaCl")], [-4.4], second)
    assert verdict.reason == "potential_disagreement"
    assert verdict.detail["formation_energy_per_atom"] == -4.4
    assert verdict.detail["second_formation_energy_per_atom"] == opinion.formation_energy
    assert opinion.formation_energy == pytest.approx(-2.0, abs=0.2)
    assert verdict.detail["second_potential"] == second.potential.level
    assert verdict.detail["max"] == 0.25


def test_an_energy_that_is_no_number_is_a_disagreement(chgnet, references, stand_in, crystal):
    broken = stand_in(lambda s: replace(chgnet.evaluate([s])[0], energy=float("nan")))
    second = SecondPotential(broken, references, 0.2)
    ((_, verdict),) = agreement([crystal("NaCl")], [-2.0], second)
    assert verdict.reason == "potential_disagreement"
    assert verdict.detail["second_formation_energy_per_atom"] is None


def test_without_an_opinion_a_crystal_is_refused_by_the_elements(second, crystal):
    given = [crystal("Si"), crystal("NaCl")]
    (silicon, refused), (_, accepted) = agreement(given, [0.0, -2.0], second)
    assert silicon.formation_energy is None
    assert refused.reason == "unsupported_elements"
    assert refused.detail == {"elements": ["Si"], "potential": second.potential.level}
    assert accepted is None


def test_references_of_another_potential_are_refused(openlam, references):
    with pytest.raises(ReferenceMismatch, match=r"chgnet-0\.3\.0 cannot be used with openlam-test"):
        SecondPotential(openlam, references, 0.2)


def test_a_potential_cannot_be_its_own_second():
    with pytest.raises(ValidationError, match="must be another potential"):
        RelaxSettings(second_potential="chgnet")
    assert RelaxSettings(second_potential="DPA-3.1-3M:Omat24").second_potential


def test_the_stage_rejects_what_only_the_first_potential_likes(
    chgnet, references, second, stand_in, crystal
):
    flattering = stand_in(  # 1.5 eV/atom too low, as a potential far from its training data
        lambda s: replace(r := chgnet.evaluate([s])[0], energy=r.energy - 1.5 * len(s))
    )
    settings = RelaxSettings(max_steps=60)
    candidate = Candidate(id="c", structure=structure_to_record(crystal("NaCl")))
    for potential, state in ((chgnet, State.RELAXED), (flattering, State.REJECTED)):
        stage = RelaxStage(potential, references, settings, second=second)
        (outcome,) = stage.process([candidate])
        assert outcome.to is state
        stored = outcome.updates["relaxation"]["second_potential"]
        assert stored["formation_energy_per_atom"] == pytest.approx(-2.0, abs=0.2)
    assert outcome.reason == "potential_disagreement"
    (unasked,) = RelaxStage(flattering, references, settings).process([candidate])
    assert unasked.to is State.RELAXED
