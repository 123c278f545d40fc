"""A campaign beside the paper's funnel: candidates lost at each of its rows, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from agents.verify.choice.arms import Share
from db import campaigns
from db.connection import Session
from discovery.campaign.config import load_campaign
from discovery.reports.paper import FUNNELS
from discovery.reports.paper_funnel import describe, paper_funnel
from discovery.reports.rediscovery import describe as describe_rediscoveries
from discovery.reports.rediscovery import rediscoveries
from discovery.reports.status import status

ENERGY, GAP = "formation_energy_per_atom", "band_gap"


def word(model: str, name: str, value: float, *, inside: bool = True) -> dict[str, Any]:
    """A model's prediction of a relaxed crystal."""
    known = {"model": model, "version": "1", "level": "pbe-mp2018", "unit": "", "std": None}
    return {**known, "property": name, "value": value, "in_domain": inside, "on": "relaxed"}


def words(gap: float = 1.0, *, inside: bool = True) -> list[dict[str, Any]]:
    """What MEGNet and ALIGNN say of a crystal of -1 eV/atom."""
    said = [word(m, n, v, inside=inside) for m in ("megnet", "alignn") for n, v in
            ((ENERGY, -1.0), (GAP, gap))]  # fmt: skip
    return [*said, word("megnet", "p_gap", 0.9, inside=inside)]


def comparison(name: str, *matches: tuple[str, float], new: bool = True) -> dict[str, Any]:
    found = [
        {"id": label, "rms": rms, "rms_angstrom": 2 * rms, "label": label} for label, rms in matches
    ]
    return {"reference": name, "matches": found, "rediscovered": bool(found) and new}


def screened(
    train: float | None = None, mp: float | None = None, *, said: Any = None, **more: Any
) -> dict[str, Any]:
    """A relaxed candidate that the screens have seen, with its closest matches."""
    training = comparison("bank", *[("train", train)] if train else [], new=False)
    reference = comparison("mp", *[("known", mp)] if mp else [], new=train is None)
    return {
        "state": "screened",
        "relaxation": {"formation_energy_per_atom": -1.0, "max_force": 0.02},
        "duplicates": {"training": training, "references": [reference]},
        "screening": {
            "prescreen": {"smact_cdvae": True},
            "models": [{"name": name} for name in ("megnet", "alignn")],
        },
        "predictions": words() if said is None else said,
        **more,
    }


def verified(gap: float) -> dict[str, Any]:
    targets = {ENERGY: True, GAP: gap > 0.5}
    result = {ENERGY: -0.9, GAP: gap, "targets": targets, "hit": all(targets.values())}
    return screened(state="verified", selection={"position": 0}, verification=result)


CANDIDATES: dict[str, dict[str, Any]] = {
    "undecoded": {"state": "rejected", "structure": None, "screening": {}},
    "lanthanide": {"state": "rejected", "elements": ["La", "O"]},
    "charged": {"state": "rejected", "screening": {"prescreen": {"smact_cdvae": False}}},
    "trained on": screened(train=0.01, mp=0.02, state="rejected"),
    "known": screened(mp=0.03, said=words(4.0), state="rejected"),
    "moving": {
        "state": "rejected",
        "relaxation": {"formation_energy_per_atom": -1.0, "max_force": 0.06},
    },
    "left": screened(),
    "hit": verified(1.5),
    "metal": verified(0.0),
    "crashed": screened(state="failed", selection={"position": 1}),
    "unjudged": screened(said=words(inside=False), state="rejected"),
}

# passed, failed, not evaluated, left; each row among those not lost in the rows it builds on
EXPECTED = {
    "generated": (10, 1, 0, 10),
    "new": (6, 1, 3, 6),
    "new_mp": (5, 2, 3, 5),
    "smact": (7, 1, 0, 5),
    "relaxed": (5, 1, 1, 5),
    "composition": (5, 1, 0, 5),
    "models": (4, 0, 1, 4),
    "dft": (2, 1, 2, 2),
    "dft_energy": (2, 0, 2, 2),
    "dft_gap": (1, 1, 2, 1),
}


def insert(database: Session, name: str, records: dict[str, dict[str, Any]], **config: Any) -> None:
    shipped = load_campaign("photovoltaic-3d").record()
    resolved = {"generator": {"name": "mp20", "head": "h"}, "potential": {}, "screens": []}
    campaigns.create(name, config={**shipped, **config}, seed=1, resolved=resolved)
    common = {"campaign": name, "structure": {"sites": []}, "elements": ["Sr", "O"], "n_atoms": 4}
    common |= {"generator_version": "g", "token": 0, "history": [], "proposer": "random"}
    common |= {"screening": {"prescreen": {"smact_cdvae": True}}}
    database.database["candidates"].insert_many(
        {**common, "_id": f"{name}-{n}", "seq": n, "codes_hash": str(n), **record}
        for n, record in enumerate(records.values())
    )


@pytest.fixture
def campaign(database: Session) -> str:
    insert(database, "c", CANDIDATES, paper_funnel="photovoltaic-3d")
    return "c"


def test_every_row_is_counted_as_by_hand(campaign: str) -> None:
    found = paper_funnel(campaign)
    assert found is not None
    counts = {
        step["key"]: (step["passed"], step["failed"], step["not_evaluated"], step["left"])
        for step in found["steps"]
    }
    assert counts == EXPECTED
    rows = {step["key"]: step for step in found["steps"]}
    interval = Share.of_counts(7, 8)
    assert (rows["smact"]["share"]["low"], rows["smact"]["share"]["high"]) == (
        interval.low,
        interval.high,
    )
    assert rows["smact"]["paper"] == {"count": 13_292, "of": "new_mp", "share": 13_292 / 19_776}


def test_a_row_without_comparison_was_not_evaluated_rather_than_failed(database: Session) -> None:
    alone = {
        name: {**one, "duplicates": {"training": one["duplicates"]["training"]}}
        for name, one in CANDIDATES.items()
        if "duplicates" in one
    }
    insert(database, "c", alone)
    found = paper_funnel("c", name="photovoltaic-3d")
    assert found is not None
    rows = {step["key"]: step for step in found["steps"]}
    assert rows["new_mp"]["share"] is None
    assert (rows["new_mp"]["passed"], rows["new_mp"]["failed"]) == (0, 0)
    assert rows["new"]["share"]["of"] == 7
    (line,) = [one for one in describe(found, "mp20") if "Materials Project" in one]
    assert "not evaluated" in line
    assert "19776" in line


def test_slabs_are_counted_by_their_layer(database: Session) -> None:
    def slab(reason: str | None, **more: Any) -> dict[str, Any]:
        prescreen = {"smact_cdvae": True, "layer": {"reason": reason}}
        return {**more, "screening": {**more.get("screening", {}), "prescreen": prescreen}}

    compared = {"duplicates": {"training": comparison("bank"), "references": [comparison("c2db")]}}
    known = {
        "duplicates": {
            "training": comparison("bank"),
            "references": [comparison("c2db", ("known", 0.1))],
        }
    }
    deep = {**screened(**compared, state="verified"), "selection": {"position": 0}}
    records = {
        "bulk": slab("a bulk network", state="rejected"),
        "stack": slab("separate layers", state="rejected"),
        "known": slab(None, **screened(**known)),
        "deep": slab(None, **deep, verification={ENERGY: -1.2, "band_gap": 1.0}),
        "shallow": slab(None, **deep, verification={ENERGY: -0.7, "band_gap": 1.0}),
        "waiting": slab(None, **screened(**compared)),
    }
    insert(database, "c", records, paper_funnel="c2db-2d")
    found = paper_funnel("c")
    assert found is not None
    counts = {one["key"]: (one["passed"], one["failed"]) for one in found["steps"]}
    assert counts == {
        "generated": (6, 0),
        "two_dimensional": (4, 2),
        "new_c2db": (3, 3),
        "rules": (3, 0),
        "models": (3, 0),
        "drawn": (2, 1),
        "dft": (2, 0),
        "dft_energy": (2, 0),
        "dft_energy_low": (1, 1),
    }


def test_rediscoveries_are_known_crystals_outside_the_training_set(campaign: str) -> None:
    found = rediscoveries(campaign)
    assert found == {
        "count": 1,
        "of": 6,
        "distinct": 1,
        "collections": {"mp": 1},
        "mean_rms": 0.03,
        "smallest_rms": 0.03,
        "mean_rms_angstrom": 0.06,
    }
    told = describe_rediscoveries(found, FUNNELS["photovoltaic-3d"])
    assert "1 of 6 not in the training set (mp 1), mean RMS 0.0300, smallest 0.0300" in told
    assert "the paper: 437 of 20183, mean RMS 0.0509, smallest 0.0001" in told


def test_status_has_both_and_the_table_fits_a_terminal(campaign: str, database: Session) -> None:
    summary = status(campaign)
    assert summary["paper"] == paper_funnel(campaign)
    assert summary["rediscovered"]["count"] == 1
    assert "paper" not in status(campaign, funnels=False)
    for name in FUNNELS:
        shown = paper_funnel(campaign, name=name)
        assert shown is not None
        wide, narrow = describe(shown, "perov5"), describe(shown, "perov5", 40)
        assert max(map(len, wide)) <= 80
        assert max(map(len, narrow)) <= 40
        # The same numbers, in the same order.
        for step in shown["steps"]:
            assert step["label"] in narrow
            if step["share"] is not None:
                told = narrow[narrow.index(step["label"]) + 1]
                assert told.startswith(f"  here {step['passed']} of ")
    insert(database, "none", {"one": {"state": "proposed"}}, paper_funnel=None)
    assert status("none")["paper"] is None
