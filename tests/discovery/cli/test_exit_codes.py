"""Exit codes are those that docs/command-line.md promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import record

DOCUMENTED = Path(__file__).parents[3] / "docs" / "command-line.md"


def discovery(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    outside = ("MONGODB_URI", "DISCOVERY_HOME", "MONGOD", "DISCOVERY_BROKER")
    kept = {key: value for key, value in os.environ.items() if key not in outside}
    return subprocess.run(
        [sys.executable, "-m", "discovery", *words],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["campaigns"], 0),
        (["query", "quickstart", "--format", "cif"], 2),  # needs --out
        (["status", "quickstart"], 1),  # there is no database here
    ],
)
def test_the_exit_code(words: list[str], code: int, tmp_path: Path) -> None:
    ended = discovery(*words, cwd=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert bool(ended.stderr) == bool(code)
    assert "Traceback" not in ended.stderr


def test_whoever_interrupts_gets_130(tmp_path: Path) -> None:
    waiting = (
        "import time\n"
        "from discovery.cli import bars, main\n"
        "from discovery.doctor import examination\n"
        "bars.DELAY = 0.1\n"
        "examination.examine = lambda progress: time.sleep(60)\n"
        "import sys; sys.argv = ['discovery', 'doctor']\n"
        "main()\n"
    )
    shown = record(["python", "-c", waiting], folder=tmp_path, keys=[("examining", "\x03")])
    assert shown.code == 130
    assert "Traceback" not in shown.text
    assert "\x1b[?25h" in shown.text.rpartition("\x1b[?25l")[2]  # the cursor is there again


def test_the_codes_are_documented() -> None:
    text = DOCUMENTED.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    codes = [line.split("|")[1].strip() for line in rows]
    assert [code for code in codes if code.isdigit()] == ["0", "1", "2", "130"]
