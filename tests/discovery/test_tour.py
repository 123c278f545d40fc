"""Whoever follows docs/tour.md sees what it says, up to numbers, identifiers and crystals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from documents import blocks
from typer.testing import CliRunner
from workplace import Workplace

from db.connection import connect
from discovery.cli import app

PAGE = "docs/tour.md"
LEFT_OUT = "…"
FORMULA = re.compile(r"\b(?:[A-Z][a-z]?\d*){2,}\b")
WORDS = {
    re.compile(r"\b[a-z0-9-]+-[0-9a-f]{12}\b"): "ID",
    re.compile(r"\b[0-9a-f]{12}\b"): "HASH",
    re.compile(r"(?:mongodb:/)?/[\w./%+-]+"): "PATH",
    re.compile(r"\b(?:genetic|optuna_tpe|code_evolution|random|donor)\b"): "PROPOSER",
    re.compile(r"\b(?:True|False)\b"): "TRUTH",
    re.compile(r"\b(?:inside|outside)\b"): "SIDE",
    re.compile(r"\ba (?:hit|miss)\b"): "OUTCOME",
    re.compile(r"[-+]?\b\d[\d.]*"): "N",
}


@dataclass(frozen=True)
class Step:
    """What a person types, and what the page says that comes of it (None: nothing is said)."""

    typed: str
    shown: str | None


def steps() -> list[Step]:
    """Read the page: each block of commands, and the output below it."""
    shown = [one for one in blocks("sh", "text") if one.page == PAGE]
    return [
        Step(one.text, after.text if after is not None and after.language == "text" else None)
        for one, after in zip(shown, [*shown[1:], None])
        if one.language == "sh"
    ]


def _formula(found: re.Match[str]) -> str:
    """Tell ZnBO3 from DFT."""
    return found[0] if found[0].isalpha() and found[0].isupper() else "FORMULA"


def alike(line: str) -> str:
    """Write a line without what differs from run to run.

    >>> alike("quickstart-82bffaef53ff  ZnBO3    verified  donor  5  -1.446  False")
    'ID FORMULA verified PROPOSER N N TRUTH'
    >>> alike("DFT: 3 submitted, 3 completed")
    'DFT:'
    """
    line = FORMULA.sub(_formula, line)
    for pattern, word in WORDS.items():
        line = pattern.sub(word, line)
    label, colon, _ = line.partition(":")  # what follows lists what happened
    return " ".join((label + colon).split(";")[0].split())


def missing(shown: str, printed: str, *, gaps: bool = False) -> list[str]:
    """Return the lines of the page that the output lacks, in the order of the page.

    Args:
        shown: The page's; ``…`` stands for any lines.
        printed: The command's.
        gaps: Other lines may stand between any two.
    """
    left = [one for one in map(alike, printed.splitlines()) if one]
    place, lacking, skips = 0, [], True
    for line in (alike(one) for one in shown.splitlines() if one.strip()):
        if line == LEFT_OUT:
            skips = True
            continue
        ahead = left[place:] if skips or gaps else left[place : place + 1]
        if line in ahead:
            place += ahead.index(line) + 1
        else:
            lacking.append(line)
        skips = False
    return lacking


def test_a_line_that_is_not_printed_is_noticed() -> None:
    printed = "id  formula\nx-0123456789ab  GaAs  1.2\n3 candidates"

    assert missing("id formula\nx-ba9876543210  ZnBO3  -0.3\n5 candidates", printed) == []
    assert missing("id formula\n3 candidates", printed) == ["N candidates"]
    assert missing("id formula\n…\n3 candidates", printed) == []
    assert missing("id formula state", printed) == ["id formula state"]


@pytest.mark.campaign
def test_the_tour_reads_a_finished_campaign_as_it_says(
    finished: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands that read, on another small campaign; all of them: the long test."""
    monkeypatch.delenv("MONGODB_URI", raising=False)
    monkeypatch.setenv("DISCOVERY_HOME", str(finished.folder / ".discovery"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    (verified,) = finished.json("query", "tiny", "--status", "verified", "--format", "json")
    reading = ("status", "query", "show", "funnel")
    done = []
    with connect(create=False):
        for step in steps():
            words = re.sub(r"quickstart-[0-9a-f]{12}", verified["id"], step.typed).split()
            if words[1] not in reading:
                continue
            words = [word.replace("quickstart", "tiny") for word in words]
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, result.output
            shown = (step.shown or "").replace("quickstart", "tiny")
            # Another campaign has other candidates, and may have drawn none at random.
            other = ("tiny-", "Control arm")
            few = [one for one in shown.splitlines() if not one.startswith(other)]
            lacking = missing("\n".join(few), result.output, gaps=True)
            assert lacking == [], f"{step.typed}{result.stdout}"
            done.append(words[1])
    assert set(done) == set(reading)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_tour_followed_literally_from_an_empty_directory(tmp_path: Path) -> None:
    environment = {
        **Workplace(tmp_path).environment(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    here = tmp_path
    verified = ""
    for step in steps():
        typed = re.sub(r"quickstart-[0-9a-f]{12}", verified, step.typed)
        if "serve" in typed:
            printed = "\n".join(_served(typed, here, environment))
        else:
            ran = subprocess.run(
                ["sh", "-ec", f"{typed}\npwd > {tmp_path}/here"],
                cwd=here,
                env=environment,
                timeout=1800,
                capture_output=True,
                text=True,
            )
            assert ran.returncode == 0, f"{typed}{ran.stderr[-3000:]}"
            here = Path((tmp_path / "here").read_text().strip())
            printed = ran.stderr + ran.stdout
        if "verified" in typed and not verified:
            verified = re.search(r"quickstart-[0-9a-f]{12}", printed)[0]
        assert missing(step.shown or "", printed) == [], f"{typed}{printed}"
    assert here == tmp_path / "tour"


def _served(typed: str, here: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start the dashboard, look at its first page, and press Ctrl-C."""
    words = [sys.executable, "-m", *typed.split(), "--port", "0"]
    with subprocess.Popen(
        words, cwd=here, env=environment, stderr=subprocess.PIPE, text=True
    ) as run:
        for line in run.stderr:
            if "until Ctrl-C" in line:
                yield line
                address = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
                with urllib.request.urlopen(address) as answer:
                    assert answer.status == 200
                break
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) in (0, 130)
