"""The two stages: what they accept, what they reject and why."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from agents.relax.potential import PotentialResult
from agents.relax.references import ReferenceMismatch
from agents.relax.settings import RelaxSettings
from agents.relax.stage import EvaluateStage, RelaxStage
from agents.stage import work
from db import candidates, leases
from db.crystals import crystal_fields, record_to_structure, structure_to_record
from db.states import State


def candidate(structure: Structure | None, name: str = "c"):
    record = None if structure is None else structure_to_record(structure)
    return SimpleNamespace(id=name, structure=record)


def outcomes(stage, *structures):
    named = [candidate(s, f"c{i}") for i, s in enumerate(structures)]
    found = {o.candidate_id: o for o in stage.process(named)}
    return [found[c.id] for c in named]


def energy_for(references, structure, formation_energy):
    """Total energy (eV) at which a crystal has a formation energy (eV/atom)."""
    zero = references.formation_energy_per_atom(structure.composition, 0.0)
    return (formation_energy - zero) * len(structure)


def quiet(energy, force=0.0, size=2):
    forces = np.zeros((size, 3))
    forces[0, 0] = force
    return PotentialResult(energy, forces, np.zeros((3, 3)))


def test_a_good_crystal_is_evaluated_and_predicted(chgnet, references, crystal):
    stage = EvaluateStage(chgnet, references, RelaxSettings())
    assert (stage.takes, stage.batch) == (State.PROPOSED, 64)
    (outcome,) = outcomes(stage, crystal("SrTiO3"))
    assert outcome.to is State.EVALUATED
    evaluation = outcome.updates["evaluation"]
    assert evaluation["formation_energy_per_atom"] == pytest.approx(-3.58, abs=0.03)
    assert evaluation["level"] == "chgnet-0.3.0"
    assert evaluation["reference_hash"] == references.digest == outcome.inputs["references"]
    assert evaluation["volume_per_atom"] == pytest.approx(3.945**3 / 5)
    (prediction,) = outcome.predictions
    assert prediction["value"] == evaluation["formation_energy_per_atom"]
    assert (prediction["model"], prediction["version"]) == ("chgnet", "0.3.0")
    assert (prediction["level"], prediction["on"]) == ("chgnet-0.3.0", "decoded")


def test_what_is_no_crystal_is_rejected_before_the_potential_is_asked(
    references, crystal, stand_in
):
    potential = stand_in(lambda structure: quiet(0.0))
    stage = EvaluateStage(potential, references, RelaxSettings())
    overlapping = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.05, 0.05, 0]])
    flat = Structure(Lattice([[4, 0, 0], [0, 4, 0], [0, 0, 0.4]]), ["Na"], [[0, 0, 0]])
    wide = Structure(Lattice.cubic(8), ["Na"], [[0, 0, 0]])
    broken = Structure(Lattice.cubic(4), ["Na"], [[np.nan, 0, 0]])
    unknown = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    thin = Structure(Lattice([[8, 0, 0], [0, 8, 0], [0, 0, 0.4]]), ["Na"], [[0, 0, 0]])
    crystals = (overlapping, flat, wide, broken, unknown, thin, None)
    found = outcomes(stage, *crystals)
    assert potential.asked == []
    assert {o.to for o in found} == {State.REJECTED}
    assert [o.reason for o in found] == [
        "min_distance",
        "min_distance",
        "volume",
        "invalid_decode",
        "unsupported_elements",
        "min_distance",
        "invalid_decode",
    ]
    assert found[0].detail["distance"] == pytest.approx(4 * 0.05 * 2**0.5)
    assert found[2].detail["volume_per_atom"] == pytest.approx(512)


@pytest.mark.parametrize(("edge", "reason"), [(0.5, None), (0.4999, "min_distance")])
def test_the_limit_of_the_distance_itself_is_allowed_as_in_the_screens(
    references, stand_in, edge, reason
):
    thin = Structure(Lattice.orthorhombic(edge, 8, 8), ["Si"], [[0, 0, 0]])
    potential = stand_in(lambda s: quiet(energy_for(references, s, 0.1), size=1))
    (outcome,) = outcomes(EvaluateStage(potential, references, RelaxSettings()), thin)
    assert outcome.reason == reason


def test_a_crystal_that_crashes_the_potential_fails_alone(references, crystal, stand_in):
    def answer(structure):
        if "Si" in structure.symbol_set:
            raise RuntimeError("no neighbours")
        return quiet(energy_for(references, structure, -1.0))

    stage = EvaluateStage(stand_in(answer), references, RelaxSettings())
    good, bad, last = outcomes(stage, crystal("NaCl"), crystal("Si"), crystal("GaAs"))
    assert (good.to, last.to) == (State.EVALUATED, State.EVALUATED)
    assert bad.to is State.FAILED
    assert bad.reason == "chgnet-0.3.0: RuntimeError: no neighbours"
    (alone,) = outcomes(stage, crystal("Si"))
    assert alone.to is State.FAILED


def test_exploited_and_infinite_energies_are_rejected(references, crystal, stand_in):
    energies = {"NaCl": -44.0, "GaAs": float("nan"), "Si": 0.1}

    def answer(structure):
        value = energies[structure.composition.reduced_formula]
        return quiet(energy_for(references, structure, value))

    stage = EvaluateStage(stand_in(answer), references, RelaxSettings())
    exploited, infinite, fine = outcomes(stage, crystal("NaCl"), crystal("GaAs"), crystal("Si"))
    assert exploited.reason == "potential_exploited"
    assert exploited.detail["formation_energy_per_atom"] == pytest.approx(-44.0)
    assert exploited.updates["evaluation"]["energy"] < 0
    assert infinite.reason == "not_finite"
    assert fine.to is State.EVALUATED


def test_a_relaxed_crystal_is_accepted_with_its_record(chgnet, references, crystal, rattle):
    stage = RelaxStage(chgnet, references, RelaxSettings())
    assert stage.takes is State.RELAXING
    structure = rattle(crystal("NaCl"), 0.05, 1.1)
    (outcome,) = outcomes(stage, structure)
    assert outcome.to is State.RELAXED
    record = outcome.updates["relaxation"]
    assert record["formation_energy_per_atom"] == pytest.approx(-2.08, abs=0.03)
    assert record["max_force"] < 0.05
    assert record["volume_ratio"] == pytest.approx(1 / 1.1, rel=0.03)
    assert (record["converged"], record["stop"], record["optimizer"]) == (
        True,
        "converged",
        "trust_region",
    )
    assert record["settings"]["fmax"] == 0.03
    relaxed = record_to_structure(record["structure"])
    energy = chgnet.energies([relaxed])[0]
    assert energy == pytest.approx(record["energy"], abs=1e-4)
    assert outcome.predictions[0]["on"] == "relaxed"
    assert outcome.predictions[0]["value"] == record["formation_energy_per_atom"]


@pytest.mark.parametrize(
    ("name", "formation_energy", "force", "settings", "reason"),
    [
        ("NaCl", -0.1, 0.0, {}, None),
        ("NaCl", 0.1, 0.0, {}, "formation_energy"),
        ("NaCl", 0.1, 0.0, {"formation_energy_max": 0.2}, None),
        ("NaCl", -0.1, 0.0, {"formation_energy_max": -0.5}, "formation_energy"),
        ("Si", 0.3, 0.0, {}, None),
        ("Si", 0.6, 0.0, {}, "elemental_energy"),
        ("Si", 0.3, 0.0, {"elemental_max_above_reference": 0.2}, "elemental_energy"),
        ("NaCl", -0.1, 0.06, {}, "max_force"),
        ("NaCl", -0.1, 0.049, {}, None),
        ("NaCl", -6.0, 0.0, {}, "potential_exploited"),
    ],
)
def test_the_acceptance_window(
    references, crystal, stand_in, name, formation_energy, force, settings, reason
):
    structure = crystal(name)
    energy = energy_for(references, structure, formation_energy)
    potential = stand_in(lambda s: quiet(energy, force))
    settings = RelaxSettings(max_steps=5, relax_cell=False, **settings)
    (outcome,) = outcomes(RelaxStage(potential, references, settings), structure)
    assert outcome.reason == reason
    assert outcome.to is (State.RELAXED if reason is None else State.REJECTED)
    record = outcome.updates["relaxation"]
    assert record["formation_energy_per_atom"] == pytest.approx(formation_energy)
    assert record["max_force"] == pytest.approx(force)


@pytest.mark.parametrize(
    ("stress", "changes", "reason"),
    [
        (0.9, {}, None),
        (1.1, {}, "max_stress"),
        (-1.1, {}, "max_stress"),
        (1.1, {"accept_max_stress": 2.0}, None),
        (1.1, {"relax_cell": False}, None),
        (-5.0, {"pressure": 5.0}, None),
        (0.0, {"pressure": 5.0}, "max_stress"),
    ],
)
def test_a_cell_under_stress_is_no_relaxed_crystal_even_without_forces(
    references, crystal, stand_in, stress, changes, reason
):
    structure = crystal("NaCl")
    energy = energy_for(references, structure, -1.0)
    result = PotentialResult(energy, np.zeros((2, 3)), stress * 0.00624151 * np.eye(3))
    settings = RelaxSettings(max_steps=0, **changes)
    stage = RelaxStage(stand_in(lambda s: result), references, settings)
    (outcome,) = outcomes(stage, structure)
    assert outcome.reason == reason
    if reason:
        expected = abs(stress + changes.get("pressure", 0.0))
        assert outcome.detail["max_stress"] == pytest.approx(expected, rel=1e-4)
        assert (outcome.detail["max"], outcome.detail["unit"]) == (1.0, "GPa")


@pytest.mark.parametrize(("force", "reason"), [(0.04, None), (0.06, "max_force")])
def test_out_of_time_is_judged_by_forces_and_stress_like_out_of_steps(
    references, crystal, stand_in, force, reason
):
    structure = crystal("NaCl")
    energy = energy_for(references, structure, -1.0)
    settings = RelaxSettings(seconds_per_structure=1e-9)
    stage = RelaxStage(stand_in(lambda s: quiet(energy, force)), references, settings)
    (outcome,) = outcomes(stage, structure)
    assert outcome.updates["relaxation"]["stop"] == "time"
    assert outcome.reason == reason


@pytest.mark.parametrize(
    ("stress", "force", "reason"),
    [(-0.5, 0.0, "volume"), (0.0, 200.0, "min_distance"), (0.0, float("nan"), "not_finite")],
)
def test_exploding_crystals_are_rejected_with_the_reason(
    references, crystal, stand_in, stress, force, reason
):
    def answer(structure):
        forces = np.zeros((2, 3))
        forces[0, 0] = force
        return PotentialResult(-100.0, forces, stress * np.eye(3))

    stage = RelaxStage(stand_in(answer), references, RelaxSettings(optimizer="fire"))
    (outcome,) = outcomes(stage, crystal("NaCl"))
    assert (outcome.to, outcome.reason) == (State.REJECTED, reason)
    assert outcome.updates["relaxation"]["stop"] == reason
    values = outcome.updates["relaxation"].values()
    assert not any(isinstance(v, float) and np.isnan(v) for v in values)


def test_a_crash_in_a_relaxation_leaves_the_others_alone(references, crystal, stand_in):
    def answer(structure):
        if "Si" in structure.symbol_set:
            raise RuntimeError("out of memory")
        return quiet(energy_for(references, structure, -1.0))

    stage = RelaxStage(stand_in(answer), references, RelaxSettings())
    failed, relaxed = outcomes(stage, crystal("Si"), crystal("NaCl"))
    assert (failed.to, relaxed.to) == (State.FAILED, State.RELAXED)
    assert "out of memory" in failed.reason


def test_an_outcome_comes_as_soon_as_its_crystal_is_relaxed(references, crystal, stand_in):
    def answer(structure):
        force = 0.1 if "Ga" in structure.symbol_set else 0.0
        return quiet(energy_for(references, structure, -1.0), force)

    potential = stand_in(answer)
    stage = RelaxStage(potential, references, RelaxSettings())
    stream = stage.process([candidate(crystal("GaAs"), "slow"), candidate(crystal("NaCl"), "fast")])
    assert next(stream).candidate_id == "fast"
    assert len(potential.asked) <= 4
    assert next(stream).candidate_id == "slow"
    assert len(potential.asked) > 100


def test_references_of_another_potential_are_refused(chgnet, references, stand_in):
    other = stand_in(lambda s: quiet(0.0))
    other.version = "0.2.0"
    with pytest.raises(ReferenceMismatch, match=r"chgnet-0\.3\.0 cannot be used with chgnet-0\.2"):
        EvaluateStage(other, references, RelaxSettings())


def test_both_stages_work_on_records_of_the_database(database, chgnet, references, crystal, rattle):
    structures = {
        "good": rattle(crystal("NaCl"), 0.03, 1.05),
        "overlapping": Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.05, 0.05, 0]]),
    }
    proposals = [
        {
            "generator_version": "v",
            "codes_hash": name,
            "codes": {"crystal": [1]},
            **crystal_fields(structure),
        }
        for name, structure in structures.items()
    ]
    good, overlapping = candidates.insert_proposals("test", proposals)
    settings = RelaxSettings()
    assert work(EvaluateStage(chgnet, references, settings), "test", "worker") == 2
    rejected = candidates.load(overlapping)
    assert (rejected.state, rejected.rejection["reason"]) == (State.REJECTED, "min_distance")
    for source, to in ((State.EVALUATED, State.PRESCREENED), (State.PRESCREENED, State.RELAXING)):
        (held,) = leases.lease("test", source, "test", 1, 60)
        candidates.transition(good, source=source, to=to, token=held.token, agent="test")
    assert work(RelaxStage(chgnet, references, settings), "test", "worker") == 1
    relaxed = candidates.load(good)
    assert relaxed.state == State.RELAXED
    assert relaxed.relaxation["formation_energy_per_atom"] == pytest.approx(-2.08, abs=0.03)
    assert [p["on"] for p in relaxed.predictions] == ["decoded", "relaxed"]
    assert record_to_structure(relaxed.relaxation["structure"]).composition.formula == "Na1 Cl1"


def test_the_distance_to_a_hull_of_single_points_is_recorded_where_it_is_asked_for(
    references, crystal, stand_in
):
    class Hulls:
        def above(self, composition, formation_energy):
            return None if "Si" in composition else formation_energy + 0.25

    potential = stand_in(lambda s: quiet(energy_for(references, s, -1.0)))
    stage = EvaluateStage(potential, references, RelaxSettings(), Hulls())
    placed, without = outcomes(stage, crystal("NaCl"), crystal("Si"))
    assert placed.updates["evaluation"]["above_single_point_hull"] == pytest.approx(-0.75)
    assert without.to is State.EVALUATED
    assert without.updates["evaluation"]["above_single_point_hull"] is None
    (plain,) = outcomes(EvaluateStage(potential, references, RelaxSettings()), crystal("NaCl"))
    assert "above_single_point_hull" not in plain.updates["evaluation"]
