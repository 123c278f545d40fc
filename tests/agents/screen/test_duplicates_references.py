"""Candidates against imported collections: what matches, and what is recorded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from agents.screen import duplicates_fingerprint
from agents.screen.duplicates import compare_with_reference
from agents.screen.duplicates_bulk import search
from agents.screen.duplicates_fingerprint import fingerprint, to_bytes
from agents.screen.models import ScreenModels
from agents.screen.references_mongo import MongoReference, require_collection
from agents.screen.settings import MatcherSettings, ScreenSettings
from agents.screen.stage import ScreenStage
from agents.stage import work
from db import candidates as candidate_records
from db import reference_collections, reference_structures
from db.connection import Session
from db.crystals import crystal_fields, structure_to_record
from db.reference_collections import OutdatedCollection, UnknownCollection
from db.states import State

TOLERANCES = MatcherSettings()


def import_crystals(collection: str, known: dict[str, Structure], **fields: Any) -> None:
    """Store crystals as an import does."""
    records = []
    for name, structure in known.items():
        stored = {
            "fingerprint": to_bytes(fingerprint(structure)),
            "fingerprint_version": duplicates_fingerprint.VERSION,
        }
        described = {"reference_id": name, "checksum": name, "role": "known"}
        records.append({**crystal_fields(structure), **described, **stored, **fields})
    reference_structures.put(collection, records)
    values = {"sha256": "ab" * 32, "read": len(known), "n_bad": 0, "role": "known"}
    reference_collections.note_file(
        collection,
        "t.csv.gz",
        values,
        complete=True,
        version="v1",
        fingerprint_version=duplicates_fingerprint.VERSION,
    )


def random_crystals(n: int, seed: int, species: tuple[str, ...]) -> dict[str, Structure]:
    random = np.random.default_rng(seed)
    crystals = {}
    for number in range(n):
        cell = (*random.uniform(3.5, 5.0, size=3), *random.uniform(80, 100, size=3))
        positions = random.uniform(size=(len(species), 3))
        crystals[f"{''.join(species)}-{seed}-{number}"] = Structure(
            Lattice.from_parameters(*cell), species, positions
        )
    return crystals


def test_matches_are_those_of_brute_force_over_the_whole_collection(database: Session) -> None:
    known = random_crystals(10, 0, ("Na", "Cl", "Cl")) | random_crystals(6, 1, ("Na", "Cl"))
    doubled = known["NaCl-1-0"].copy()
    doubled.make_supercell([2, 1, 1])
    import_crystals("mp", known | {"double": doubled})
    reference = MongoReference("mp")
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    queries = random_crystals(5, 2, ("Na", "Cl", "Cl")) | random_crystals(3, 3, ("Na", "Cl"))
    queries["other"] = random_crystals(1, 4, ("Na", "Br"))["NaBr-4-0"]
    verdicts = []
    for query in queries.values():
        expected = {
            name: matcher.get_rms_dist(query, other)[0]
            for name, other in (known | {"double": doubled}).items()
            if matcher.fit(query, other)
        }
        found = compare_with_reference(query, reference, TOLERANCES)
        assert {match.id: match.rms for match in found.matches} == pytest.approx(expected)
        assert (found.reference, found.version, found.checksum) == ("mp", "v1", "ab" * 6)
        verdicts.append(bool(expected))
    assert 0 < sum(verdicts) < len(verdicts)
    bulk = search(queries, reference, TOLERANCES)
    assert [bool(one.matches) for one in bulk] == verdicts
    assert [one.block for one in bulk] == [10] * 5 + [7] * 3 + [0]


def test_stored_fingerprints_order_the_comparisons(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = random_crystals(8, 0, ("Na", "Cl", "Cl"))
    import_crystals("mp", known)
    name, query = list(known.items())[5]
    computed = []
    monkeypatch.setattr(
        "agents.screen.matching.fingerprint", lambda one: computed.append(one) or fingerprint(one)
    )
    [found] = search({"q": query.copy()}, MongoReference("mp"), TOLERANCES)
    assert ([match.id for match in found.matches], found.compared) == ([name], 1)
    assert len(computed) == 1  # that of the query; the others are stored


def test_roles_are_chosen(database: Session) -> None:
    known = random_crystals(2, 0, ("Na", "Cl"))
    first, second = known
    import_crystals("mp20", {first: known[first]}, role="train")
    import_crystals("mp20", {second: known[second]}, role="test")
    train = MongoReference("mp20", name="mp20-train", roles=("train",))
    assert [(one.id, one.role) for one in train.of_formula("NaCl")] == [(first, "train")]
    assert len(MongoReference("mp20").of_formula("NaCl")) == 2


def test_a_collection_without_todays_fingerprints_is_refused(database: Session) -> None:
    with pytest.raises(UnknownCollection, match="discovery data import mp"):
        require_collection("mp")
    import_crystals("mp", random_crystals(1, 0, ("Na", "Cl")))
    require_collection("mp")
    reference_collections.note("mp", fingerprint_version="other")
    with pytest.raises(OutdatedCollection, match="discovery data import mp"):
        MongoReference("mp")


def layer(vacuum: float, thickness: float = 2.8, species: tuple[str, str] = ("Na", "Cl")) -> Any:
    """A double layer of rock salt with a vacuum along c."""
    height = thickness + vacuum
    heights = (0.5, 0.5, 0.5 + thickness / height, 0.5 + thickness / height)
    places = [[0, 0], [0.5, 0.5], [0.5, 0.5], [0, 0]]
    positions = [[*place, z] for place, z in zip(places, heights)]
    return Structure(Lattice.tetragonal(4.0, height), [*species, *species], positions)


def test_slabs_get_one_vacuum_on_both_sides(database: Session) -> None:
    bulk = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    import_crystals("c2db", {"layer": layer(36.0), "bulk": bulk})
    as_written = compare_with_reference(layer(11.0), MongoReference("c2db"), TOLERANCES)
    assert (as_written.matches, as_written.vacuum) == ((), None)
    found = compare_with_reference(layer(11.0), MongoReference("c2db", vacuum=15.0), TOLERANCES)
    [match] = found.matches  # the bulk crystal has no vacuum and stays as it is
    assert (match.id, found.vacuum, found.compared) == ("layer", 15.0, 2)
    assert match.rms == pytest.approx(0.0, abs=1e-6)
    thicker = layer(11.0, thickness=3.0)
    [match] = compare_with_reference(
        thicker, MongoReference("c2db", vacuum=15.0), TOLERANCES
    ).matches
    # half the difference of the heights as shares of c, in a cell between the two
    assert match.rms_angstrom == pytest.approx((3.0 / 18.0 - 2.8 / 17.8) / 2 * 17.9, rel=1e-3)


def _perovskite(a: float, species: str) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    symbols = {"SrTi": ["Sr", "Ti"], "SrZr": ["Sr", "Zr"], "CaTi": ["Ca", "Ti"]}[species]
    return Structure(Lattice.cubic(a), [*symbols, "O", "O", "O"], sites)


def _moved(structure: Structure, distance: float) -> Structure:
    other = structure.copy()
    other.translate_sites([1], [0, 0, distance], frac_coords=False)
    return other


@pytest.mark.parametrize("rejected", [False, True])
def test_rediscoveries_are_recorded_and_rejected_where_it_is_said(
    database: Session, generator: Any, rejected: bool
) -> None:
    zirconate = _perovskite(4.15, "SrZr")
    import_crystals("mp", {"mp-1": zirconate, "mp-2": _perovskite(3.95, "SrTi")})
    import_crystals("mine", {"own-1": _moved(zirconate, 0.05)})
    salt = Structure(
        Lattice([[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    crystals = {
        "trained": _perovskite(3.95, "SrTi"),  # in mp, too, but the generator was trained on it
        "known": _moved(zirconate, 0.02),
        "held out": salt,  # in the bank, not in training
        "new": _perovskite(3.9, "CaTi"),
    }
    proposals = [
        {
            "generator_version": "g1",
            "codes_hash": name,
            "codes": {"crystal": [1]},
            **crystal_fields(crystal),
        }
        for name, crystal in crystals.items()
    ]
    ids = dict(zip(crystals, candidate_records.insert_proposals("c", proposals)))
    for name, candidate_id in ids.items():
        path = (State.PROPOSED, State.EVALUATED, State.PRESCREENED, State.RELAXING, State.RELAXED)
        for source, to in pairwise(path):
            candidate_records.transition(candidate_id, source=source, to=to, token=0, agent="t")
        database.database["candidates"].update_one(
            {"_id": candidate_id},
            {"$set": {"relaxation.structure": structure_to_record(crystals[name])}},
        )
    stage = ScreenStage(
        ScreenSettings(reject_reference_duplicates=rejected),
        ScreenModels(),
        generator,
        references=[MongoReference("mp"), MongoReference("mine")],
    )
    assert work(stage, "c", "worker") == 4
    found = {name: candidate_records.load(one) for name, one in ids.items()}
    reasons = {name: (one.rejection or {}).get("reason") for name, one in found.items()}
    assert reasons == {
        "trained": "duplicate_training",
        "known": "duplicate_reference" if rejected else None,
        "held out": None,
        "new": None,
    }
    mp, mine = found["known"].duplicates["references"]
    # one atom of five moved by d: the RMS about the mean is d sqrt(4) / 5
    assert mp["matches"][0]["rms_angstrom"] == pytest.approx(0.02 * 0.4, rel=1e-3)
    assert mine["matches"][0]["rms_angstrom"] == pytest.approx(0.03 * 0.4, rel=1e-3)
    assert mp["matches"][0]["id"] == "mp-1"
    assert {key: mp[key] for key in ("reference", "version", "checksum", "rediscovered")} == {
        "reference": "mp",
        "version": "v1",
        "checksum": "ab" * 6,
        "rediscovered": True,
    }
    assert mp["tolerances"] == {"ltol": 0.3, "stol": 0.5, "angle_tol": 10.0}
    trained = found["trained"].duplicates["references"][0]
    assert trained["matches"][0]["id"] == "mp-2"
    assert trained["rediscovered"] is False
    assert found["new"].duplicates["references"][0]["matches"] == []
    assert found["known"].history[-1]["inputs"]["references"] == [
        f"mp@{'ab' * 6}",
        f"mine@{'ab' * 6}",
    ]
    trained = found["trained"].duplicates["training"]
    assert (trained["rediscovered"], trained["matches"][0]["label"]) == (False, "train")
    held_out = found["held out"].duplicates["training"]
    assert (held_out["rediscovered"], held_out["matches"][0]["label"]) == (True, "val")
