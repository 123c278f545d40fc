"""Every source that the code or a page names is on the page that says how to cite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import yaml
from documents import REPOSITORY, pages

from discovery.archive.citations import bibliography

DOI = re.compile(r"\b10\.\d{4,9}/(?:\([^()\s]*\)|[^\s()\"'`<>\]},;|])+")
ARXIV = re.compile(r"arXiv[: ]+(?:\[|\{)?(\d{4}\.\d{4,5})")
CITING = REPOSITORY / "docs" / "citing.md"
#: No source: it stands for one in an example or in a test of ours.
NOT_A_SOURCE = {"10.1000/x", "10.1039/x"}


def sources(text: str) -> set[str]:
    """Return the DOIs and arXiv numbers that a text names, in lower case."""
    dois = {unquote(one).rstrip(".:*").lower() for one in DOI.findall(text)}
    return dois - NOT_A_SOURCE | {f"arxiv:{one}" for one in ARXIV.findall(text)}


def files() -> Iterator[Path]:
    """Yield what may name a source: code, settings, pages."""
    for folder in ("discovery", "agents", "model", "db", "configs", "benchmarks", "tools"):
        for pattern in ("*.py", "*.yaml", "*.bib"):
            yield from (REPOSITORY / folder).rglob(pattern)
    yield from pages()


def test_every_source_is_cited() -> None:
    cited = sources(CITING.read_text())
    missing = {
        (path.relative_to(REPOSITORY).as_posix(), one)
        for path in files()
        for one in sources(path.read_text(encoding="utf-8")) - cited
    }
    assert len(cited) > 60
    assert missing == set()


def test_pages_of_the_parts_say_whose_methods_they_use() -> None:
    menu = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]
    parts = ("Proposing", "Evaluating", "Screening", "Verifying")
    named = [one for entry in menu for title in parts for one in entry.get(title, ())]
    told = [page for entry in named for page in entry.values()]
    assert len(told) > 12
    silent = [page for page in told if not sources((REPOSITORY / "docs" / page).read_text())]
    assert silent == []


def test_links_lead_to_the_source_that_they_name() -> None:
    links = re.findall(r"\[(10\.[^]\s]+|\d{4}\.\d{4,5})\]\(([^()\s]+)\)", CITING.read_text())
    assert len(links) > 60
    hosts = ("https://doi.org/", "https://arxiv.org/abs/")
    assert [
        (name, link) for name, link in links if unquote(link) not in [h + name for h in hosts]
    ] == []


def test_what_archives_cite_is_told_in_full() -> None:
    told = sources(CITING.read_text())
    for key, entry in bibliography().items():
        names = sources(entry) | {
            f"arxiv:{one}" for one in re.findall(r"eprint = \{([\d.]+)", entry)
        }
        assert names, key
        assert names <= told, key
