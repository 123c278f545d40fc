"""What is read of a campaign is what is stored."""

from __future__ import annotations

import time
from datetime import datetime

import numpy as np
import pytest
from campaign_records import candidate, every_way, store_campaign

from db import campaigns
from db.connection import Session
from db.events import server_time
from db.selection import select, stream
from db.states import State
from discovery.figures import source
from discovery.figures.source import CampaignData, read_campaign

NAMES = (
    *("seq", "state", "proposer", "formula", "hit", "max_force", "control", "reason"),
    *("formation_energy_per_atom", "band_gap", "formation_energy_per_atom_head"),
    *("formation_energy_per_atom_potential", "created_at"),
)


def test_columns_are_what_queries_answer(database: Session):
    store_campaign(documents=every_way())
    data = read_campaign("made")
    for row in stream(select("made", fields=[name for name in NAMES if name != "created_at"])):
        found = data.candidates.loc[row.pop("id")]
        for name, value in row.items():
            assert found[name] == value or (value is None and found[[name]].isna().all()), name
    assert data.candidates["seq"].is_monotonic_increasing
    assert data.config.name == "made"
    assert set(data.head["id"]) <= set(data.candidates.index)
    assert len(data.head) == sum(len(one["predictions"]) for one in every_way())


def test_a_number_that_only_late_candidates_have_is_missing_before(database: Session):
    late = candidate(1, State.EVALUATED)
    late["properties"] = {"band_gap_alignn": 1.5}
    store_campaign(documents=[candidate(0, State.EVALUATED), late])
    column = read_campaign("made").candidates["band_gap_alignn"]
    assert np.isnan(column.iloc[0])
    assert column.iloc[1] == 1.5


def test_the_time_is_that_of_the_first_question(database: Session, monkeypatch: pytest.MonkeyPatch):
    store_campaign(documents=[candidate(0, State.PROPOSED)])
    asked: list[datetime] = []

    def read_hulls(*_: object) -> tuple[()]:
        time.sleep(0.01)  # the server tells milliseconds
        asked.append(server_time())
        return ()

    monkeypatch.setattr(source, "read_hulls", read_hulls)
    assert read_campaign("made").read_at < asked[0]


def test_an_empty_campaign_can_be_read(database: Session):
    store_campaign()
    data = read_campaign("made")
    assert len(data.candidates) == len(data.head) == len(data.sample) == 0
    with pytest.raises(campaigns.UnknownCampaign):
        read_campaign("nobody")


def test_samples_are_even_and_crystals_come_for_them_and_for_dft(perovskites: CampaignData):
    few = read_campaign("perovskites", sample=10)
    assert len(few.sample) == len(few.decoded_sample) == 10
    places = few.candidates.loc[list(few.sample), "seq"].to_numpy()
    assert set(np.diff(places)) <= {9, 10}
    verified = few.candidates.index[few.candidates["state"] == "verified"]
    assert set(few.crystals) == {*few.sample, *few.decoded_sample, *verified}
    first = few.structure(few.sample[0])
    assert first is not None
    assert first.composition.reduced_formula == "SrTiO3"
    assert few.structure("nobody") is None
    assert set(few.predictions["id"]) == set(verified)
