"""Fixtures of the production topology: servers with passwords, processes with addresses of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Zygote
from production import Site
from proxy import Proxy
from servers import Mongo, RedisServer

CAMPAIGN = Path(__file__).with_name("campaign.yaml")


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    """mongod with authentication; a test that kills it starts it again."""
    server = Mongo(tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Redis with a password."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_site(
    mongo: Mongo, redis: RedisServer, zygote: Zygote, tmp_path: Path
) -> Iterator[Callable[..., Site]]:
    """Found a site with a database and a user of its own; the broker is emptied before."""
    founded: list[Site] = []
    numbers = itertools.count(1)

    def make(uri: str | None = None, broker: str | None = None, **environment: str) -> Site:
        number = next(numbers)
        name = f"{tmp_path.name}_{number}".replace("-", "_")[-60:]
        own = uri or mongo.add_user(name, "readWrite", name)
        with redis.client() as client:
            client.flushall()
        variables = {"MONGODB_URI": own, "DISCOVERY_BROKER": broker or redis.url, **environment}
        made = Site(zygote, tmp_path / f"site{number}", own, "topology", CAMPAIGN, variables)
        founded.append(made)
        return made

    yield make
    for made in founded:
        made.stop()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """One site."""
    return make_site()


@pytest.fixture
def proxy(mongo: Mongo) -> Iterator[Proxy]:
    """A network to the database that can be cut."""
    between = Proxy(mongo.port)
    yield between
    between.close()


@pytest.fixture
def remote(make_site: Callable[..., Site], mongo: Mongo, proxy: Proxy, tmp_path: Path) -> Site:
    """A site that reaches its database through a network."""
    name = tmp_path.name.replace("-", "_")[-60:]
    mongo.add_user(name, "readWrite", name)
    found = make_site(mongo.uri(name, name, proxy.port))
    found.client = mongo.root()  # the test looks on without it
    found.database = found.client[name]
    return found
