"""The long run: ``python -m fuzzing.run --inputs 100000 --out FOLDER``.

Every target runs in a process of its own with limits on memory and time. With the package
``atheris`` the inputs are guided by the coverage of the parsers (``--engine coverage``); without
it, or where asked (``--engine mutation``), they are random changes of good inputs. A table is
printed and written as JSON; it exits with 1 if a crash is left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuzzing.guard import Guard

MEMORY_BYTES = 2 << 30
"""What reading one input may add to the memory of its process."""
SILENCE_SECONDS = 120.0
"""Processor time that a process may burn on one input; it then hangs where no signal reaches it."""


class Session:
    """One target in this process: counts, and keeps what crashed."""

    def __init__(self, name: str, out: Path, guard: Guard) -> None:
        from fuzzing import all_targets
        from fuzzing.guard import scratch

        self.target = all_targets()[name]
        self.guard = guard
        self.out = out
        self.out.mkdir(parents=True, exist_ok=True)
        self.folder = scratch()
        self.counts: Counter[str] = Counter()
        self.crashes: dict[str, str] = {}
        self.seconds = 0.0

    def warm_up(self) -> list[bytes]:
        """Read the good inputs twice: imports come first, then each must be read."""
        from fuzzing.target import Answer, attempt

        seeds = list(self.target.seeds())
        for number, data in enumerate(seeds):
            tried = attempt(self.target, data, self.guard, self.folder / "warm")
            tried = attempt(self.target, data, self.guard, self.folder / "warm")
            if number == 0 and tried.answer is not Answer.READ:
                raise AssertionError(f"a good input is {tried.answer}: {tried.text}")
        return seeds

    def one(self, data: bytes) -> None:
        """Try one input and remember what became of it."""
        from fuzzing.target import Answer, attempt

        (self.out / "current").write_bytes(data)
        began = time.process_time()
        tried = attempt(self.target, data, self.guard, self.folder / "one")
        self.seconds += time.process_time() - began
        self.counts[tried.answer] += 1
        if tried.answer is Answer.CRASH and tried.where not in self.crashes:
            digest = hashlib.sha256(data).hexdigest()[:12]
            self.crashes[tried.where] = digest
            (self.out / f"crash-{digest}").write_bytes(data)
            (self.out / f"crash-{digest}.txt").write_text(f"{tried.where}\n{tried.text}")
        if sum(self.counts.values()) % 50 == 0:
            self.save()

    def save(self) -> None:
        """Write what was seen so far."""
        record = {
            "counts": dict(self.counts),
            "crashes": self.crashes,
            "cpu_seconds": round(self.seconds, 2),
        }
        (self.out / "state.json").write_text(json.dumps(record))


def mutation(session: Session, inputs: int, seed: int) -> None:
    """Try random changes of the good inputs, the same ones for the same seed."""
    from fuzzing.mutation import mutate

    seeds = session.warm_up()
    random = Random(seed)
    for _ in range(inputs):
        base = random.choice(seeds)
        data = mutate(base, random, session.target.tokens, seeds)
        session.one(data[: session.target.largest])
    session.save()


def coverage(session: Session, inputs: int, seed: int) -> None:
    """Let libFuzzer change the inputs, by the lines of the parsers that they reach."""
    import atheris

    with atheris.instrument_imports(include=list(session.target.packages)):
        seeds = session.warm_up()
    corpus = session.out / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    words = session.out / "dictionary"
    words.write_text("".join(_word(one) for one in session.target.tokens))
    options = [
        *(f"-runs={inputs}", f"-seed={seed}", f"-max_len={session.target.largest}"),
        *("-timeout=0", "-rss_limit_mb=0", f"-dict={words}", "-len_control=0"),
        *("-detect_leaks=0", f"-artifact_prefix={session.out}/", str(corpus)),
    ]
    atheris.Setup([sys.argv[0], *options], session.one)
    atheris.Fuzz()  # ends the process


def _word(token: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n'


def child(plan: dict[str, int], seed: int, engine: str, out: Path) -> None:
    """Fuzz targets in this process, one after the other; what is imported serves them all.

    Args:
        plan: Target to the number of inputs.
        seed: Of the mutations.
        engine: ``mutation``; ``coverage`` takes one target only.
        out: Folder with one of its own for each target.
    """
    from fuzzing.guard import Guard, limit_memory

    guard = Guard()
    sessions = {name: Session(name, out / name, guard) for name in plan}
    if engine == "coverage":
        ((name, session),) = sessions.items()
        coverage(session, plan[name], seed)
        return
    for session in sessions.values():
        if session.target.connections:
            session.target.seeds()  # starts a server, which needs more than is left below
    for name, session in sessions.items():
        (out / "target").write_text(name)
        limit_memory(MEMORY_BYTES)
        mutation(session, plan[name], seed)


def supervise(plan: dict[str, int], seed: int, engine: str, out: Path) -> list[dict[str, Any]]:
    """Fuzz targets in a process of their own, and go on where an input killed it.

    Returns:
        A row for each target.
    """
    rows = {
        name: {"target": name, "read": 0, "refused": 0, "crash": 0, "crashes": {}, "cpu_seconds": 0}
        for name in plan
    }
    left = dict(plan)
    while left:
        for name in left:
            (out / name / "state.json").unlink(missing_ok=True)
        ended = _run_child(left, seed, engine, out)
        at = next(iter(left)) if engine == "coverage" else (out / "target").read_text()
        for name in list(left):
            _add(rows[name], out / name)
            if name == at and ended is not None:
                current = out / name / "current"
                data = current.read_bytes() if current.exists() else b""
                digest = hashlib.sha256(data).hexdigest()[:12]
                (out / name / f"crash-{digest}").write_bytes(data)
                rows[name]["crashes"][ended] = digest
                rows[name]["crash"] += 1
            tried = sum(rows[name][answer] for answer in ("read", "refused", "crash"))
            left[name] = plan[name] - tried
            if left[name] <= 0 or (name == at and ended is None) or (ended is None):
                del left[name]
        seed += 1000
    for row in rows.values():
        row["inputs"] = row["read"] + row["refused"] + row["crash"]
    return list(rows.values())


def _add(row: dict[str, Any], folder: Path) -> None:
    """Add what a process saw of a target."""
    state = folder / "state.json"
    if not state.exists():
        return
    found = json.loads(state.read_text())
    for answer, number in found["counts"].items():
        row[answer] += number
    row["crashes"] |= found["crashes"]
    row["cpu_seconds"] = round(row["cpu_seconds"] + found["cpu_seconds"], 1)


def _run_child(plan: dict[str, int], seed: int, engine: str, out: Path) -> str | None:
    """Run the process; return how it died, None where it came to its end."""
    command = [sys.executable, "-m", "fuzzing.run", "--child", json.dumps(plan)]
    command += ["--seed", str(seed), "--engine", engine, "--out", str(out)]
    with (out / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        seen, since = 0.0, 0.0
        while process.poll() is None:
            time.sleep(0.5)
            changed = max((path.stat().st_mtime for path in out.glob("*/current")), default=0.0)
            used = _processor_seconds(process.pid)
            if changed != seen:
                seen, since = changed, used
            if used - since > SILENCE_SECONDS:
                process.kill()
                process.wait()
                return "hangs"
    return None if process.returncode == 0 else f"the process ended with {process.returncode}"


def _processor_seconds(process: int) -> float:
    """Return the processor time of a process (s); 0 where it has just ended."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Fuzz the targets that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child")
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("coverage", "mutation"), default="mutation")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    if chosen.child:
        child(json.loads(chosen.child), chosen.seed, chosen.engine, chosen.out)
        return 0
    from fuzzing import all_targets

    chosen.out.mkdir(parents=True, exist_ok=True)
    targets = all_targets()
    names = chosen.target or list(targets)
    shares = sum(targets[name].weight for name in names)
    plan = {name: math.ceil(chosen.inputs * targets[name].weight / shares) for name in names}
    plans = [plan] if chosen.engine == "mutation" else [{name: n} for name, n in plan.items()]
    rows = [row for one in plans for row in supervise(one, chosen.seed, chosen.engine, chosen.out)]
    for row in rows:
        print(_line(row))
    (chosen.out / "table.json").write_text(json.dumps(rows, indent=1))
    crashes = sum(len(row["crashes"]) for row in rows)
    print(f"{sum(row['inputs'] for row in rows)} inputs, {crashes} kinds of crashes")
    return 1 if crashes else 0


def _line(row: dict[str, Any]) -> str:
    crashes = "; ".join(row["crashes"]) or "none"
    return (
        f"{row['target']:28} {row['inputs']:7} inputs  {row['read']:6} read  "
        f"{row['refused']:6} refused  {row['cpu_seconds']:7} CPU s  crashes: {crashes}"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
