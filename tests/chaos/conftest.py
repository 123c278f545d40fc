"""Fixtures of the chaos tests: one database server, one undisturbed campaign."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Zygote, database_uri
from history import read
from outcome import Outcome, Row, outcome, table

from db.embedded import EmbeddedServer

CAMPAIGN = Path(__file__).with_name("campaign.yaml")
ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database server of their own; this process is not connected to it."""
    used = EmbeddedServer(tmp_path_factory.mktemp("server"))
    yield used.start()
    used.close()


@pytest.fixture(scope="session")
def found(
    server: str, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Cluster]]:
    """Found a cluster with a database of its own; whatever is left of it is killed at the end."""
    numbers = itertools.count(1)
    founded: list[Cluster] = []

    def make(file: Path = CAMPAIGN, **environment: str) -> Cluster:
        number = next(numbers)
        folder = tmp_path_factory.mktemp(f"cluster{number}")
        uri = database_uri(server, f"chaos{number}")
        made = Cluster(zygote, folder, uri, "chaos", file, dict(environment))
        founded.append(made)
        return made

    yield make
    for made in founded:
        made.stop()


@pytest.fixture(scope="session")
def calm(found: Callable[..., Cluster]) -> Callable[[], Cluster]:
    """A cluster in which nothing happens; it works beside the tests; a call waits for it."""
    cluster = found()
    cluster.worker(concurrency=2)
    cluster.launcher()
    loop = cluster.loop("--json")

    def finished() -> Cluster:
        assert cluster.wait(loop, 400) == 0, cluster.log("run")
        cluster.kill_everything()
        return cluster

    return finished


@pytest.fixture(scope="session")
def undisturbed(calm: Callable[[], Cluster]) -> Callable[[], Outcome]:
    """What becomes of the campaign when nothing happens."""

    def await_outcome() -> Outcome:
        cluster = calm()
        return outcome(read(cluster.database, cluster.campaign))

    return await_outcome


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str], Row]:
    """Add a line to the table that is printed at the end."""

    def add(fault: str) -> Row:
        rows = request.config.stash.setdefault(ROWS, [])
        rows.append(Row(fault))
        return rows[-1]

    return add


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of faults."""
    rows = config.stash.get(ROWS, [])
    if rows:
        terminalreporter.section("faults")
        for line in table(rows):
            terminalreporter.write_line(line)
