"""docker-compose.yml: valid by its specification, and what its services run works on this machine.

There is no Docker here. Each of our services' command lines is executed as it stands, with the
environment that the file gives it; only the names of other containers become addresses of this
machine, and the GPU becomes a processor.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import compose
import pytest
from cluster import processes, until
from production import Site
from servers import Mongo, RedisServer, find_redis, free_port

VARIABLES = {
    "MONGO_USER": "root",
    **{
        name: secrets.token_hex(12)
        for name in ("MONGO_PASSWORD", "DISCOVERY_DB_PASSWORD", "MONGO_KEYFILE", "REDIS_PASSWORD")
    },
}
EXECUTED = ("screen-worker",)
OURS = ("agent", "relax-worker", "screen-worker", "dft-launcher")


def test_it_is_valid_by_the_specification() -> None:
    assert {*OURS, "mongo", "redis"} == set(compose.services(VARIABLES))


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("restart: unless-stopped", "restrat: unless-stopped", "restrat"),
        ("interval: 5s", "interval: 5 parsecs", "not a valid duration"),
        ("condition: service_healthy", "condition: happy", "unknown variant"),
        ("networks: [internal]", "networks: [outside]", "outside"),
        ("agent:/var/lib", "nowhere:/var/lib", "agent needs nowhere"),
        ("mongo: {condition", "mango: {condition", "agent needs mango"),
    ],
)
def test_the_check_finds_mistakes(
    right: str, wrong: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = compose.FILE.read_text()
    assert right in text
    changed = tmp_path / "docker-compose.yml"
    changed.write_text(text.replace(right, wrong))
    monkeypatch.setattr(compose, "FILE", changed)
    with pytest.raises(ValueError, match=message):
        compose.services(VARIABLES)


def test_it_refuses_to_start_without_secrets() -> None:
    with pytest.raises(compose.Unset, match="set REDIS_PASSWORD"):
        compose.services({**VARIABLES, "REDIS_PASSWORD": ""})


@pytest.fixture
def redis_of_compose(tmp_path: Path) -> Iterator[RedisServer]:
    """Redis, started by the command that the file gives."""
    service = compose.services(VARIABLES)["redis"]
    server = RedisServer(tmp_path)
    server.port, server.password = free_port(), VARIABLES["REDIS_PASSWORD"]
    wrapper = tmp_path / "bin" / "redis-server"  # the image's listens on its own port 6379
    wrapper.parent.mkdir()
    own = f"--port {server.port} --bind 127.0.0.1 --dir {tmp_path}"
    wrapper.write_text(f'#!/bin/sh\nexec {find_redis()} "$@" {own}\n')
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}:{os.environ['PATH']}"
    script = [one.replace("/tmp/", f"{tmp_path}/") for one in service["command"]]
    environment = {**service["environment"], "PATH": path}
    server.process = subprocess.Popen(script, env=environment, stdout=subprocess.DEVNULL)
    server._wait(server._answers)
    yield server
    server.stop()


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_every_service_runs_and_no_secret_can_be_seen(
    make_site: Callable[..., Site], mongo: Mongo, redis_of_compose: RedisServer, tmp_path: Path
) -> None:
    password, mongo.password = mongo.password, VARIABLES["DISCOVERY_DB_PASSWORD"]
    uri = mongo.uri("discovery", "discovery")
    mongo.password = password
    with mongo.root() as client:
        roles = [{"role": "readWrite", "db": "discovery"}]
        own = VARIABLES["DISCOVERY_DB_PASSWORD"]
        client.admin.command("createUser", "discovery", pwd=own, roles=roles)
    campaign = Path(__file__).with_name("campaign.yaml")
    found = compose.services({**VARIABLES, "DISCOVERY_CAMPAIGN": str(campaign)})
    site = make_site(uri)
    addresses = {
        "mongo:27017": f"127.0.0.1:{mongo.port}",
        "redis:6379": f"127.0.0.1:{redis_of_compose.port}",
    }
    started = {}
    for name in OURS:
        environment = {}
        for key, value in found[name]["environment"].items():
            for container, here in addresses.items():
                value = value.replace(f"@{container}", f"@{here}")
            if key not in ("DISCOVERY_MODELS", "DISCOVERY_DATA"):  # volumes
                environment[key] = value
        words = ["cpu" if word == "cuda:0" else word for word in found[name]["command"]]
        if name in EXECUTED:  # a fork would hide its arguments
            site.execute(*words, **environment)
        else:
            started[name] = site.command(*words, **environment)
    until(lambda: any(one["state"] == "verified" for one in site.candidates()), 200)
    lines = [command for _, _, command in processes()]
    assert any("redis-server" in line for line in lines)
    assert any("mongod" in line for line in lines)
    assert any("-m discovery worker --queue screen,learn" in line for line in lines)
    for secret in VARIABLES.values():
        if secret != "root":
            assert not [line for line in lines if secret in line]
    logs = "".join(file.read_text() for file in site.folder.glob("*.log"))
    assert not [secret for secret in VARIABLES.values() if len(secret) > 4 and secret in logs]
    assert site.ended(started["agent"]) in (None, 0), site.log("run")  # other tests wait for it
    with redis_of_compose.client() as client:
        assert client.info("commandstats")["cmdstat_lpush"]["calls"] > 3
        assert client.config_get("save")["save"] == ""
