"""A campaign's processes as in production: one loop, workers, launchers, each its own session.

All of them are the product's own commands; `zygote.Zygote` only starts them quickly. Every process
that belongs to a cluster can be found again: by its session, or by the marker that programs which
it starts inherit in their environment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pymongo import MongoClient

from db.uri import normalised

HERE = Path(__file__).parent
PLUGIN = HERE / "plugin"
MARKER = "DISCOVERY_CHAOS_MARKER"
QUEUES = "evaluate,relax,screen,learn"
OUTSIDE = ("MONGODB_URI", "DISCOVERY_HOME", "DISCOVERY_BROKER", "MONGOD", "DISCOVERY_MODELS")
T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float, pause: float = 0.02) -> T:
    """Wait until something is true, and return it.

    Raises:
        AssertionError: It did not become true.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain"
        time.sleep(pause)


class Zygote:
    """The process that all others are forked from; see `zygote`."""

    def __init__(self, models: Path, generator: str) -> None:
        self.environment = {
            **self.kept(),
            "DISCOVERY_MODELS": str(models),
            "NO_COLOR": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{PLUGIN}{os.pathsep}{HERE.parents[1]}",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py"), generator],
            cwd=HERE.parents[1],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert "ready" in self._answer()

    @staticmethod
    def kept() -> dict[str, str]:
        """This process's variables, without any that point to another database or broker."""
        return {name: value for name, value in os.environ.items() if name not in OUTSIDE}

    def start(self, argv: list[str], environment: dict[str, str], folder: Path, log: Path) -> int:
        """Fork one process; returns its id, which is its session's too."""
        request = {"argv": argv, "environment": {**self.environment, **environment}}
        return int(self._ask({**request, "folder": str(folder), "log": str(log)})["pid"])

    def code(self, pid: int) -> int | None:
        """Return the exit code of a process, minus the signal; None while it runs."""
        answer: int | None = self._ask({"wait": pid})["code"]
        return answer

    def close(self) -> None:
        """End it; whatever it started dies with it."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the zygote is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass
class Cluster:
    """One campaign in one database, and the processes that work for it.

    Attributes:
        zygote: Starts them.
        folder: Working directory; ``DISCOVERY_HOME`` is under it.
        uri: Address of its database.
        campaign: Name of the campaign.
        file: The campaign's file.
        environment: Variables of every process started from now on.
    """

    zygote: Zygote
    folder: Path
    uri: str
    campaign: str
    file: Path
    environment: dict[str, str] = field(default_factory=dict)
    sessions: list[int] = field(default_factory=list)
    executed: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(exist_ok=True)
        self.client: MongoClient[dict[str, Any]] = MongoClient(self.uri, tz_aware=True)
        self.database = self.client.get_default_database()
        self.environment.setdefault("DISCOVERY_HOME", str(self.home))
        self.environment.setdefault("CHAOS_DFT_LEDGER", str(self.ledger))
        self.environment.setdefault(MARKER, f"{self.campaign}-{time.time_ns()}")

    @property
    def home(self) -> Path:
        """What the commands know as ``DISCOVERY_HOME``."""
        return self.folder / "home"

    @property
    def ledger(self) -> Path:
        """Has a line for every DFT calculation that ran to its end."""
        return self.folder / "ledger.txt"

    def command(self, *arguments: str, **environment: str) -> int:
        """Start any command; its output goes to ``<first argument>.log``."""
        log = self.folder / f"{arguments[0]}.log"
        own = {**self.environment, **environment}
        pid = self.zygote.start(list(arguments), own, self.folder, log)
        self.sessions.append(pid)
        return pid

    def loop(self, *arguments: str, **environment: str) -> int:
        """Start a loop that starts no workers itself."""
        campaign = ("--campaign", str(self.file), "--db", self.uri)
        return self.command("run", *campaign, "--workers", "0", *arguments, **environment)

    def worker(self, queues: str = QUEUES, concurrency: int = 1, **environment: str) -> int:
        """Start a Celery worker with its pool."""
        number = ("--concurrency", str(concurrency))
        return self.command("worker", "--queue", queues, *number, "--db", self.uri, **environment)

    def launcher(self, **environment: str) -> int:
        """Start a FireWorks launcher."""
        return self.command("worker", "--queue", "dft", "--db", self.uri, **environment)

    def ended(self, pid: int) -> int | None:
        """Return the exit code of a process that was started here, None while it runs."""
        return self.zygote.code(pid)

    def wait(self, pid: int, seconds: float = 120) -> int:
        """Wait for a process to end, and return its exit code."""
        until(lambda: self.ended(pid) is not None, seconds, 0.1)
        code = self.ended(pid)
        assert code is not None
        return code

    def kill(self, pid: int) -> None:
        """SIGKILL one process that was started here, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        if pid in self.sessions:
            self.wait(pid, 10)
        else:
            until(lambda: not alive(pid), 10, 0.005)

    def pool(self, worker: int) -> list[int]:
        """Return the pool processes of a worker."""
        return children(worker)

    def left_over(self) -> dict[int, str]:
        """Find every living process of this cluster, with its command line."""
        marker = f"{MARKER}={self.environment[MARKER]}".encode()
        found = {}
        for pid, session, command in processes():
            if session in self.sessions or marker in _environ(pid):
                found[pid] = command
        return found

    def execute(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command as a person does, with an interpreter of its own."""
        with (self.folder / "executed.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "discovery", *arguments],
                cwd=self.folder,
                env={**self.zygote.environment, **self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.executed.append(process)
        return process

    def stop(self) -> None:
        """Kill whatever is left, and leave the database."""
        self.kill_everything()
        self.client.close()

    def kill_everything(self) -> None:
        """Kill whatever is left."""
        while left := self.left_over():
            for pid in left:
                _signal(pid, signal.SIGKILL)
            for pid in self.sessions:
                self.ended(pid)
            for process in self.executed:
                process.poll()
            time.sleep(0.02)

    def at_rest(self) -> None:
        """Wait until nobody learns: a worker may look into it once more after the loop's end."""
        until(lambda: not self.record().get("learner"), 60)

    def status(self) -> dict[str, Any]:
        """Return what ``discovery status --json`` prints."""
        (self.folder / "status.log").unlink(missing_ok=True)
        pid = self.command("status", self.campaign, "--db", self.uri, "--json")
        assert self.wait(pid, 60) == 0, self.log("status")
        printed = (self.folder / "status.log").read_text()
        summary: dict[str, Any] = json.loads(printed[printed.index("{") :])
        return summary

    def log(self, command: str) -> str:
        """Return the end of a command's log, for messages."""
        path = self.folder / f"{command}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def candidates(self, **chosen: Any) -> list[dict[str, Any]]:
        """Read candidates of the campaign."""
        query = {"campaign": self.campaign, **chosen}
        return list(self.database["candidates"].find(query).sort("seq", 1))

    def generations(self) -> list[dict[str, Any]]:
        """Read what was proposed."""
        found = self.database["generations"].find({"campaign": self.campaign})
        return list(found.sort([("episode", 1), ("generation", 1)]))

    def progress(self) -> int:
        """Count the steps of all candidates so far."""
        steps = [
            {"$match": {"campaign": self.campaign}},
            {"$project": {"n": {"$size": "$history"}}},
        ]
        return sum(one["n"] for one in self.database["candidates"].aggregate(steps))

    def record(self) -> dict[str, Any]:
        """Read the campaign's record; empty before it is created."""
        return self.database["campaigns"].find_one({"_id": self.campaign}) or {}

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Read the campaign's events of a kind."""
        return list(self.database["events"].find({"campaign": self.campaign, "kind": kind}))

    def paid(self) -> list[str]:
        """Return what every finished DFT process computed."""
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []

    def paid_times(self) -> Counter[str]:
        """Count how often each crystal was computed to the end."""
        return Counter(self.paid())

    @contextmanager
    def held(self, collection: str, name: str) -> Iterator[None]:
        """Let nobody write to one document while the block runs; whoever tries, waits.

        This stops a process of the product between two of its writes, at a place that is known
        exactly, without a word of it in the product. A transaction lasts a minute at most. What
        waits at the end of the block came from a process that was killed: it is forgotten.
        """
        with self.client.start_session() as session, session.start_transaction():
            self.database[collection].update_one(
                {"_id": name}, {"$set": {"chaos": time.time()}}, session=session
            )
            yield
            self._forget_writes(collection)
            session.abort_transaction()

    def _forget_writes(self, collection: str) -> None:
        """Drop the writes to a collection that the server still holds back."""
        namespace = f"{self.database.name}.{collection}"
        writes = {"$or": [{"op": "update"}, {"command.findAndModify": collection}]}
        stages = [{"$currentOp": {"allUsers": True}}, {"$match": {"ns": namespace, **writes}}]
        for operation in list(self.client.admin.aggregate(stages)):
            self.client.admin.command({"killOp": 1, "op": operation["opid"]})


def database_uri(uri: str, name: str) -> str:
    """Return the address of another database on the same server."""
    return normalised(uri, name)


def processes() -> Iterator[tuple[int, int, str]]:
    """Yield id, session and command line of every living process; zombies are dead."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile
                continue
            if fields[0] not in "ZX":
                yield int(folder.name), int(fields[3]), command


def children(pid: int) -> list[int]:
    """Return the living children of a process."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(folder.name))
    return sorted(found)


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Stop processes while the block runs; those still there go on afterwards."""
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
