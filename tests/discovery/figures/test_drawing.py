"""Figures into a folder, all or nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas
import pytest

from discovery.export.output_files import OutputError, OutputExists
from discovery.figures import Content, Figure, NothingToShow, draw_all
from discovery.figures.drawing import MissingPackages
from discovery.figures.style import new_figure


def _picture() -> Any:
    figure = new_figure(2, 2)
    figure.subplots().plot([0, 1], [0, 1])
    return figure


def _line(data: Any) -> Content:
    return Content(pandas.DataFrame({"x_eV": [0, 1]}), "A line.", "A line.", _picture)


def _nothing(data: Any) -> Content:
    raise NothingToShow("no candidate was verified yet")


def _broken(*_: Any, **__: Any) -> None:
    raise ZeroDivisionError("by nought")


LINE, NOTHING = Figure("line", "Line", _line), Figure("nothing", "Nothing", _nothing)
DATA: Any = SimpleNamespace(name="any")


def test_each_figure_is_three_files_and_an_empty_one_a_sentence(tmp_path):
    line, nothing = draw_all(DATA, tmp_path / "out", figures=[LINE, NOTHING])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "line.csv",
        "line.png",
        "line.svg",
    ]
    assert line.reason is None
    assert all(path.is_file() for path in line.files.values())
    assert (nothing.content, nothing.files) == (None, {})
    assert nothing.reason == "no candidate was verified yet"
    assert draw_all(DATA, tmp_path / "none", figures=[]) == []
    assert pandas.read_csv(line.files[".csv"])["x_eV"].tolist() == [0, 1]


def test_the_same_picture_is_the_same_file(tmp_path):
    first = draw_all(DATA, tmp_path / "a", figures=[LINE])[0]
    second = draw_all(DATA, tmp_path / "b", figures=[LINE])[0]
    for ending in (".svg", ".png"):
        assert first.files[ending].read_bytes() == second.files[ending].read_bytes()


def test_a_fault_of_one_figure_is_told_and_logged_and_leaves_none_of_its_files(tmp_path, caplog):
    def halfway(data: Any) -> Content:
        table: Any = SimpleNamespace(to_csv=_broken)
        return Content(table, "A line.", "A line.", _picture)

    figures = [Figure("halfway", "Halfway", halfway), LINE]
    failed, line = draw_all(DATA, tmp_path / "out", figures=figures)
    assert (failed.content, failed.reason, failed.files) == (None, None, {})
    assert failed.fault == "ZeroDivisionError: by nought"
    assert line.fault is None
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["line"] * 3
    assert "the figure halfway could not be drawn" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("error", "told"),
    [(MissingPackages, MissingPackages), (MemoryError, MemoryError), (OSError, OutputError)],
)
def test_a_failure_leaves_nothing_and_what_was_there_stays(tmp_path, error, told):
    def ending(data: Any) -> Content:
        raise error

    folder = tmp_path / "out"
    with pytest.raises(told):
        draw_all(DATA, folder, figures=[LINE, Figure("broken", "Broken", ending)])
    assert list(tmp_path.iterdir()) == []
    draw_all(DATA, folder, figures=[LINE])
    with pytest.raises(OutputExists):
        draw_all(DATA, folder, figures=[LINE])
    draw_all(DATA, folder, figures=[LINE], overwrite=True)
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(OutputExists, match=r"mine\.txt"):
        draw_all(DATA, folder, figures=[LINE], overwrite=True)
    assert (folder / "mine.txt").read_text() == "kept"


def test_without_the_packages_it_is_said_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr("discovery.figures.drawing.PACKAGES", ("matplotlib", "not_installed"))
    with pytest.raises(MissingPackages, match=r"discovery\[report\]"):
        draw_all(DATA, tmp_path / "out", figures=[LINE])
    assert list(tmp_path.iterdir()) == []
