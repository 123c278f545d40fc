"""Powder patterns beside Bragg's law and a measured one."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from pymatgen.core import Lattice, Structure

from discovery.dashboard.pattern import (
    LEAST_APART,
    TWO_THETA,
    WAVELENGTH,
    NoPattern,
    draw_pattern,
    powder_pattern,
    strongest,
)

SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.4309), ["Si"], [[0, 0, 0]])


def test_silicon_is_that_of_the_powder_diffraction_file() -> None:
    lines = powder_pattern(SILICON)
    # PDF 27-1402 (Si, NIST SRM 640): indices, and intensities of the strongest three
    squares = {"(1 1 1)": 3, "(2 2 0)": 8, "(3 1 1)": 11, "(4 0 0)": 16, "(3 3 1)": 19}
    assert [line.indices[0] for line in lines[:5]] == list(squares)
    for line, square in zip(lines, squares.values(), strict=False):
        spacing = 5.4309 / math.sqrt(square)
        assert line.spacing == pytest.approx(spacing, rel=1e-6)
        angle = 2 * math.degrees(math.asin(WAVELENGTH / (2 * spacing)))
        assert line.two_theta == pytest.approx(angle, abs=1e-4)
    measured = {"(1 1 1)": 100, "(2 2 0)": 55, "(3 1 1)": 30}
    for line in strongest(lines, 3):
        # without thermal motion lines at large angles are too strong
        assert line.intensity == pytest.approx(measured[line.indices[0]], abs=15)


def test_the_picture_has_units_and_names_lines_that_lie_apart() -> None:
    lines = powder_pattern(SILICON)
    figure = draw_pattern(lines)
    assert figure.layout.xaxis.title.text == "2θ (°)"
    assert tuple(figure.layout.xaxis.range) == TWO_THETA
    named = sorted(one.x for one in figure.layout.annotations)
    assert len(named) >= 5
    assert all(right - left >= LEAST_APART for left, right in pairwise(named))
    assert list(figure.data[1].x) == pytest.approx([line.two_theta for line in lines])


def test_a_layer_has_none() -> None:
    layer = Structure(Lattice.hexagonal(2.46, 20), ["C", "C"], [[1 / 3, 2 / 3, 0.5], [0, 0, 0.5]])
    with pytest.raises(NoPattern, match="vacuum"):
        powder_pattern(layer)


def test_an_element_without_form_factor_has_none() -> None:
    with pytest.raises(NoPattern, match="form factor of Lr"):
        powder_pattern(Structure(Lattice.cubic(4), ["Lr"], [[0, 0, 0]]))


def test_a_collapsed_cell_has_none() -> None:
    with pytest.raises(NoPattern, match="no line between 5° and 90°"):
        powder_pattern(Structure(Lattice.cubic(0.9), ["Si"], [[0, 0, 0]]))
    assert powder_pattern(Structure(Lattice.cubic(1.1), ["Si"], [[0, 0, 0]]))
