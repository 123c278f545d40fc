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
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

MEMORY_BYTES = 2 << 30
"""What reading one input may add to the memory of its process."""
SILENCE_SECONDS = 300.0
"""A process that tried nothing for so long hangs where no signal reaches it."""


class Session:
    """One target in this process: counts, and keeps what crashed."""

    def __init__(self, name: str, out: Path) -> None:
        from fuzzing import all_targets
        from fuzzing.guard import Guard, scratch

        self.target = all_targets()[name]
        self.guard = Guard()
        self.out = out
        self.folder = scratch()
        self.counts: Counter[str] = Counter()
        self.crashes: dict[str, str] = {}
        self.started = time.process_time()

    def warm_up(self) -> list[bytes]:
        """Read the good inputs once, so that everything is imported; each must be read."""
        from fuzzing.guard import limit_memory
        from fuzzing.target import Answer, attempt

        seeds = list(self.target.seeds())
        for number, data in enumerate(seeds):
            tried = attempt(self.target, data, self.guard, self.folder / "warm")
            tried = attempt(self.target, data, self.guard, self.folder / "warm")
            if number == 0 and tried.answer is not Answer.READ:
                raise AssertionError(f"a good input is {tried.answer}: {tried.text}")
        limit_memory(MEMORY_BYTES)
        return seeds

    def one(self, data: bytes) -> None:
        """Try one input and remember what became of it."""
        from fuzzing.target import Answer, attempt

        (self.out / "current").write_bytes(data)
        tried = attempt(self.target, data, self.guard, self.folder / "one")
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
            "target": self.target.name,
            "counts": dict(self.counts),
            "inputs": sum(self.counts.values()),
            "crashes": self.crashes,
            "cpu_seconds": round(time.process_time() - self.started, 1),
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
    atheris.Fuzz()


def _word(token: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n'


def child(name: str, inputs: int, seed: int, engine: str, out: Path) -> None:
    """Fuzz one target in this process."""
    session = Session(name, out)
    {"mutation": mutation, "coverage": coverage}[engine](session, inputs, seed)


def supervise(name: str, inputs: int, seed: int, engine: str, out: Path) -> dict[str, Any]:
    """Fuzz one target in a process of its own, and start it again where an input killed it."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    total: Counter[str] = Counter()
    crashes: dict[str, str] = {}
    seconds, left, round_ = 0.0, inputs, 0
    while left > 0 and round_ < 20:
        state = folder / "state.json"
        state.unlink(missing_ok=True)
        ended = _run_child(name, left, seed + 1000 * round_, engine, folder)
        found = json.loads(state.read_text()) if state.exists() else {"counts": {}, "crashes": {}}
        total.update(found["counts"])
        crashes |= found["crashes"]
        seconds += found.get("cpu_seconds", 0.0)
        done = sum(found["counts"].values())
        if ended is not None:
            data = (folder / "current").read_bytes() if (folder / "current").exists() else b""
            digest = hashlib.sha256(data).hexdigest()[:12]
            (folder / f"crash-{digest}").write_bytes(data)
            crashes[ended] = digest
            total["crash"] += 1
        left, round_ = left - max(done, 1), round_ + 1
        if ended is None and done >= min(left, inputs) - 50:
            break
    return {
        "target": name,
        "inputs": sum(total.values()),
        "read": total["read"],
        "refused": total["refused"],
        "crashes": crashes,
        "cpu_seconds": round(seconds, 1),
    }


def _run_child(name: str, inputs: int, seed: int, engine: str, folder: Path) -> str | None:
    """Run the process; return how it died, None where it came to its end."""
    command = [sys.executable, "-m", "fuzzing.run", "--child", name, "--inputs", str(inputs)]
    command += ["--seed", str(seed), "--engine", engine, "--out", str(folder)]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        current, seen, since = folder / "current", 0.0, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            changed = current.stat().st_mtime if current.exists() else 0.0
            if changed != seen:
                seen, since = changed, time.monotonic()
            if time.monotonic() - since > SILENCE_SECONDS:
                process.kill()
                process.wait()
                return "hangs"
    return None if process.returncode == 0 else f"the process ended with {process.returncode}"


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
        child(chosen.child, chosen.inputs, chosen.seed, chosen.engine, chosen.out)
        return 0
    from fuzzing import all_targets

    targets = all_targets()
    names = chosen.target or list(targets)
    shares = sum(targets[name].weight for name in names)
    rows = []
    for name in names:
        inputs = -(-chosen.inputs * targets[name].weight // shares)
        rows.append(supervise(name, int(inputs), chosen.seed, chosen.engine, chosen.out))
        print(_line(rows[-1]), flush=True)
    (chosen.out / "table.json").write_text(json.dumps(rows, indent=1))
    print(
        f"{sum(row['inputs'] for row in rows)} inputs, "
        f"{sum(len(row['crashes']) for row in rows)} kinds of crashes"
    )
    return 1 if any(row["crashes"] for row in rows) else 0


def _line(row: dict[str, Any]) -> str:
    crashes = "; ".join(row["crashes"]) or "none"
    return (
        f"{row['target']:28} {row['inputs']:7} inputs  {row['read']:6} read  "
        f"{row['refused']:6} refused  {row['cpu_seconds']:7} CPU s  crashes: {crashes}"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
