"""What the pages show of records runs on those of a finished campaign."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import REPOSITORY, blocks, command_lines
from typer.testing import CliRunner
from workplace import Workplace

from db.connection import connect
from db.documents import Calculation
from discovery import connect as open_records
from discovery.cli import app

#: Commands that only read records, or write what they read to a file.
READ = (
    *("campaigns", "status", "query", "show", "events", "funnel", "export", "backup"),
    *("dft list", "dft show", "data list"),
)
#: Commands of the pages that are not run here: why, or which test does.
NOT_RUN = {
    "run": "a campaign: tests/conftest.py",
    "worker": "does not end: tests/chaos",
    "serve": "does not end: tests/discovery/serve",
    "relax": "a person's files: tests/discovery/cli/test_relax.py",
    "screen": "a person's files: tests/discovery/cli/test_screen.py",
    "verify": "a person's files: tests/discovery/cli/test_verify.py",
    "dedup": "needs a reference collection: tests/discovery/structures/test_duplicates.py",
    "import-dft": "a person's files: tests/discovery/cli/test_import_dft.py",
    "generate": "seconds: tests/discovery/models/test_generation.py",
    "train": "hours: tests/discovery/models/test_generator_training.py",
    "train-screen": "hours: tests/discovery/models/test_screen_training.py",
    "evaluate search": "minutes: tests/discovery/cli/test_evaluate_search.py",
    "evaluate reconstruction": "needs data sets: tests/discovery/cli/test_evaluate.py",
    "data fetch": "the network: tests/discovery/references/fetch",
    "data import": "a data set: tests/discovery/references/test_importing.py",
    "models check": "seconds: tests/discovery/cli/test_cli.py",
    "models fetch": "the network: tests/agents/relax/test_openlam.py",
    "models references": "needs data sets: tests/agents/relax/test_references.py",
    "models label": "needs data sets: tests/discovery/cli/test_cli.py",
    "report": "draws for seconds: tests/discovery/figures",
    "redo": "DFT: tests/discovery/archive",
    "restore": "writes records: tests/discovery/backup",
    "repair": "writes records: tests/discovery/repair",
    "dft rerun": "writes records: tests/discovery/cli/test_dft.py",
    "dft defuse": "writes records: tests/discovery/cli/test_dft.py",
    "dft collect": "writes records: tests/discovery/cli/test_dft.py",
    "doctor": "this machine, not its records: tests/discovery/doctor",
}
GROUPS = ("dft", "data", "models", "evaluate")
CAMPAIGNS = re.compile(r"^(quickstart\w*|photovoltaic-3d|c2db-2d|carbon|mine|CAMPAIGN)$")
CANDIDATES = re.compile(r"^(ID|quickstart-[0-9a-f]{12})$")


def name(words: tuple[str, ...]) -> str:
    """Return the command's name, with that of its group."""
    return " ".join(words[1 : 3 if words[1] in GROUPS else 2])


@pytest.fixture
def records(finished: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """The finished campaign's records, which commands of this process find."""
    monkeypatch.delenv("MONGODB_URI", raising=False)
    monkeypatch.setenv("DISCOVERY_HOME", str(finished.folder / ".discovery"))
    with connect(create=False):  # one server for all of them
        yield finished


def test_every_command_is_run_or_said_why_not() -> None:
    shown = {name(line.words) for line in command_lines("discovery") if line.complete}
    assert shown - {*READ, *NOT_RUN} == set()
    tests = [reason.partition(": ")[2] for reason in NOT_RUN.values()]
    assert [test for test in tests if not (REPOSITORY / test).exists()] == []


@pytest.mark.campaign
def test_commands_that_read_do_so(
    records: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_records() as found:
        candidate = found.query("tiny", status="verified")["id"][0]
    calculation = Calculation.objects.first().hash
    failed, run, done = [], [], set()
    for number, line in enumerate(command_lines("discovery")):
        if not line.complete or name(line.words) not in READ or "--follow" in line.words:
            continue
        words = [CANDIDATES.sub(candidate, CAMPAIGNS.sub("tiny", word)) for word in line.words[1:]]
        words = [calculation if word == "HASH" else word for word in words]
        if tuple(words) in done:
            continue  # another page shows the same
        done.add(tuple(words))
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        result = CliRunner().invoke(app, words)
        run.append(name(line.words))
        if result.exit_code != 0:
            failed.append(f"{line.where}: {result.exception!r} {result.output[-300:]}")
    assert set(run) >= {"status", "query", "show", "events", "funnel", "export", "dft show"}
    assert failed == []


@pytest.mark.campaign
def test_python_that_reads_records_runs(
    records: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = [block for block in blocks("python") if "connect() as records" in block.text]
    for block in shown:
        source = block.text.replace("photovoltaic-3d", "tiny").replace("quickstart", "tiny")
        exec(
            compile("\n" * (block.line - 1) + source, block.page, "exec"), {"__name__": "__main__"}
        )
    assert len(shown) >= 2
    assert "tiny" in capsys.readouterr().out
