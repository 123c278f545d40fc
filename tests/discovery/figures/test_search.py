"""Hits and best energies along a search, counted as the comparison of methods counts them."""

from __future__ import annotations

import random

import pytest
from campaign_records import candidate, store_campaign

from agents.compare.figures import figures_of, hits_along
from db.connection import Session
from db.states import State
from discovery.figures import NothingToShow
from discovery.figures.search import FIGURE, progress
from discovery.figures.source import read_campaign

FORMULAS = ("GaN", "InN", "AlN", "LiF", "NaF", "KF")


def search(number: int, source: random.Random, proposer: str) -> dict:
    state, left = source.choice(
        [(State.SCREENED, None), (State.REJECTED, State.PRESCREENED), (State.EVALUATED, None)]
    )
    return candidate(
        number,
        state,
        left,
        reason="any" if state is State.REJECTED else None,
        proposer=proposer,
        formula=source.choice(FORMULAS),
        energy=source.uniform(-3, 1),
        smact=source.random() < 0.7,
    )


@pytest.mark.parametrize("seed", range(3))
def test_hits_and_best_are_those_of_the_comparison(database: Session, seed: int):
    source = random.Random(seed)
    made = [search(n, source, source.choice(["genetic", "random"])) for n in range(60)]
    store_campaign(documents=made)
    table = progress(read_campaign("made").candidates)
    for proposer in ("genetic", "random"):
        own = [one for one in made if one["proposer"] == proposer]
        record = {
            "formulas": [one["formula"] for one in own],
            "formation_energies": [one["evaluation"]["formation_energy_per_atom"] for one in own],
            "neutral": [one["screening"]["prescreen"]["smact_cdvae"] for one in own],
        }
        found = table[table["proposer"] == proposer]
        assert found["hits"].tolist() == hits_along(record)
        times = ("seconds", "cpu_seconds", "seconds_without_potential")
        record |= dict.fromkeys((*times, "cpu_seconds_without_potential"), 0.0)
        record |= {"refused": {}, "crystals": []}
        assert found["best"].iloc[-1] == pytest.approx(figures_of(record)["best"])


def test_what_waits_is_no_evaluation_and_what_decodes_to_nothing_is_one(database: Session):
    store_campaign(
        documents=[
            candidate(0, State.PROPOSED),
            candidate(1, State.REJECTED, State.PROPOSED, reason="invalid_decode"),
            candidate(2, State.EVALUATED, smact=None, energy=-2.0),  # the rules did not speak yet
        ]
    )
    table = progress(read_campaign("made").candidates)
    assert table["evaluation"].tolist() == [1, 2]
    assert table["hits"].tolist() == [0, 0]
    assert table["best"].isna().all()


def test_the_caption_compares_at_equal_evaluations_and_names_the_yardsticks(database: Session):
    rows = [("genetic", "GaN"), ("random", "InN"), ("genetic", "AlN"), ("genetic", "AlN")]
    store_campaign(
        documents=[
            candidate(n, State.EVALUATED, proposer=proposer, formula=formula)
            for n, (proposer, formula) in enumerate(rows)
        ]
    )
    content = FIGURE.content(read_campaign("made"))
    assert content.numbers == {
        "equal_evaluations": 1,
        "hits_at_equal": {"genetic": 1, "random": 1},
    }
    assert "random (uniform random codes)" in content.caption
    assert "Hits at 1 evaluations each: genetic 1, random 1." in content.caption
    best, hits = content.draw().axes
    assert best.get_ylabel().endswith("(eV/atom)")
    assert hits.get_xlabel() == "evaluations of the proposer"


def test_without_an_evaluation_there_is_nothing_to_show(database: Session):
    store_campaign(documents=[candidate(0, State.PROPOSED)])
    with pytest.raises(NothingToShow, match="nothing was evaluated"):
        FIGURE.content(read_campaign("made"))


def test_a_search_without_a_valid_crystal_is_a_sentence(database: Session):
    store_campaign(
        documents=[
            candidate(n, State.REJECTED, State.EVALUATED, reason="smact", smact=False)
            for n in range(3)
        ]
    )
    with pytest.raises(NothingToShow, match="none of the 3 proposals"):
        FIGURE.content(read_campaign("made"))
