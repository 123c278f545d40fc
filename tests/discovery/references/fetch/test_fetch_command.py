"""``discovery data fetch`` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_server import DataServer
from known_crystals import c2db_entry, c2db_zip, crystals
from typer.testing import CliRunner

from discovery.cli import app, main
from discovery.references.fetch import cdvae, jarvis


@pytest.fixture
def address(server: DataServer) -> str:
    """Address of a server that has C2DB."""
    entries = [c2db_entry(name, one) for name, one in crystals(3).items()]
    server.files[f"/{jarvis.NUMBER}"] = c2db_zip([*entries, {"id": "no crystal"}])
    return server.address


def test_it_prints_what_was_fetched_and_what_to_do_next(address: str, folder: Path) -> None:
    command = ["data", "fetch", "c2db", "--address", address]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert f"{folder}/c2db_jarvis.csv.gz: 3 crystals, 1 left out" in done.stdout
    for told in ("first seen", "no crystal: KeyError", "discovery data import c2db"):
        assert told in done.stderr
    again = CliRunner().invoke(app, command)
    assert "is there" in again.stdout
    listed = json.loads(CliRunner().invoke(app, ["data", "list", "--json"]).stdout)
    (found,) = (one for one in listed["sources"] if one["name"] == "c2db")
    assert found["version"] == f"JARVIS, figshare file {jarvis.NUMBER}"


def test_json_is_one_document(address: str, folder: Path) -> None:
    done = CliRunner().invoke(app, ["data", "fetch", "c2db", "--address", address, "--json"])
    report = json.loads(done.stdout)
    assert (report["cards"][0]["rows"], report["already"]) == (3, False)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 2, "known are mp20"),
        (["optimade", "--filter", "nsites=1"], 2, "--provider URL and --name"),
        (["mp20", "--filter", "nsites=1"], 2, "are for optimade"),
        (["c2db", "--sha256", "abc"], 2, "FILE=HEX"),
        (["c2db", "--sha256", f"{jarvis.FILE}={'0' * 64}"], 1, "expected 0000"),
        (["mp20"], 1, "404"),
    ],
)
def test_what_cannot_be_fetched_is_one_clear_sentence(
    address: str,
    folder: Path,
    arguments: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable in (jarvis.ADDRESS_VARIABLE, cdvae.ADDRESS_VARIABLE):
        monkeypatch.setenv(variable, address)
    monkeypatch.setattr("sys.argv", ["discovery", "data", "fetch", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    told = capsys.readouterr()
    assert told.out == ""
    sentences = [line for line in told.err.splitlines() if line.startswith("discovery: ")]
    assert len(sentences) == 1
    assert message in sentences[0]
