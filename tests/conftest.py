"""Fixtures shared by all tests."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db.connection import Session, connect, ensure_indexes

if TYPE_CHECKING:
    from cluster import Zygote
    from workplace import Workplace


# Tests that were started in the background ignore Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if value and Path(value).is_dir():
        return Path(value).absolute()
    reason = f"{variable} is not set to an existing folder (value: {value!r})"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}, and nothing may be skipped with CI=true")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of data sets, `$DISCOVERY_DATA`."""
    return _folder("DISCOVERY_DATA")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder of third-party weights, `$DISCOVERY_MODELS`."""
    return _folder("DISCOVERY_MODELS")


@pytest.fixture(scope="session")
def mongo_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One embedded database for the whole run, never the one in `$MONGODB_URI`."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MONGODB_URI", raising=False)
        patch.setenv("DISCOVERY_HOME", str(home))
        with connect(home=home, database="discovery_test") as session:
            yield session


@pytest.fixture
def database(mongo_session: Session) -> Session:
    """An empty database with its indexes."""
    for name in mongo_session.database.list_collection_names():
        if not name.startswith("system."):
            mongo_session.database[name].delete_many({})
    ensure_indexes()
    return mongo_session


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``DISCOVERY_MODELS`` with the deterministic potential's elemental references alone."""
    from cluster import PLUGIN, Zygote

    folder = tmp_path_factory.mktemp("models")
    target = folder / "references" / "lennard-jones-1.json"
    target.parent.mkdir()
    program = "import json, chaos_physics; print(json.dumps(chaos_physics.reference_table()))"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**Zygote.kept(), "PYTHONPATH": f"{PLUGIN}{os.pathsep}{PLUGIN.parents[2]}"},
        check=True,
        capture_output=True,
    )
    target.write_bytes(printed.stdout)
    return folder


@pytest.fixture(scope="session")
def zygote(toy_models: Path) -> Iterator[Zygote]:
    """What the processes of the campaigns with a deterministic potential are forked from."""
    from cluster import Zygote

    started = Zygote(toy_models, "perov5")
    yield started
    started.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which the campaign ran to its end without interruption."""
    from workplace import make_workplace

    place = make_workplace(tmp_path_factory.mktemp("finished"))
    place.run("run", "--campaign", str(place.campaign), "--json")
    return place
