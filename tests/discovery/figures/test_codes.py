"""Codes as points: components, silhouettes and hulls, each against another way to compute them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from discovery.figures import NothingToShow
from discovery.figures.code_hulls import FIGURE as HULLS
from discovery.figures.code_map import FIGURE as MAP
from discovery.figures.code_space import code_space, silhouette
from discovery.figures.source import CampaignData
from discovery.figures.symmetry import space_groups, symbol
from model.cards import resolve_checkpoint
from model.codes import CrystalCodes
from model.generator import Generator
from model.metrics import latent


def brute_silhouette(points: NDArray[np.floating], classes: list[str]) -> float:
    """Rousseeuw's definition, one crystal after the other."""
    scores = []
    for i, own in enumerate(classes):
        apart = [float(np.sqrt(((points[i] - other) ** 2).sum())) for other in points]
        mean = {
            name: np.mean([d for j, d in enumerate(apart) if classes[j] == name and j != i])
            for name in set(classes)
        }
        within = mean.pop(own)
        nearest = min(mean.values())
        scores.append((nearest - within) / max(within, nearest))
    return float(np.mean(scores))


def test_places_are_the_components_of_what_the_network_sees(perovskites: CampaignData):
    space = code_space(perovskites)
    codes = []
    for prefix in ("", "relaxed_"):
        for row in perovskites.candidates.itertuples():
            species, crystal = (getattr(row, f"{prefix}{kind}_codes") for kind in _KINDS)
            codes.append(CrystalCodes(species=species, crystal=crystal, local=((0, 0, 0, 0),)))
    generator = Generator.load("perov5")
    vectors, _ = latent.code_vectors(generator, codes)
    balanced = latent._balanced(vectors.double(), generator.model.quantisers["crystal"].dim)
    places, shares = latent.principal_components(balanced.numpy())
    found = space.points[["pc1", "pc2"]].to_numpy()
    assert np.abs(found) == pytest.approx(np.abs(places), abs=1e-4)
    assert space.shares == pytest.approx(shares, abs=1e-5)
    assert space.points["codes"].tolist() == ["proposed"] * 96 + ["relaxed"] * 96


_KINDS = ("species", "crystal")


def test_silhouettes_are_those_of_the_definition(perovskites: CampaignData):
    space = code_space(perovskites)
    scores = MAP.content(perovskites).numbers["silhouettes"]["proposed"]
    rows = np.flatnonzero(space.points["codes"] == "proposed")
    energies = space.points["formation_energy_eV_per_atom"].to_numpy()[rows]
    thirds = [str(int(3 * place // len(rows))) for place in energies.argsort().argsort()]
    expected = brute_silhouette(space.vectors[rows], thirds)
    assert scores["energy"]["silhouette"] == pytest.approx(expected, abs=1e-5)
    groups = ["221" if number % 3 else "123" for number in range(96)]
    expected = brute_silhouette(space.vectors[rows], groups)
    assert scores["space_group"]["silhouette"] == pytest.approx(expected, abs=1e-5)
    assert scores["space_group"]["classes"] == {"221": 64, "123": 32}


def test_classes_that_lie_apart_score_high_and_small_ones_do_not_count():
    source = np.random.default_rng(0)
    points = source.normal(size=(45, 3))
    points[20:40] += 50
    classes = [*["a"] * 20, *["b"] * 20, *["few"] * 4, None]
    score, counts = silhouette(points, classes)
    assert score is not None
    assert score > 0.9
    assert counts == {"a": 20, "b": 20}
    assert silhouette(points[:20], classes[:20]) == (None, {"a": 20})


def test_another_version_of_the_generator_is_not_mistaken_for_its_own(perovskites: CampaignData):
    resolved = perovskites.record["resolved"]
    other = {**resolved, "generator": {**resolved["generator"], "version": "0" * 12}}
    data = replace(perovskites, record={**perovskites.record, "resolved": other})
    with pytest.raises(NothingToShow, match="version 372e8f85ca77, whose codes mean something"):
        code_space(data)


@pytest.mark.parametrize("damaged", ["card.json", "model.safetensors"])
def test_a_damaged_generator_is_a_sentence(perovskites: CampaignData, tmp_path: Path, damaged: str):
    folder = tmp_path / "perov5"
    shutil.copytree(resolve_checkpoint("perov5"), folder)
    (folder / damaged).write_bytes((folder / damaged).read_bytes()[:1000])
    config = perovskites.config.model_copy(update={"generator": str(folder)})
    with pytest.raises(NothingToShow, match=f"cannot be read: .*{damaged}"):
        code_space(replace(perovskites, config=config))


def test_points_of_the_map_are_those_of_the_table(perovskites: CampaignData):
    content = MAP.content(perovskites)
    figure = content.draw()
    drawn = [len(part.get_offsets()) for part in figure.axes[0].collections]
    assert sum(drawn) == (content.table["codes"] == "proposed").sum()
    assert content.table["space_group"].value_counts().to_dict() == {221: 128, 123: 64}
    assert "silhouette by thirds of energy" in figure.axes[0].get_title(loc="left")


def test_hulls_have_the_area_of_their_points(perovskites: CampaignData):
    content = HULLS.content(perovskites)
    assert list(content.numbers["areas"]) == ["donor", "genetic"]
    for proposer in content.numbers["areas"]:
        ends = content.numbers["areas"][proposer]
        for which, one in ends.items():
            own = content.table.query("proposer == @proposer and which == @which")
            assert len(own) == one["n"] == 16
            assert set(own["generation"]) == {one["generation"]} == {0 if which == "first" else 2}
            assert one["area"] == pytest.approx(_hull_area(own[["pc1", "pc2"]].to_numpy()))


def _hull_area(points: NDArray[np.float64]) -> float:
    """Andrew's monotone chain and the shoelace formula."""
    ordered = sorted(map(tuple, points))

    def chain(sequence):
        hull = []
        for p in sequence:
            while len(hull) > 1 and _turn(hull[-2], hull[-1], p) <= 0:
                hull.pop()
            hull.append(p)
        return hull[:-1]

    corners = chain(ordered) + chain(ordered[::-1])
    around = pairwise([*corners, corners[0]])
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in around)) / 2


def _turn(o, a, b) -> float:
    return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])


def test_space_groups_of_stored_crystals(perovskites: CampaignData):
    found = space_groups(perovskites, perovskites.decoded_sample, "structure")
    numbers = perovskites.candidates.loc[list(found), "seq"]
    assert [found[one] for one in found] == [221 if n % 3 else 123 for n in numbers]
    assert (symbol(14), symbol(225)) == ("P$2_1$/c", r"Fm$\overline{3}$m")
