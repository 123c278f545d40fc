"""The containers' description and the README's two commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SECRETS = (
    *("MONGO_USER", "MONGO_PASSWORD", "MONGO_KEYFILE", "REDIS_PASSWORD"),
    "DISCOVERY_DB_PASSWORD",
)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_every_part_of_the_production_topology_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["mongo"]["image"] == "mongo:8"
    assert "--replSet" in services["mongo"]["entrypoint"][2]
    assert "--keyFile" in services["mongo"]["entrypoint"][2]
    assert services["mongo"]["volumes"][0] == "mongo:/data/db"
    assert "mongo" in compose["volumes"]
    assert "requirepass" in " ".join(services["redis"]["command"])
    assert services["redis"]["user"] == "999:999"
    devices = services["relax-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]
    for name in ("agent", "screen-worker", "dft-launcher"):
        assert services[name]["image"].startswith("discovery:")


def test_ports_are_published_to_loopback_only(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["networks"] == ["internal"]


def test_secrets_come_from_the_environment_and_must_be_set() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in SECRETS:
        uses = re.findall(r"\$\{" + name + r"([^}]*)\}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses)
    example = (ROOT / ".env.example").read_text()
    assert all(f"{name}=\n" in example for name in SECRETS)
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_our_services_are_nobody_special_and_change_nothing_of_their_image(
    compose: dict[str, Any],
) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    users = re.findall(r"^USER (\S+)$", dockerfile, re.M)
    assert users == ["discovery"]
    assert dockerfile.index("USER discovery") > dockerfile.rindex("RUN ")
    ours = [one for one in compose["services"].values() if one["image"].startswith("discovery:")]
    assert len(ours) == 4
    for service in ours:
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert "privileged" not in service
        places = [one.partition(":")[0] for one in service["tmpfs"]]
        places += [one.split(":")[1].removesuffix("-./data}") for one in service["volumes"]]
        state = [one for one in (*service["tmpfs"], *service["volumes"]) if "/var/lib/disc" in one]
        assert len(state) == 1  # a volume, or memory: the home can be written
        assert "/tmp" in places


def test_no_password_is_an_argument(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        words = [*service.get("command", []), *service.get("healthcheck", {}).get("test", [])]
        assert not [
            word for word in words if re.search(r"(^|\s)(-p|--password)(\s|=|$)", str(word))
        ]
        assert not [word for word in words if "://" in str(word)]


def test_the_commands_of_the_services_are_understood(compose: dict[str, Any]) -> None:
    from typer.testing import CliRunner

    from discovery.cli import app

    for name in ("agent", "relax-worker", "screen-worker", "dft-launcher"):
        command = [str(part) for part in compose["services"][name]["command"]]
        shown = CliRunner().invoke(app, [command[0], "--help"])
        assert shown.exit_code == 0
        assert all(part in shown.output for part in command if part.startswith("--"))


def test_ci_runs_the_readmes_test_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"^make run ", readme, re.M)
    assert re.search(r"^make test ", readme, re.M)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_make_run_alone_finishes_the_quickstart_from_a_fresh_clone(tmp_path: Path) -> None:
    git = shutil.which("git")
    assert git is not None
    clone = tmp_path / "discovery"
    subprocess.run([git, "clone", "--quiet", str(ROOT), str(clone)], check=True)
    hidden = ("DISCOVERY_DATA", "DISCOVERY_MODELS", "DISCOVERY_HOME", "MONGODB_URI", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    for attempt in range(2):
        ended = subprocess.run(
            ["make", "run"], cwd=clone, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr[-4000:]
        assert "quickstart is complete" in ended.stdout
        assert attempt == 0 or "already complete" in ended.stderr
    shown = subprocess.run(
        [clone / ".venv/bin/discovery", "status", "quickstart", "--json"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    status = json.loads(shown.stdout)
    assert status["candidates"] >= 256
    assert status["proposers"]["genetic"] >= 64
    assert status["proposers"]["optuna_tpe"] >= 64
    assert status["reached"]["relaxed"] >= 48
    assert status["dft"]["completed"] >= 3
    assert status["dft"]["submitted"] <= 8
    assert status["learning"]
