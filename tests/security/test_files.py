"""What lies on the disk is its owner's alone, and servers listen on this machine's own address."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from db.connection import Session
from db.paths import private_folder
from discovery.serve.listening import CannotServe, require_loopback

ROOT = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_home_of_the_database_is_private(mongo_session: Session) -> None:
    home = mongo_session.home
    assert home is not None
    for folder in (home / "mongo", home / "run"):
        assert mode(folder) == 0o700
    files = list((home / "run").rglob("*.lock"))
    assert files
    assert all(mode(path) == 0o600 for path in files)


def test_the_server_has_no_port_and_its_socket_no_other_users(mongo_session: Session) -> None:
    options = mongo_session.database.client.admin.command("getCmdLineOpts")["parsed"]
    assert options["net"]["unixDomainSocket"]["filePermissions"] == 0o600
    address = mongo_session.describe()["address"]
    assert address.endswith(".sock/discovery_test") or "%2F" in address
    listening = subprocess.run(
        [
            sys.executable,
            "-c",
            "print(open('/proc/net/tcp').read(), open('/proc/net/tcp6').read())",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    process = int(mongo_session.database.client.admin.command("serverStatus")["pid"])
    sockets = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        try:
            sockets.add(os.readlink(link))
        except FileNotFoundError:  # closed meanwhile
            continue
    inodes = {line.split()[9] for line in listening.splitlines() if line.split()[3:4] == ["0A"]}
    assert not {f"socket:[{inode}]" for inode in inodes} & sockets


def test_folders_above_a_private_one_are_private_too(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        private_folder(tmp_path / "home" / "broker" / "messages")
    finally:
        os.umask(before)
    for name in ("home", "home/broker", "home/broker/messages"):
        assert mode(tmp_path / name) == 0o700


def test_what_a_worker_makes_is_private(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "import discovery.workers.celery_app\n"
        "from discovery.logs import configure_logs\n"
        "configure_logs(Path('home/logs/loop.log'))\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "DISCOVERY_HOME": str(tmp_path / "home"), "DISCOVERY_BROKER": ""},
        check=True,
        umask=0o022,
    )
    made = sorted((tmp_path / "home").rglob("*"))
    assert {path.name for path in made} >= {"messages", "control", "logs", "loop.log"}
    assert all(mode(path) == (0o700 if path.is_dir() else 0o600) for path in made)
    assert mode(tmp_path / "home") == 0o700


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_servers_refuse_addresses_that_others_reach(host: str) -> None:
    with pytest.raises(CannotServe, match="open to others"):
        require_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_servers_accept_this_machines_own_addresses(host: str) -> None:
    require_loopback(host)
