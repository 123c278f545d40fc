"""Shells are really asked how a word goes on: bash, fish and zsh, with their own protocols."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminal import record
from typer.testing import CliRunner

from db import campaigns
from db.connection import Session
from discovery.cli import app, completion

BIN = str(Path(sys.executable).parent)
ASKED = {
    "discovery st": ["status"],
    "discovery models ch": ["check"],
    "discovery status --js": ["--json"],
    "discovery run --campaign quick": ["quickstart"],
    "discovery screen --campaign photo": ["photovoltaic-3d"],
    "discovery run --campaign own": ["own.yaml"],
    "discovery run --set verify.pres": [
        f"verify.preset={name}" for name in ("fast", "mp24", "mp24-pbe", "standard")
    ],
    "discovery relax --potential chg": ["chgnet"],
    "discovery models check meg": ["megnet"],
    "discovery generate --checkpoint pe": ["perov5"],
    "discovery verify --preset sta": ["standard"],
    "discovery query --fields formula,band_gap_me": ["formula,band_gap_megnet"],
    "discovery query --status veri": ["verified", "verifying"],
    "discovery worker --queue evaluate,re": ["evaluate,relax"],
    "discovery data import per": ["perov5"],
    "discovery dedup --reference sel": ["self"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A home and working folder in which completion is installed for every shell."""
    for name in ("own.yaml", "other.txt"):
        (tmp_path / name).touch()
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    outside = ("MONGODB_URI", "DISCOVERY_HOME", "DISCOVERY_BROKER", "MONGOD", "ZDOTDIR")
    kept = {key: value for key, value in os.environ.items() if key not in outside}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "HOME": str(folder), "PATH": path, "XDG_CONFIG_HOME": str(folder), **more}


def run(shell: str, script: str, folder: Path, **more: str) -> str:
    program = shutil.which(shell)
    assert program is not None, f"{shell} is missing: make browser"
    ended = subprocess.run(
        [program, "-c", script],
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("line", ASKED)
def test_a_word_goes_on(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    asked = {"_DISCOVERY_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    answer = CliRunner().invoke(
        app, env={**asked, "_TYPER_COMPLETE_ARGS": line}, prog_name="discovery"
    )
    assert answer.exit_code == 0
    found = sorted(one.partition("\t")[0] for one in answer.stdout.splitlines() if one)
    assert found == ASKED[line]


def test_bash_is_answered(folder: Path) -> None:
    lines = [
        'eval "$(discovery --show-completion bash)"',
        'ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _discovery_completion discovery;',
        '  printf "%s " "${COMPREPLY[@]}"; echo; }',
        "ask discovery run --campaign quick",
        # Bash itself cuts words at = and : like this, and keeps what is before the cut.
        "ask discovery run --set verify.preset = fa",
        "ask discovery run --set verify.preset =",
        "ask discovery relax --potential = chg",
    ]
    answers = run("bash", "\n".join(lines), folder, **SHOW).splitlines()
    assert answers == ["quickstart ", "fast ", "fast standard mp24 mp24-pbe ", "chgnet "]


def test_fish_is_answered(folder: Path) -> None:
    line = "discovery run --campaign quick"
    script = f"discovery --show-completion fish | source; complete -C '{line}'"
    assert run("fish", script, folder, **SHOW).split() == ["quickstart"]


def test_zsh_completes_what_is_typed(folder: Path) -> None:
    (folder / ".zshrc").write_text("PS1='ready> '\nautoload -Uz compinit; compinit -u\n")
    (folder / ".zshrc").open("a").write('eval "$(discovery --show-completion zsh)"\n')
    shown = record(
        ["zsh", "-i"],
        folder=folder,
        environment=environment(folder, **SHOW),
        columns=100,
        keys=[
            ("ready>", "discovery run --campaign quick\t"),
            ("--campaign quickstart", "--set verify.preset=sta\t"),
            ("verify.preset=standard", "\x15exit\r"),  # the line is emptied
        ],
    )
    assert shown.code == 0
    typed = "discovery run --campaign quickstart --set verify.preset=standard"
    assert any(typed in line for frame in shown.frames for line in frame)


def test_bash_completes_what_is_typed_after_the_installation(folder: Path) -> None:
    run("bash", "discovery --install-completion bash", folder, **SHOW)
    assert "completion" in (folder / ".bashrc").read_text()
    (folder / ".bashrc").open("a").write("PS1='ready> '\nbind 'set bell-style none'\n")
    shown = record(
        ["bash", "--rcfile", str(folder / ".bashrc"), "-i"],
        folder=folder,
        environment=environment(folder),
        columns=100,
        keys=[
            ("ready>", "discovery run --campaign quick\t"),
            ("--campaign quickstart", "--set verify.preset=sta\t"),
            ("verify.preset=standard", "\x15exit\r"),  # the line is emptied
        ],
    )
    typed = "discovery run --campaign quickstart --set verify.preset=standard"
    assert any(typed in line for frame in shown.frames for line in frame)


SHOW = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""The shell is named on the command line: a test is not started from one."""


def test_names_come_from_a_database_that_runs(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        campaigns.create(name, config={}, seed=0)
    rows = [
        {"_id": f"first-{digit}", "campaign": "first", "seq": int(digit), "codes_hash": digit}
        for digit in "0123"
    ]
    database.database["candidates"].insert_many(rows)
    monkeypatch.setenv("MONGODB_URI", f"{database.uri}")
    monkeypatch.setattr("db.connection.DATABASE_NAME", database.database_name)
    assert completion.campaigns_here("") == ["second", "first"]
    assert completion.campaigns_here("f") == ["first"]
    assert completion.candidates("first-") == [row["_id"] for row in rows]
    assert completion.candidates("first-2") == ["first-2"]
    assert completion.calculations("") == []


def test_nothing_is_started_or_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path / "home"))
    assert completion.campaigns_here("") == []
    assert completion.candidates("") == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "home" / "run").mkdir(parents=True)
    completion.remember(["newest", "older", "newest"], None)
    assert completion.campaigns_here("") == ["newest", "older"]
    completion.remember(["elsewhere"], "mongodb://elsewhere")
    assert completion.campaigns_here("o") == ["older"]
    began = time.monotonic()
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9")
    assert completion.campaigns_here("") == []
    assert time.monotonic() - began < 10


def test_keys_are_those_of_a_campaign_file() -> None:
    keys = completion.settings("budget.")
    assert keys == [f"budget.{key}=" for key in ("rounds", "max_candidates", "max_minutes",
                                                 "max_hits")]  # fmt: skip
    assert completion.settings("relax.max_st") == ["relax.max_steps=100"]
    assert completion.settings("relax.relax_cell=f") == ["relax.relax_cell=false"]
    assert completion.settings("no.such.key") == []


def test_files_are_offered_by_their_endings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crystals").mkdir()
    for name in ("one.cif", "crystals/two.cif", "three.txt", ".hidden.cif"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert completion.crystal_files("") == ["crystals/", "one.cif"]
    assert completion.crystal_files("crystals/") == ["crystals/two.cif"]
    assert completion.crystal_files(".h") == [".hidden.cif"]
    assert completion.crystal_files("nowhere/") == []
