"""The two stages, alone and through the database."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.prediction import Prediction
from agents.screen.duplicates import Sibling, Waiting
from agents.screen.models import ScreenModels
from agents.screen.screen import Refusal, Screen
from agents.screen.settings import ScreenSettings
from agents.screen.stage import PrescreenStage, ScreenStage
from agents.stage import Outcome, PutOff, work
from agents.targets import Window
from db import candidates as candidate_records
from db.connection import Session
from db.crystals import crystal_fields, structure_to_record
from db.states import State

ABSENT = {"megnet": "weights not found, set DISCOVERY_MODELS"}


def perovskite(a: float, species: Sequence[str]) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), [species[0], species[1], *[species[2]] * 3], sites)


SRTIO3 = perovskite(3.95, ["Sr", "Ti", "O"])
SRZRO3 = perovskite(4.15, ["Sr", "Zr", "O"])
NACL = Structure(
    Lattice([[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
)


class GapScreen(Screen):
    """Says 0.5 eV per atom in the cell."""

    name = "gaps"
    version = "7"

    def predict(
        self, structures: Sequence[Structure], on: str = "relaxed"
    ) -> list[list[Prediction] | Refusal]:
        return [
            [Prediction("band_gap", len(s) / 2, "eV", self.name, "7", "test", True, on=on)]
            if "Zr" not in s.symbol_set
            else Refusal(self.name, "Zr is not known")
            for s in structures
        ]


def candidate(structure: Structure | None, seq: int = 1) -> Any:
    record = None if structure is None else structure_to_record(structure)
    formula = None if structure is None else structure.composition.reduced_formula
    return SimpleNamespace(
        id=f"c-{seq}",
        seq=seq,
        campaign="c",
        formula=formula,
        structure=record,
        relaxation={"structure": record},
    )


def nobody(*_: Any) -> tuple[()]:
    """Nobody else is in the campaign."""
    return ()


def screen(
    generator: Any, structures: Sequence[Structure | None], **changes: Any
) -> dict[str, Outcome]:
    settings = ScreenSettings.model_validate(changes.pop("settings", {}))
    models = changes.pop("models", ScreenModels((GapScreen(),), True, ABSENT))
    changes = {"siblings": nobody, "waiting": nobody, **changes}
    stage = ScreenStage(settings, models, generator, **changes)
    given = [candidate(structure, seq) for seq, structure in enumerate(structures)]
    return {outcome.candidate_id: outcome for outcome in stage.process(given)}


def test_prescreen_passes_and_stores_the_numbers() -> None:
    [outcome] = PrescreenStage(ScreenSettings()).process([candidate(SRTIO3)])
    assert outcome.to == State.PRESCREENED
    record = outcome.updates["screening.prescreen"]
    assert record["min_distance"] == pytest.approx(1.975)
    assert record["smact_cdvae"] is record["smact_strict"] is record["valid"] is True
    assert record["settings"]["smact"] == "cdvae"


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        (None, "invalid_decode"),
        (perovskite(0.9, ["Sr", "Ti", "O"]), "min_distance"),
        (perovskite(3.9, ["Sr", "Na", "Cl"]), None),
        (perovskite(3.9, ["Cs", "K", "O"]), "smact"),
        (perovskite(3.9, ["La", "Al", "O"]), "lanthanide"),
    ],
)
def test_prescreen_rejects_with_reason_and_numbers(
    structure: Structure | None, reason: str | None
) -> None:
    stage = PrescreenStage(ScreenSettings(exclude_lanthanides=True))
    [outcome] = stage.process([candidate(structure)])
    assert (outcome.to == State.REJECTED, outcome.reason) == (reason is not None, reason)
    if structure is not None:
        assert "screening.prescreen" in outcome.updates


def test_prescreen_fails_a_crystal_without_volume() -> None:
    flat = candidate(SRTIO3)
    flat.structure["lattice"] = [[4, 0, 0], [8, 0, 0], [0, 0, 4]]
    [outcome] = PrescreenStage(ScreenSettings()).process([flat])
    assert outcome.to == State.FAILED
    assert "no volume" in str(outcome.reason)


def test_screen_stores_every_number_with_its_model(generator: Any) -> None:
    [outcome] = screen(generator, [NACL]).values()
    assert outcome.to == State.SCREENED
    assert [(p["model"], p["property"], p["level"]) for p in outcome.predictions] == [
        ("gaps", "band_gap", "test"),
        ("head", "formation_energy_per_atom", "chgnet-0.3.0"),
        ("head", "formation_energy_per_atom", "castelli2012"),
    ]
    assert {p["on"] for p in outcome.predictions} == {"relaxed"}
    assert outcome.updates["screening.models"] == [
        {"name": "gaps", "version": "7", "ran": True, "reason": None},
        {"name": "head", "version": "fakehead0001", "ran": True, "reason": None},
        {"name": "megnet", "version": None, "ran": False, "reason": ABSENT["megnet"]},
    ]
    assert outcome.updates["relaxed_codes"] == generator.codes(2).record()
    assert outcome.updates["duplicates"]["training"]["matches"][0]["label"] == "val"
    assert outcome.inputs["training_reference"] == "fake-bank@fakegen00001"


def test_crystal_that_cannot_be_encoded_is_kept(generator: Any) -> None:
    [outcome] = screen(generator, [SRZRO3]).values()
    assert outcome.to == State.SCREENED
    assert "relaxed_codes" not in outcome.updates
    why = "SrZrO3 is unknown to this generator"
    assert outcome.updates["screening.encoding"] == {"encoded": False, "reason": why}
    reasons = {m["name"]: m["reason"] for m in outcome.updates["screening.models"]}
    assert reasons == {"gaps": "Zr is not known", "head": why, **ABSENT}
    assert outcome.predictions == []


def test_training_duplicate_is_rejected_but_fully_recorded(generator: Any) -> None:
    [outcome] = screen(generator, [SRTIO3.copy()]).values()
    assert (outcome.to, outcome.reason) == (State.REJECTED, "duplicate_training")
    assert outcome.detail["matches"][0]["id"] == "train-1"
    assert len(outcome.predictions) == 3
    assert outcome.updates["relaxed_codes"] == generator.codes(0).record()
    [kept] = screen(
        generator, [SRTIO3.copy()], settings={"reject_training_duplicates": False}
    ).values()
    assert kept.to == State.SCREENED
    assert kept.updates["duplicates"]["training"]["matches"]


def test_campaign_duplicate_is_rejected(generator: Any) -> None:
    asked: list[tuple[str, str]] = []

    def siblings(campaign: str, formula: str) -> list[Sibling]:
        asked.append((campaign, formula))
        itself = Sibling("c-0", 0, "screened", SRZRO3)
        return [itself, Sibling("earlier", 8, "screened", perovskite(4.2, ["Sr", "Zr", "O"]))]

    [outcome] = screen(generator, [SRZRO3], siblings=siblings).values()
    assert asked == [("c", "SrZrO3")]
    assert (outcome.to, outcome.reason) == (State.REJECTED, "duplicate_campaign")
    assert [match["id"] for match in outcome.detail["matches"]] == ["earlier"]
    kept = screen(
        generator, [SRZRO3], siblings=siblings, settings={"reject_campaign_duplicates": False}
    )
    assert kept["c-0"].to == State.SCREENED


def test_a_candidate_waits_for_every_earlier_one_of_its_formula(generator: Any) -> None:
    asked: list[tuple[str, list[str]]] = []

    def waiting(campaign: str, formulas: Sequence[str]) -> list[Waiting]:
        asked.append((campaign, list(formulas)))
        earlier, later = Waiting("earlier", 3, "SrZrO3"), Waiting("later", 9, "NaCl")
        return [earlier, later, Waiting("c-8", 8, "NaCl")]

    stage = ScreenStage(
        ScreenSettings(), ScreenModels(), generator, siblings=nobody, waiting=waiting
    )
    put_off, judged = stage.process([candidate(SRZRO3, 7), candidate(NACL, 8)])
    assert put_off == PutOff("c-7")
    assert (judged.candidate_id, judged.to) == ("c-8", State.SCREENED)
    assert asked == [("c", ["NaCl", "SrZrO3"])]


def test_one_whose_earlier_twin_was_lost_to_another_worker_waits_for_it(generator: Any) -> None:
    lost = Waiting("c-0", 0, "SrZrO3")  # its outcome was refused, so it is still relaxed
    outcomes = screen(
        generator, [SRZRO3, SRZRO3], waiting=lambda campaign, formulas: [lost] if formulas else []
    )
    assert outcomes["c-0"].to == State.SCREENED
    assert outcomes["c-1"] == PutOff("c-1")


def test_gate_rejects_and_rank_records(generator: Any) -> None:
    windows = [Window(property="band_gap", min=2.0)]
    [ranked] = screen(generator, [NACL], windows=windows).values()
    assert ranked.to == State.SCREENED
    assert ranked.updates["screening.consensus"]["outside"] == ["band_gap"]
    [gated] = screen(generator, [NACL], windows=windows, settings={"consensus": "gate"}).values()
    assert (gated.to, gated.reason) == (State.REJECTED, "band_gap")
    assert gated.detail["verdicts"][0]["value"] == 1.0


def test_gate_counts_a_head_only_where_it_is_proven(generator: Any) -> None:
    energy = [Window(property="formation_energy_per_atom", max=-5.0)]
    changes = {"windows": energy, "settings": {"consensus": "gate"}}
    [shipped] = screen(generator, [NACL], **changes).values()
    assert (shipped.to, shipped.reason) == (State.REJECTED, "unjudged")
    learned = type(generator.head)()
    learned.version = "learned00001"
    changes = {"windows": energy, "settings": {"consensus": "gate"}, "head": learned}
    [unproven] = screen(generator, [NACL], **changes).values()
    assert unproven.reason == "unjudged"  # learned something, but was never judged on this target
    learned.proven = ["formation_energy_per_atom@chgnet-0.3.0"]
    [gated] = screen(generator, [NACL], **changes).values()
    assert (gated.to, gated.reason) == (State.REJECTED, "formation_energy")
    levels = {v["level"]: v["counted"] for v in gated.detail["verdicts"]}
    assert levels == {"chgnet-0.3.0": True, "castelli2012": False}


@pytest.mark.parametrize(
    ("structure", "models"),
    [(NACL, ScreenModels((), True, ABSENT)), (SRZRO3, ScreenModels((GapScreen(),), True, ABSENT))],
    ids=["model absent", "model refuses"],
)
def test_gate_lets_nothing_through_that_nobody_judged(
    generator: Any, structure: Structure, models: ScreenModels
) -> None:
    windows = [Window(property="band_gap", min=0.5)]
    [gated] = screen(
        generator, [structure], windows=windows, models=models, settings={"consensus": "gate"}
    ).values()
    assert (gated.to, gated.reason) == (State.REJECTED, "unjudged")
    assert gated.detail["unjudged"] == ["band_gap"]
    assert gated.updates["screening.relaxed"]["n_atoms"] == len(structure)
    [ranked] = screen(generator, [structure], windows=windows, models=models).values()
    assert ranked.to == State.SCREENED
    assert ranked.updates["screening.consensus"]["unjudged"] == ["band_gap"]


def test_relaxed_into_overlap_is_rejected(generator: Any) -> None:
    [outcome] = screen(generator, [perovskite(0.9, ["Sr", "Zr", "O"])]).values()
    assert outcome.reason == "min_distance"


def test_one_bad_crystal_does_not_stop_the_batch(generator: Any) -> None:
    outcomes = screen(generator, [None, NACL])
    assert outcomes["c-0"].to == State.FAILED
    assert "no relaxed structure" in str(outcomes["c-0"].reason)
    assert outcomes["c-1"].to == State.SCREENED


def test_without_the_head_codes_are_still_kept(generator: Any) -> None:
    models = ScreenModels((), head=False, absent={"head": "not among the models", **ABSENT})
    [outcome] = screen(generator, [NACL], models=models).values()
    assert outcome.predictions == []
    assert outcome.updates["relaxed_codes"]
    assert [m["ran"] for m in outcome.updates["screening.models"]] == [False, False]


def advance(candidate_id: str, source: State, to: State, **updates: Any) -> None:
    [leased] = candidate_records.lease("c", source, "test", 1, 60)
    assert leased.id == candidate_id
    candidate_records.transition(
        candidate_id, source=source, to=to, token=leased.token, agent="test", updates=updates
    )


def propose(structures: Sequence[Structure]) -> list[str]:
    return candidate_records.insert_proposals(
        "c",
        [
            {"generator_version": "g", "codes_hash": str(i), "codes": {"n": i}, **crystal_fields(s)}
            for i, s in enumerate(structures)
        ],
    )


def test_prescreen_through_the_database(database: Session) -> None:
    ids = propose([SRTIO3, perovskite(3.9, ["Cs", "K", "O"])])
    for candidate_id in ids:
        advance(candidate_id, State.PROPOSED, State.EVALUATED)
    assert work(PrescreenStage(ScreenSettings(batch=1)), "c", "worker") == 2
    passed, rejected = (candidate_records.load(candidate_id) for candidate_id in ids)
    assert passed.state == State.PRESCREENED
    assert passed.screening["prescreen"]["n_atoms"] == 5
    assert rejected.rejection["reason"] == "smact"
    assert rejected.rejection["detail"]["formula"] == "CsKO3"


def test_screen_through_the_database_keeps_the_first_of_two_equal_crystals(
    database: Session, generator: Any
) -> None:
    larger = perovskite(4.2, ["Sr", "Zr", "O"])
    ids = propose([SRZRO3, larger, SRTIO3, NACL])
    for candidate_id, structure in zip(ids, [SRZRO3, larger, SRTIO3, NACL]):
        path = (State.PROPOSED, State.EVALUATED, State.PRESCREENED, State.RELAXING, State.RELAXED)
        for source, to in pairwise(path):
            advance(candidate_id, source, to)
        database.database["candidates"].update_one(
            {"_id": candidate_id},
            {"$set": {"relaxation.structure": structure_to_record(structure)}},
        )
    stage = ScreenStage(ScreenSettings(), ScreenModels((GapScreen(),), True, ABSENT), generator)
    assert work(stage, "c", "worker") == 4
    found = [candidate_records.load(candidate_id) for candidate_id in ids]
    assert [c.state for c in found] == ["screened", "rejected", "rejected", "screened"]
    assert [c.rejection["reason"] for c in found[1:3]] == [
        "duplicate_campaign",
        "duplicate_training",
    ]
    assert found[1].duplicates["campaign"]["matches"][0]["id"] == ids[0]
    assert found[3].relaxed_codes == generator.codes(2).record()
    assert [p["value"] for p in found[3].predictions] == [1.0, -2.0, -4.0]
    assert found[3].history[-1]["inputs"]["gaps"] == "7"


def relaxed_pair(database: Session) -> list[str]:
    """Two equal crystals: the first still to be relaxed, the second waiting for the screens."""
    ids = propose([SRZRO3, SRZRO3])
    for place, candidate_id in enumerate(ids):
        path = (State.PROPOSED, State.EVALUATED, State.PRESCREENED, State.RELAXING, State.RELAXED)
        for source, to in pairwise(path[: 4 + place]):
            candidate_records.transition(candidate_id, source=source, to=to, token=0, agent="t")
        database.database["candidates"].update_one(
            {"_id": candidate_id}, {"$set": {"relaxation.structure": structure_to_record(SRZRO3)}}
        )
    return ids


@pytest.mark.parametrize("fate", ["screened", "rejected"])
def test_which_of_two_equal_crystals_is_kept_does_not_depend_on_who_is_relaxed_first(
    database: Session, generator: Any, fate: str
) -> None:
    first, second = relaxed_pair(database)
    stage = ScreenStage(ScreenSettings(), ScreenModels(), generator)
    assert work(stage, "c", "worker") == 0  # the second is put off
    waiting = candidate_records.load(second)
    assert (waiting.state, waiting.lease, waiting.attempts) == ("relaxed", None, 0)
    if fate == "screened":
        advance(first, State.RELAXING, State.RELAXED)
        assert work(stage, "c", "worker") == 2
    else:
        [leased] = candidate_records.lease("c", State.RELAXING, "test", 1, 60)
        candidate_records.transition(
            first,
            source=State.RELAXING,
            to=State.REJECTED,
            token=leased.token,
            agent="relax",
            reason="forces",
        )
        assert work(stage, "c", "worker") == 1
    kept = {"screened": (first, second), "rejected": (second, first)}[fate]
    assert [candidate_records.load(one).state for one in kept] == ["screened", "rejected"]
