"""The paper's numbers: what it prints in per cent follows from its counts."""

from __future__ import annotations

import math

import pytest

from discovery.reports.paper import FUNNELS, PHOTOVOLTAIC, REDISCOVERED_PRINTED, SLABS, PaperFunnel

PRINTED = [
    (paper, step) for paper in FUNNELS.values() for step in paper.steps if step.printed is not None
]


def decimals(number: float) -> int:
    return len(repr(number).partition(".")[2])


@pytest.mark.parametrize(("paper", "step"), PRINTED, ids=lambda one: getattr(one, "key", ""))
def test_a_printed_percentage_follows_from_the_counts(paper: PaperFunnel, step: object) -> None:
    share = paper.share(step)  # type: ignore[arg-type]
    assert share is not None
    assert round(100 * share, decimals(step.printed)) == step.printed  # type: ignore[attr-defined]


def test_all_percentages_of_the_paper_are_there() -> None:
    assert sorted(step.printed for _, step in PRINTED) == [62.22, 67.21, 73.91, 92.4]


def test_rediscoveries_are_the_papers_share_cut_after_two_decimals() -> None:
    found, of = PHOTOVOLTAIC.rediscovered, PHOTOVOLTAIC.step("new").count
    assert found is not None
    assert of is not None
    assert math.floor(10_000 * found / of) / 100 == REDISCOVERED_PRINTED


@pytest.mark.parametrize("paper", FUNNELS.values(), ids=lambda one: one.name)
def test_every_row_is_a_part_of_an_earlier_one(paper: PaperFunnel) -> None:
    seen: dict[str, int | None] = {}
    for step in paper.steps:
        if step.of is not None:
            base = seen[step.of]
            assert base is not None
            assert step.count is None or step.count <= base
        seen[step.key] = step.count


def test_the_size_of_c2db_is_taken_for_no_count() -> None:
    assert 3521 not in [step.count for step in SLABS.steps]
    layer = SLABS.step("two_dimensional")
    assert (layer.count, SLABS.share(layer)) == (None, None)
