"""The figures of the paper: the picture shows the numbers, and the numbers are the campaign's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas
import pytest
from campaign_records import candidate, store_campaign
from layout import faults
from pymatgen.core import Lattice, Structure

from db.connection import Session, current_database
from db.states import State
from discovery.figures import FIGURES, NothingToShow, read_campaign
from discovery.figures.distributions import FIGURE as DISTRIBUTIONS
from discovery.figures.generations import FIGURE as GENERATIONS
from discovery.figures.generations import _draw as draw_generations
from discovery.figures.hit_structures import FIGURE as CRYSTALS
from discovery.figures.hit_structures import _repeated
from discovery.figures.parity import FIGURE as PARITY
from discovery.figures.source import CampaignData
from discovery.figures.style import journal, new_figure

OURS = ("code-map", "code-hulls", "generations", "distributions", "parity", "hit-structures")
ENERGY, GAP = "formation_energy_per_atom", "band_gap"


def test_boxes_are_the_quartiles_of_each_generation(perovskites: CampaignData):
    content = GENERATIONS.content(perovskites)
    frame = perovskites.candidates
    donor, genetic = content.draw().axes[:2]
    for ax, proposer in ((donor, "donor"), (genetic, "genetic")):
        assert ax.get_title(loc="left") == proposer
        for generation, box in enumerate(ax.patches):
            own = frame[(frame["proposer"] == proposer) & (frame["generation"] == generation)]
            low, high = np.percentile(own[f"{ENERGY}_decoded"], [25, 75])
            edges = box.get_path().vertices[:, 1]
            assert (edges.min(), edges.max()) == pytest.approx((low, high))
        assert len(ax.patches) == 3
    assert len(content.table) == 96


def test_few_values_are_points_and_one_generation_is_nothing_to_compare(database: Session):
    store_campaign(
        documents=[candidate(n, State.EVALUATED, generation=n // 6, energy=-n) for n in range(9)]
    )
    ax = GENERATIONS.content(read_campaign("made")).draw().axes[0]
    assert len(ax.patches) == 1
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert sorted(points[0].get_ydata()) == [-8, -7, -6]
    store_campaign(
        "single", [candidate(n, State.EVALUATED, generation=0, energy=-n) for n in range(9)]
    )
    with pytest.raises(NothingToShow, match="single generation"):
        GENERATIONS.content(read_campaign("single"))


@pytest.mark.parametrize("generations", [10, 45])
def test_many_generations_of_many_crystals_keep_their_labels_apart(generations: int):
    numbers = np.tile(np.repeat(np.arange(generations), 1200), 3)
    table = pandas.DataFrame(
        {
            "proposer": np.repeat(["genetic", "donor", "random"], len(numbers) // 3),
            "generation": numbers,
            "episode": 0,
            "formation_energy_decoded_eV_per_atom": np.sin(np.arange(len(numbers))),
        }
    )
    with journal():
        figure = draw_generations(table)
    assert faults(figure) == []


def test_histograms_hold_each_models_crystals_and_no_other_reference(perovskites: CampaignData):
    content = DISTRIBUTIONS.content(perovskites)
    counts = content.table.groupby(["property", "source"]).size().to_dict()
    assert counts == {
        (ENERGY, "chgnet-0.3.0"): 96,
        (ENERGY, "megnet"): 96,
        (ENERGY, "head (chgnet-0.3.0)"): 96,
        (ENERGY, "DFT"): 24,
        (GAP, "megnet"): 96,
        (GAP, "DFT"): 24,
    }
    assert content.table["value"].max() < 99, "the level castelli2012 is relative to other phases"
    potential = content.draw().axes[0]
    heights = potential.patches[0].get_path().vertices[:, 1]
    values = perovskites.candidates[f"{ENERGY}_potential"]
    low, high = potential.get_xlim()
    expected, _ = np.histogram(values, np.linspace(low, high, 41))
    assert heights.max() == expected.max()


def test_errors_are_those_of_predictions_made_of_relaxed_crystals(perovskites: CampaignData):
    content = PARITY.content(perovskites)
    errors = {(one["property"], one["model"]): one for one in content.numbers["errors"]}
    assert set(errors) == {
        (ENERGY, "chgnet-0.3.0"),
        (ENERGY, "megnet (pbe-mp2018)"),
        (ENERGY, "head (chgnet-0.3.0)"),
        (GAP, "megnet (pbe-mp2018)"),
    }
    # DFT's energy is 0.4 below the decoded one, the potential's 0.5, MEGNet's 0.3.
    for model, bias in (("chgnet-0.3.0", -0.1), ("megnet (pbe-mp2018)", 0.1)):
        assert errors[ENERGY, model]["bias"] == pytest.approx(bias)
        assert errors[ENERGY, model]["mae"] == pytest.approx(0.1)
        assert errors[ENERGY, model]["n"] == 24
    verified = perovskites.candidates.query("state == 'verified'")
    gaps = (verified["band_gap_megnet"] - verified["band_gap"]).abs().mean()
    assert errors[GAP, "megnet (pbe-mp2018)"]["mae"] == pytest.approx(gaps)
    drawn = {"hit": 0, "no hit": 0, "hit, control arm": 0, "no hit, control arm": 0}
    for line in content.draw().axes[0].lines:
        if line.get_label() in drawn:
            drawn[str(line.get_label())] = len(line.get_xdata())
    control, hit = verified["seq"] % 5 == 0, verified["seq"] % 4 == 0
    assert drawn == {
        "hit": (hit & ~control).sum(),
        "no hit": (~hit & ~control).sum(),
        "hit, control arm": (hit & control).sum(),
        "no hit, control arm": (~hit & control).sum(),
    }


def test_every_hit_is_drawn_with_its_atoms(perovskites: CampaignData):
    content = CRYSTALS.content(perovskites)
    hits = perovskites.candidates.query("hit == True").sort_values(ENERGY)
    assert list(dict.fromkeys(content.table["id"])) == list(hits.index)
    axes = [ax for ax in content.draw().axes if ax.patches]
    for ax, (_, own) in zip(axes, content.table.groupby("id", sort=False), strict=True):
        assert sorted(set(own["species"])) == ["O", "Sr", "Ti"]
        # 8 corners, 1 centre, 6 faces; the five atoms of the cell are not repeated.
        assert len(ax.patches) == 15
        assert len(ax.lines) >= 12
        assert {text.get_text() for text in ax.texts} <= {"O", "Sr", "Ti"}


def test_energies_by_dft_are_those_that_the_window_is_held_against(
    perovskites: CampaignData,
):
    corrected = {"$subtract": [-5, {"$divide": ["$seq", 100]}]}
    current_database()["candidates"].update_many(
        {"state": "verified"}, [{"$set": {f"verification.{ENERGY}_judged": corrected}}]
    )
    data = read_campaign("perovskites")
    hits = data.candidates.query("hit == True").sort_values("seq", ascending=False)
    judged = -5.0 - hits["seq"] / 100
    crystals = CRYSTALS.content(data)
    table = crystals.table.groupby("id", sort=False)["formation_energy_judged_eV_per_atom"].first()
    assert table.to_dict() == pytest.approx(judged.to_dict())
    assert list(table.index) == list(hits.index)
    titles = [ax.get_title() for ax in crystals.draw().axes if ax.patches]
    assert all(f"\n−{-value:.2f} eV" in one for one, value in zip(titles, judged, strict=True))
    assert f"{judged.iloc[0]:.2f} eV/atom" in crystals.alt
    spread = DISTRIBUTIONS.content(data).table.query("property == @ENERGY and source == 'DFT'")
    stars = spread[spread["hit"].eq(True)].set_index("id")["value"]
    assert stars.to_dict() == pytest.approx(judged.to_dict())


def test_a_single_hit_is_one(perovskites: CampaignData):
    frame = perovskites.candidates
    first = frame.index[frame["hit"].eq(True)][0]
    one = frame["hit"].where(frame["hit"].isna() | (frame.index == first), False)
    data = replace(perovskites, candidates=frame.assign(hit=one))
    caption = CRYSTALS.content(data).caption
    assert caption.startswith("Crystal of the only hit among 24 verified candidates, as gpaw-pbe")


def test_small_cells_are_repeated_and_layers_keep_no_faces():
    iron = Structure(Lattice.cubic(2.8), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert len(_repeated(iron, slab=False)) == 27 + 8
    layer = Structure(Lattice.tetragonal(3.0, 20.0), ["C", "C"], [[0, 0, 0.5], [0.5, 0.5, 0.5]])
    assert len(_repeated(layer, slab=True)) == 9 * 2


def test_without_a_hit_it_is_said_how_many_were_verified(perovskites: CampaignData):
    frame = perovskites.candidates
    missed = frame.assign(hit=frame["hit"].where(frame["hit"].isna(), False))
    with pytest.raises(NothingToShow, match="none of the 24 candidates that DFT verified"):
        CRYSTALS.content(replace(perovskites, candidates=missed))
    with pytest.raises(NothingToShow, match="verified no candidate yet"):
        CRYSTALS.content(replace(perovskites, candidates=frame.assign(hit=None)))


@pytest.mark.parametrize("name", OURS)
def test_texts_can_be_read_and_axes_have_units(perovskites: CampaignData, name: str):
    content = FIGURES[name].content(perovskites)
    figure = content.draw()
    assert faults(figure) == []
    assert content.alt.endswith(".")
    assert "Fig." in content.caption


@pytest.mark.parametrize("name", OURS)
def test_a_campaign_without_results_is_a_sentence(database: Session, name: str):
    store_campaign(documents=[candidate(n, State.PROPOSED) for n in range(3)])
    with pytest.raises(NothingToShow) as nothing:
        FIGURES[name].content(read_campaign("made"))
    assert len(nothing.value.reason) > 20


def test_unreadable_texts_are_noticed():
    figure = new_figure(2, 2)
    ax = figure.subplots()
    ax.set_xticks([0, 0.01], ["first long label", "second long label"])
    assert any("lies upon" in fault for fault in faults(figure))
