"""Secrets that are planted appear in no output, log, record, file or command line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from db.uri import redact
from discovery.doctor import examination as doctor
from discovery.logs import JsonLines, TextFormatter, without_secrets
from discovery.workers.processes import QUEUES, launcher_command, worker_command

PASSWORD = "planted-pa55word"
KEY = "planted0api0key0of0materials0pro"
URI = f"mongodb://ann:{PASSWORD}@127.0.0.1:9/x?serverSelectionTimeoutMS=300"
BROKER = f"redis://:{PASSWORD}@127.0.0.1:9/0"


def command(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "MONGODB_URI": URI,
        "DISCOVERY_BROKER": BROKER,
        "MP_API_KEY": KEY,
        "DISCOVERY_HOME": str(folder / "home"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "discovery", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--campaign", "quickstart"],
        ["query", "quickstart", "--format", "json"],
        ["worker", "--queue", "relax"],
        ["worker", "--queue", "dft"],
        ["serve", "--optimade"],
    ],
    ids=" ".join,
)
def test_commands_that_fail_do_not_say_the_password(arguments: list[str], tmp_path: Path) -> None:
    process = command(*arguments, folder=tmp_path)
    seen = set()
    while process.poll() is None:
        seen.add(Path(f"/proc/{process.pid}/cmdline").read_bytes())
        time.sleep(0.1)
    output, _ = process.communicate()
    assert process.returncode == 1
    assert "127.0.0.1:9" in output
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (PASSWORD, KEY):
        assert secret not in output
        assert not any(secret.encode() in one for one in (*files, *seen))


def test_a_password_on_the_command_line_is_refused(tmp_path: Path) -> None:
    process = command("status", "--db", URI, folder=tmp_path)
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "MONGODB_URI" in output
    assert PASSWORD not in output


def test_the_commands_of_children_carry_no_address() -> None:
    for words in (worker_command(QUEUES, 2, "w"), launcher_command()):
        assert not any("://" in word for word in words)


@pytest.mark.parametrize("formatter", [TextFormatter, JsonLines])
def test_logs_lose_passwords_and_keys_wherever_they_come_from(
    formatter: type[logging.Formatter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MP_API_KEY", KEY)
    try:
        raise ConnectionError(f"cannot reach {BROKER}")
    except ConnectionError:
        record = logging.LogRecord(
            "some.library", logging.ERROR, __file__, 1, "no %s, key %s", (URI, KEY), sys.exc_info()
        )
    line = formatter().format(record)
    assert "127.0.0.1:9" in line
    assert "ConnectionError" in line
    assert PASSWORD not in line
    assert KEY not in line


@pytest.mark.parametrize(
    "address",
    [URI, BROKER, f"mongodb+srv://a:{PASSWORD}@x/y", f"redis://:{PASSWORD}@h", f"x {URI} {BROKER}"],
)
def test_addresses_lose_their_credentials(address: str) -> None:
    assert PASSWORD not in without_secrets(address)
    assert PASSWORD not in redact(address.split()[-1])


def test_doctor_does_not_say_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCOVERY_BROKER", BROKER)
    monkeypatch.setenv("MONGODB_URI", URI)
    for part in (doctor._broker(), doctor._database()):
        assert part.status == "missing"
        assert PASSWORD not in f"{part}"
