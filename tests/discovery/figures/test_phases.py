"""Phase diagrams show the phases that the hull on record was made of, or nothing."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from campaign_records import candidate, store_campaign
from pymatgen.core import Composition
from reference_phases import COLLECTION, Tabulated, crystal, write_table

from db import reference_energies
from db.connection import Session, current_database
from db.states import State
from discovery.figures import NothingToShow
from discovery.figures.phases import FIGURE
from discovery.figures.source import CampaignData, read_campaign
from discovery.references.importing import import_reference

CRITERION = "relaxed, as the candidates"
#: Decides about the candidates, so the campaign has relaxed it; the others have single points.
RELAXED = {"mp-3": -2.02, "mp-9": -2.20}


def hull_of(formula: str) -> float:
    """The lowest energy of a mixture of phases at a composition, by trying all mixtures."""
    target = Composition(formula)
    elements = [element.symbol for element in target.elements]
    phases = [(Composition(e), 0.0) for e in elements]
    for name, (known, energy, _) in COLLECTION.items():
        where = Composition(known)
        if {e.symbol for e in where.elements} <= set(elements):
            phases.append((where, RELAXED.get(name, energy)))
    wanted = [target.get_atomic_fraction(e) for e in elements]
    best = float("inf")
    for some in combinations(phases, len(elements)):
        shares = _mixture([[c.get_atomic_fraction(e) for e in elements] for c, _ in some], wanted)
        if shares is not None:
            best = min(best, sum(share * energy for share, (_, energy) in zip(shares, some)))
    return best


def _mixture(columns: list[list[float]], wanted: list[float]) -> list[float] | None:
    import numpy as np

    matrix = np.array(columns).T
    if abs(np.linalg.det(matrix)) < 1e-9:
        return None
    shares = np.linalg.solve(matrix, wanted)
    return None if (shares < -1e-9).any() else list(shares)


@pytest.fixture
def placed(database: Session, tmp_path: Path) -> CampaignData:
    """A binary and a ternary hit, and a candidate that is none, with what the record says."""
    rows = {name: crystal(COLLECTION[name][0], int(name[3:])) for name in COLLECTION}
    write_table(tmp_path / "mp.csv.gz", rows)
    import_reference(str(tmp_path / "mp.csv.gz"), name="mp")
    potential = Tabulated()
    energies = []
    for name, structure in rows.items():
        for criterion, energy in (
            ("single_point", COLLECTION[name][1]),
            (CRITERION, RELAXED.get(name)),
        ):
            if energy is not None:
                total = potential.total(structure, energy) / len(structure)
                energies.append(
                    {
                        "reference_id": name,
                        "potential": potential.level,
                        "criterion": criterion,
                        "energy_per_atom": total,
                        **dict.fromkeys(("error", "max_force", "max_stress")),
                        "steps": 0,
                        "seconds": 0.0,
                    }
                )
    reference_energies.put("mp", energies)
    known = current_database()["reference_collections"].find_one({"_id": "mp"})
    from db.reference_collections import load

    described = load("mp")
    assert known is not None
    reference = f"mp {described['version']}, files {described['checksum']}"
    documents = []
    for number, (formula, energy, hit) in enumerate(
        [("NaCl", -2.1, True), ("NaKCl2", -1.9, True), ("NaCl3", -0.9, False)]
    ):
        hull = {
            "reference": reference,
            "level": potential.level,
            "references": potential.references.digest,
            "criterion": CRITERION,
            "settings": {"max_atoms": None},
            "energy_above_hull": energy - hull_of(formula),
            "decomposition": [{"id": "mp-3", "formula": "NaCl", "amount": 1.0}],
        }
        documents.append(
            candidate(
                *(number, State.VERIFIED),
                **{"formula": formula, "energy": energy + 0.5, "hit": hit, "hull": hull},
            )
        )
    store_campaign(documents=documents)
    return read_campaign("made")


def test_hits_are_shown_among_the_phases_of_their_systems(placed: CampaignData):
    content = FIGURE.content(placed)
    table = content.table
    assert set(table["system"]) == {"Cl-Na", "Cl-K-Na"}
    candidates = table[table["role"] == "candidate"].set_index("formula")
    assert set(candidates.index) == {"NaCl", "NaKCl2"}
    for formula, one in candidates.iterrows():
        wanted = one["formation_energy_eV_per_atom"] - hull_of(formula)
        assert one["above_hull_eV_per_atom"] == pytest.approx(wanted)
    phases = table[(table["role"] == "phase") & (table["system"] == "Cl-Na")].set_index("id")
    assert set(phases.index) == {"element:Na", "element:Cl", *(f"mp-{n}" for n in range(3, 9))}
    for name, one in phases.iterrows():
        if not name.startswith("element"):
            wanted = RELAXED.get(name, COLLECTION[name][1])
            assert one["formation_energy_eV_per_atom"] == pytest.approx(wanted)
            assert one["relaxed"] == (name in RELAXED)
            above = wanted - hull_of(one["formula"])
            assert one["above_hull_eV_per_atom"] == pytest.approx(above, abs=1e-6)


def test_the_picture_says_how_far_from_the_hull(placed: CampaignData):
    axes = FIGURE.content(placed).draw().axes
    titles = [ax.get_title(loc="left") for ax in axes]
    assert "NaCl: -0.080 eV/atom from the hull" in titles[0]
    assert axes[0].get_ylabel() == "formation energy (eV/atom)"
    assert axes[0].get_xlabel() == "share of Na"
    names = {text.get_text() for text in axes[1].texts}
    assert {"Na", "K", "Cl", "NaCl", "KCl"} <= names


def test_hulls_of_another_collection_are_not_shown(placed: CampaignData):
    current_database()["candidates"].update_many(
        {"campaign": "made"}, {"$set": {"hull.reference": "mp 1999, files none"}}
    )
    with pytest.raises(NothingToShow, match="the reference data are others since"):
        FIGURE.content(read_campaign("made"))


def test_phases_that_give_another_distance_are_not_shown(placed: CampaignData):
    current_database()["candidates"].update_many(
        {"campaign": "made"}, {"$set": {"hull.energy_above_hull": 0.5}}
    )
    with pytest.raises(NothingToShow, match="the stored phases put it"):
        FIGURE.content(read_campaign("made"))


def test_a_campaign_without_hulls_says_why(database: Session):
    store_campaign(documents=[candidate(0, State.VERIFIED, hit=True)])
    with pytest.raises(NothingToShow, match="the reference collection mp was not imported"):
        FIGURE.content(read_campaign("made"))


def test_the_hull_of_dft_comes_first(placed: CampaignData):
    from db.documents import Calculation

    hashes = {"mp-3": "h3", "mp-6": "h6"}
    current_database()["calculations"].insert_many(
        [
            {"_id": digest, "formula": COLLECTION[name][0], "kind": "phase"}
            for name, digest in hashes.items()
        ]
    )
    assert Calculation.objects.count() == 2
    name = placed.candidates.index[0]
    hull = {
        "level": "gpaw-pbe",
        "energy_above_hull": 0.15,
        "formation_energy_per_atom": -1.65,
        "decomposition": [{"id": "mp-3", "formula": "NaCl", "amount": 1.0}],
        "phases": {"mp-3": -1.8, "mp-6": -1.0},
        "calculations": hashes,
    }
    current_database()["candidates"].update_one({"_id": name}, {"$set": {"follow_up.hull": hull}})
    found = next(one for one in read_campaign("made").hulls if one.candidate == name)
    assert (found.kind, found.level, found.fault) == ("DFT", "gpaw-pbe", None)
    assert {one.id for one in found.phases} == {"mp-3", "mp-6", "element:Na", "element:Cl"}
