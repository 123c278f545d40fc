"""Duplicates: what matches, what is looked at, and who survives in a campaign."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from agents.screen.duplicates import (
    Sibling,
    compare_with_campaign,
    compare_with_reference,
)
from agents.screen.matching import match_distance
from agents.screen.references import BankReference, CatalogueReference, training_reference
from agents.screen.settings import MatcherSettings

TOLERANCES = MatcherSettings()


def perovskite(a: float = 3.95, b: str = "Ti") -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), ["Sr", b, "O", "O", "O"], sites)


def disguised(structure: Structure, seed: int, noise: float) -> Structure:
    """The same crystal in another cell, moved, shuffled, rattled and 4 % larger."""
    random = np.random.default_rng(seed)
    other = structure.copy()
    other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    other.translate_sites(range(len(other)), random.uniform(size=3))
    other.perturb(noise)
    other.scale_lattice(other.volume * 1.04)
    return Structure.from_sites([other[int(i)] for i in random.permutation(len(other))])


@pytest.mark.parametrize("seed", range(4))
def test_a_disguised_copy_matches(seed: int) -> None:
    rms = match_distance(perovskite(), disguised(perovskite(), seed, 0.05), TOLERANCES)
    assert rms is not None
    assert 0.0 < rms[0] < 0.05
    exact = match_distance(perovskite(), disguised(perovskite(), seed, 0.0), TOLERANCES)
    assert exact is not None
    assert exact[0] == pytest.approx(0.0, abs=1e-6)


def test_another_polymorph_does_not_match() -> None:
    layers = Structure(
        Lattice.tetragonal(3.2, 9.0),
        ["Sr", "Ti", "O", "O", "O"],
        [[0, 0, 0], [0, 0, 0.2], [0.5, 0.5, 0.35], [0.5, 0.5, 0.6], [0, 0, 0.75]],
    )
    assert match_distance(perovskite(), layers, TOLERANCES) is None


def test_tolerances_are_used() -> None:
    moved = perovskite()
    moved.translate_sites([1], [0.0, 0.0, 0.12])
    found = match_distance(perovskite(), moved, TOLERANCES)
    assert found is not None
    tight = MatcherSettings(stol=found[0] / 2)
    assert match_distance(perovskite(), moved, tight) is None


def test_verdict_equals_the_plain_matcher_on_random_crystals() -> None:
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    random = np.random.default_rng(7)
    verdicts = []
    for _ in range(30):
        first, second = (
            Structure(
                Lattice.from_parameters(*random.uniform(3, 5, 3), *random.uniform(75, 105, 3)),
                ["Na", "Na", "Cl", "Cl"],
                random.uniform(size=(4, 3)),
            )
            for _ in range(2)
        )
        found = match_distance(first, second, TOLERANCES)
        assert (found is not None) == matcher.fit(first, second)
        verdicts.append(found is not None)
    assert 0 < sum(verdicts) < 30


def test_bank_decodes_only_the_formula_asked_for(generator: Any) -> None:
    reference = BankReference(generator)
    comparison = compare_with_reference(disguised(perovskite(), 1, 0.02), reference, TOLERANCES)
    assert generator.decoded == [0]
    assert (comparison.reference, comparison.compared) == ("fake-bank@fakegen00001", 1)
    [match] = comparison.matches
    assert (match.id, match.label) == ("train-1", "train")
    record = comparison.record()
    assert record["tolerances"] == {"ltol": 0.3, "stol": 0.5, "angle_tol": 10.0}
    assert record["matches"][0]["rms"] == match.rms
    compare_with_reference(perovskite(), reference, TOLERANCES)
    assert generator.decoded == [0]  # remembered
    unknown = compare_with_reference(perovskite(b="Zr"), reference, TOLERANCES)
    assert (unknown.compared, unknown.matches, generator.decoded) == (0, (), [0])


def test_bank_is_indexed_once_per_generator(generator: Any) -> None:
    assert training_reference(generator) is training_reference(generator)


def test_table_is_read_with_nitride_of_sodium(tmp_path: Path) -> None:
    nitride = {
        "cell": [4.0, 4.0, 4.0, 90, 90, 90],
        "species": ["Na", "N"],
        "frac": [[0, 0, 0], [0.5, 0.5, 0.5]],
    }
    path = tmp_path / "small.csv.gz"
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "formula", "structure"])
        writer.writerow(["mp-1", "NaN", json.dumps(nitride)])
        writer.writerow(["mp-2", "Na2N2", json.dumps(nitride)])
    reference = CatalogueReference.from_table(path, role="train")
    assert reference.name == "small"
    assert [known.id for known in reference.of_formula("NaN")] == ["mp-1", "mp-2"]
    structure = Structure(Lattice.cubic(4.0), ["N", "Na"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    comparison = compare_with_reference(structure, reference, TOLERANCES)
    assert {match.id for match in comparison.matches} == {"mp-1", "mp-2"}


def test_table_without_structures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("material_id,formula\nmp-1,NaCl\n")
    with pytest.raises(ValueError, match="lacks the columns structure"):
        CatalogueReference.from_table(path)


@pytest.mark.parametrize("state", ["screened", "selected", "verifying", "verified"])
def test_a_candidate_that_passed_the_screens_is_matched(state: str) -> None:
    sibling = Sibling("other", 1, state, disguised(perovskite(), 2, 0.02))
    found = compare_with_campaign(perovskite(), [sibling], TOLERANCES)
    assert [(match.id, match.label) for match in found.matches] == [("other", state)]


@pytest.mark.parametrize("state", ["relaxing", "relaxed", "rejected", "failed"])
def test_one_that_did_not_pass_is_not(state: str) -> None:
    sibling = Sibling("other", 1, state, perovskite())
    assert not compare_with_campaign(perovskite(), [sibling], TOLERANCES).matches


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_exactly_one_of_equal_crystals_survives_any_order(order: tuple[int, ...]) -> None:
    crystals = [disguised(perovskite(), seed, 0.01) for seed in range(3)]
    states = ["relaxed"] * 3
    for seq in order:
        siblings = [
            Sibling(str(i), i, states[i], crystals[i])
            for i in range(3)
            if i != seq and states[i] != "rejected"
        ]
        found = compare_with_campaign(crystals[seq], siblings, TOLERANCES)
        states[seq] = "rejected" if found.matches else "screened"
    assert states[order[0]] == "screened"
    assert sorted(states) == ["rejected", "rejected", "screened"]
