"""Duplicates in bulk against StructureMatcher asked about every pair."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from agents.paths import data_path
from agents.screen import matching
from agents.screen.duplicates_bulk import search
from agents.screen.duplicates_fingerprint import BINS, fingerprint, nearest_first
from agents.screen.references import CatalogueReference
from agents.screen.settings import MatcherSettings
from agents.tables import parse_structure, read_rows

TOLERANCES = MatcherSettings()


def disguised(structure: Structure, seed: int, noise: float = 0.05) -> Structure:
    """The same crystal in another cell, moved, shuffled, rattled and 4 % larger."""
    random = np.random.default_rng(seed)
    other = structure.copy()
    other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    other.translate_sites(range(len(other)), random.uniform(size=3))
    moves = random.normal(size=(len(other), 3))
    moves *= noise / np.linalg.norm(moves, axis=1, keepdims=True)
    cell, places = other.lattice, other.cart_coords + moves
    shuffled = random.permutation(len(other))
    rattled = Structure(
        cell,
        [other[int(i)].specie for i in shuffled],
        places[shuffled],
        coords_are_cartesian=True,
    )
    rattled.scale_lattice(rattled.volume * 1.04)
    return rattled


def random_crystals(n: int, seed: int) -> dict[str, Structure]:
    """Small random crystals of one formula; some pairs match and some do not."""
    random = np.random.default_rng(seed)
    return {
        f"{seed}-{number}": Structure(
            Lattice.from_parameters(
                *random.uniform(3.5, 5.0, size=3), *random.uniform(80, 100, size=3)
            ),
            ["Na", "Cl", "Cl"],
            random.uniform(size=(3, 3)),
        )
        for number in range(n)
    }


def brute_force(query: Structure, known: dict[str, Structure]) -> dict[str, float]:
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    return {
        name: matcher.get_rms_dist(query, other)[0]
        for name, other in known.items()
        if matcher.fit(query, other)
    }


def test_every_match_and_rms_are_those_of_brute_force() -> None:
    known, queries = random_crystals(9, seed=0), random_crystals(7, seed=1)
    found = search(queries, CatalogueReference("r", known), TOLERANCES, exhaustive=True)
    assert [one.id for one in found] == list(queries)
    verdicts = []
    for one in found:
        expected = brute_force(queries[one.id], known)
        got = {match.id: match.rms for match in one.matches}
        assert got == pytest.approx(expected)
        assert list(got.values()) == sorted(got.values())
        assert (one.block, one.compared, one.error) == (9, 9, None)
        verdicts += [name in got for name in known]
    assert (
        0 < sum(verdicts) < len(verdicts)
    )  # both verdicts occur, so that the comparison says something


def test_first_match_gives_the_same_verdict() -> None:
    known, queries = random_crystals(9, seed=2), random_crystals(7, seed=3)
    reference = CatalogueReference("r", known)
    first = search(queries, reference, TOLERANCES)
    every = search(queries, reference, TOLERANCES, exhaustive=True)
    assert [bool(one.matches) for one in first] == [bool(one.matches) for one in every]
    assert all(len(one.matches) <= 1 for one in first)
    assert sum(one.compared for one in first) < sum(one.compared for one in every)


def test_rms_in_angstrom_is_the_displacement() -> None:
    salt = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(4.0), ["Cs", "Cl"], [[0] * 3, [0.5] * 3]
    )
    moved = salt.copy()
    moved.translate_sites([1], [0.0, 0.0, 0.2 / 4.0])  # by 0.2 Å, shared by the two atoms
    (found,) = search({"q": moved}, CatalogueReference("r", {"a": salt}), TOLERANCES)
    assert found.matches[0].rms_angstrom == pytest.approx(0.1, abs=1e-6)
    assert found.matches[0].rms == pytest.approx(0.1 / (64 / 2) ** (1 / 3), abs=1e-6)


@pytest.mark.data
def test_disguised_copies_of_real_crystals_are_found_and_processes_and_order_do_not_matter(
    data_dir: Path,
) -> None:
    rows = [row for _, row in zip(range(400), read_rows(data_path("mp_ref2025_le20.csv.gz")))]
    known = {row["material_id"]: parse_structure(row["structure"]) for row in rows}
    chosen = list(known)[::20]
    queries = {f"q-{name}": disguised(known[name], number) for number, name in enumerate(chosen)}
    reference = CatalogueReference("r", known)
    found = search(queries, reference, TOLERANCES)
    for one in found:
        same = {
            name: structure
            for name, structure in known.items()
            if structure.composition.reduced_formula == one.formula
        }
        expected = brute_force(queries[one.id], same)
        assert bool(one.matches) is bool(expected)
        assert all(match.id in expected for match in one.matches)
    copies = sum(one.id == f"q-{match.id}" for one in found for match in one.matches)
    assert copies >= 18  # of 20
    backwards = dict(reversed(queries.items()))
    assert search(backwards, reference, TOLERANCES, processes=2) == found[::-1]


def test_nearest_first_starts_with_the_copy() -> None:
    known = list(random_crystals(12, seed=4).values())
    prints = np.stack([fingerprint(one) for one in known])
    assert prints.shape == (12, 3 * BINS)
    for number, one in enumerate(known):
        order, distances = nearest_first(fingerprint(disguised(one, number)), prints)
        assert order[0] == number
        exact = nearest_first(fingerprint(disguised(one, number, noise=0.0)), prints)[1]
        assert exact[number] == pytest.approx(0.0, abs=1e-8)
        assert distances[number] > exact[number]


def test_fingerprint_counts_neighbours() -> None:
    """Simple cubic, V/N = 1: 6 neighbours at 1, 12 at sqrt(2), 8 at sqrt(3), 6 at 2, 24 at 2.24."""
    counts = fingerprint(Structure(Lattice.cubic(3.0), ["Po"], [[0, 0, 0]]))
    bins = {1.0: 6, 2**0.5: 12, 3**0.5: 8, 2.0: 6, 5**0.5: 24, 6**0.5: 24}
    shell = [counts[int(d * 10 - 0.5) : int(d * 10 - 0.5) + 2].sum() for d in bins]
    # the last shell lies half a bin from the reach: a part of it falls behind the last bin
    assert shell[:5] == pytest.approx(list(bins.values())[:5])
    assert counts.sum() == pytest.approx(sum(list(bins.values())[:5]) + shell[5])


def test_unequal_primitive_cells_are_not_compared() -> None:
    one = Structure(Lattice.cubic(3.0), ["Po"], [[0, 0, 0]])
    pair = Structure(
        Lattice.orthorhombic(3.0, 3.3, 7.0), ["Po", "Po"], [[0, 0, 0], [0.1, 0.4, 0.4]]
    )
    big = one.copy()
    big.make_supercell([2, 2, 2])
    reference = CatalogueReference("r", {"pair": pair, "one": one})
    (found,) = search({"q": big}, reference, TOLERANCES, exhaustive=True)
    assert (found.block, found.compared) == (2, 1)
    assert [match.id for match in found.matches] == ["one"]


def test_broken_crystals_are_reported_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.csv.gz"
    salt = {"cell": [4, 4, 4, 90, 90, 90], "species": ["Cs", "Cl"], "frac": [[0] * 3, [0.5] * 3]}
    with gzip.open(path, "wt", newline="") as file:
        table = csv.writer(file)
        table.writerow(["material_id", "formula", "structure"])
        table.writerow(["bad-json", "CsCl", "{"])
        table.writerow(["no-volume", "CsCl", json.dumps({**salt, "cell": [4, 4, 0, 90, 90, 90]})])
        table.writerow(["good", "Cs2Cl2", json.dumps(salt)])
        table.writerow(["other", "KCl", json.dumps(salt)])
    reference = CatalogueReference.from_table(path, formulas={"CsCl"})
    assert reference.size == 4
    assert [one.id for one in reference.of_formula("CsCl")] == ["bad-json", "no-volume", "good"]
    assert reference.of_formula("KCl") == ()
    partial = Structure(Lattice.cubic(4.0), [{"Cs": 0.5}, {"Cl": 0.5}], [[0] * 3, [0.5] * 3])
    queries = {"partial": partial, "good": parse_structure(json.dumps(salt))}
    bad, good = search(queries, reference, TOLERANCES)
    assert "partially occupied" in str(bad.error)
    assert bad.matches == ()
    assert good.error is None
    assert [match.id for match in good.matches] == ["good"]
    assert [name for name, _ in good.broken] == ["bad-json", "no-volume"]

    def refuse(*_: object) -> None:
        raise ValueError("no such lattice\nmore")

    monkeypatch.setattr(matching.ReducedMatcher, "get_rms_dist", refuse)
    (found,) = search({"good": queries["good"]}, reference, TOLERANCES)
    assert found.matches == ()
    assert found.broken[-1] == ("good", "no such lattice")
