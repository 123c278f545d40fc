"""The report: whole or not at all, sentences for what is not there, foreign texts harmless."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from campaign_records import candidate, every_way, store_campaign
from typer.testing import CliRunner

from db.campaigns import UnknownCampaign
from db.connection import Session, current_database
from db.states import State
from discovery.campaign.config import CampaignConfig
from discovery.cli import app
from discovery.export.output_files import OutputExists
from discovery.figures import FIGURES
from discovery.figures import document as module
from discovery.figures.document import write_report
from discovery.figures.facts import collect, verified_candidates
from discovery.figures.figure import Content, Figure
from discovery.figures.source import read_campaign
from discovery.figures.style import new_figure, save


class Page(HTMLParser):
    """Tables as lists of rows, pictures, headings and addresses of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._cells: list[str] | None = None
        self._caption = ""
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self._in.append(tag)
        self.addresses += [str(found[key]) for key in ("src", "href") if key in found]
        if tag == "img":
            self.images.append(found)
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("td", "th"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._in:
            while self._in.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        here = self._in[-1] if self._in else ""
        if here == "caption":
            self._caption += data
        elif here in ("td", "th"):
            self.tables[self._caption][-1][-1] += data
        if here not in ("style", "script"):
            self.text += data


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes time to draw and is tested elsewhere."""
    kept = {name: FIGURES[name] for name in ("funnel", "learning")}
    monkeypatch.setattr(module, "FIGURES", kept)


def test_a_campaign_that_has_just_begun_gives_sentences(database: Session, tmp_path: Path):
    store_campaign(documents=[candidate(0, State.PROPOSED), candidate(1, State.PROPOSED)])
    drawn = write_report("made", tmp_path / "out")
    assert [one.figure.name for one in drawn if one.content is not None] == ["funnel"]
    page = page_of(tmp_path / "out")
    for one in drawn:
        assert (one.content is None) == (f"{one.figure.title}: {one.reason}." in page.text)
    assert len(page.images) == 1
    assert "DFT has not computed a candidate yet." in page.text
    assert "there is no hit yet, because only DFT makes one" in " ".join(page.text.split())


def test_a_campaign_without_candidates_has_a_report(database: Session, tmp_path: Path):
    store_campaign()
    drawn = write_report("made", tmp_path / "out")
    assert all(one.content is None for one in drawn)
    assert "Nothing was proposed yet." in page_of(tmp_path / "out").text


def test_numbers_are_those_of_the_records(database: Session, tmp_path: Path, few_figures: None):
    store_campaign(documents=every_way())
    write_report("made", tmp_path / "out")
    page = page_of(tmp_path / "out")
    counted = dict(row for row in page.tables["How far the candidates came"][1:])
    assert counted["proposed"] == "15"
    assert (counted["verified by DFT"], counted["hits"]) == ("3", "1")
    head, *rows = page.tables["Verified candidates, hits first, then by formation energy"]
    listed = [dict(zip(head, row)) for row in rows]
    assert [one["verdict"] for one in listed] == ["★ hit", "outside", "no verdict"]
    assert listed[0]["formula"] == "GaInN2"
    assert listed[0]["E_f, DFT, as judged (eV/atom)"] == "-2.400"
    assert listed[0]["gap, DFT (eV)"] == "1.250"
    assert "seed" in dict(row for row in page.tables["Main settings"])
    assert "torch 2.13.0" in page.text
    assert "not used: not imported" in page.text


def test_the_settings_are_a_campaign_file(database: Session):
    store_campaign(documents=every_way())
    data = read_campaign("made")
    assert CampaignConfig.model_validate(yaml.safe_load(collect(data).configuration)) == data.config


def test_hits_come_first_and_the_rest_is_counted(
    database: Session, tmp_path: Path, few_figures: None
):
    made = [candidate(n, State.VERIFIED, hit=n == 59, energy=-1 - n / 100) for n in range(60)]
    store_campaign(documents=made)
    order = list(verified_candidates(read_campaign("made"))["seq"])
    assert order == [59, *range(58, -1, -1)]
    write_report("made", tmp_path / "out")
    page = page_of(tmp_path / "out")
    rows = page.tables["Verified candidates, hits first, then by formation energy"]
    assert len(rows) == 51
    assert "10 more are left out" in " ".join(page.text.split())


def test_energies_are_those_that_the_window_is_held_against(
    database: Session, tmp_path: Path, few_figures: None
):
    made = [candidate(n, State.VERIFIED, hit=True, energy=-1.0 - n / 10) for n in range(2)]
    made[0]["verification"]["formation_energy_per_atom_judged"] = -2.2
    store_campaign(documents=made)
    write_report("made", tmp_path / "out")
    head, *rows = page_of(tmp_path / "out").tables[
        "Verified candidates, hits first, then by formation energy"
    ]
    listed = [dict(zip(head, row)) for row in rows]
    assert [one["E_f, DFT, as judged (eV/atom)"] for one in listed] == ["-2.200", "-1.500"]


def test_the_file_needs_no_other_and_loads_nothing(
    database: Session, tmp_path: Path, few_figures: None
):
    store_campaign(documents=every_way())
    write_report("made", tmp_path / "out")
    page = page_of(tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    loaded = [one["src"] for one in page.images]
    assert loaded
    assert all(str(one).startswith("data:image/") for one in loaded)
    assert all(one.startswith(("data:image/", "#", "https://doi.org/")) for one in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert not re.search(r"url\(|@import", text.partition("</style>")[0])
    assert all(one["alt"] for one in page.images)


def test_a_large_vector_picture_is_replaced_by_pixels(
    database: Session, tmp_path: Path, few_figures: None, monkeypatch: pytest.MonkeyPatch
):
    store_campaign(documents=every_way())
    monkeypatch.setattr(module, "LARGEST_SVG", 10)
    write_report("made", tmp_path / "out")
    images = page_of(tmp_path / "out").images
    assert images
    assert all(str(one["src"]).startswith("data:image/png;base64,") for one in images)


def test_the_width_of_a_picture_stands_in_its_header(tmp_path: Path):
    save(new_figure(3, 2), tmp_path / "whole.png")
    (tmp_path / "header.png").write_bytes((tmp_path / "whole.png").read_bytes()[:24])
    assert module._width(tmp_path / "header.png") == 3 * 96 * 1.25


def test_texts_of_others_stay_texts_and_credentials_stay_here(
    database: Session, tmp_path: Path, few_figures: None
):
    hostile = '<script>alert("x")</script>'
    made = every_way()
    made[12]["formula"] = hostile
    made[1]["rejection"]["reason"] = hostile
    store_campaign(documents=made)
    current_database()["campaigns"].update_one(
        {"_id": "made"},
        {"$set": {"stop_reason": "no answer from mongodb://ann:secret@db.example/x"}},
    )
    write_report("made", tmp_path / "out")
    page = page_of(tmp_path / "out")
    assert "script" not in page.tags
    assert hostile in page.text
    assert "mongodb://***@db.example/x" in page.text
    assert "secret" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_report_appears_whole_or_not_at_all(
    database: Session, tmp_path: Path, few_figures: None, monkeypatch: pytest.MonkeyPatch
):
    store_campaign(documents=every_way())
    folder = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module.facts, "collect", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_report("made", folder)
    assert list(tmp_path.iterdir()) == []
    write_report("made", folder)
    files = sorted(path.name for path in folder.iterdir())
    figures = [f"{name}{end}" for name in ("funnel",) for end in (".csv", ".png", ".svg")]
    assert files == sorted([*figures, "citations.bib", "report.html"])
    with pytest.raises(OutputExists, match="--overwrite"):
        write_report("made", folder)
    write_report("made", folder, overwrite=True)
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(OutputExists, match=r"mine\.txt"):
        write_report("made", folder, overwrite=True)
    assert (folder / "mine.txt").read_text() == "kept"


def test_an_unknown_campaign_is_refused_and_leaves_nothing(database: Session, tmp_path: Path):
    store_campaign()
    with pytest.raises(UnknownCampaign, match="made"):
        write_report("mode", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def run_report(database: Session, folder: Path, *more: str) -> Any:
    base, _, options = database.uri.partition("?")
    address = f"{base.rpartition('/')[0]}/{database.database_name}?{options}"
    return CliRunner().invoke(app, ["report", "made", "--out", str(folder), "--db", address, *more])


def test_the_command_says_what_was_written_as_json(
    database: Session, tmp_path: Path, few_figures: None
):
    store_campaign(documents=every_way())
    folder = tmp_path / "out"
    result = run_report(database, folder, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["report"] == str(folder / "report.html")
    assert told["bytes"] == (folder / "report.html").stat().st_size
    assert set(told["figures"]) == {"funnel"}
    assert told["not_shown"] == {"learning": "the property head has not learned yet"}
    assert told["faults"] == {}
    assert all(Path(path).is_file() for paths in told["figures"].values() for path in paths)


def test_a_figure_with_a_fault_is_named_and_the_rest_is_written(
    database: Session, tmp_path: Path, few_figures: None
):
    def broken(data: Any) -> Content:
        raise KeyError("no such column")

    store_campaign(documents=every_way())
    module.FIGURES["broken"] = Figure("broken", "Broken picture", broken)
    result = run_report(database, tmp_path / "out", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["faults"] == {"broken": "KeyError: 'no such column'"}
    assert set(told["figures"]) == {"funnel"}
    assert set(told["not_shown"]) == {"learning"}
    result = run_report(database, tmp_path / "out", "--overwrite")
    assert result.exit_code == 1
    assert "Broken picture: KeyError: 'no such column'" in result.stderr
    page = page_of(tmp_path / "out")
    _, said = page.text.split("Could not be drawn (a fault of the program)")
    assert "Broken picture: KeyError: 'no such column'." in said
    assert len(page.images) == 1
