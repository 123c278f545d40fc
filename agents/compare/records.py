"""Finished runs as JSON lines: what a comparison can continue from, and be recounted from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.compare.crystals import distinct, prototype

if TYPE_CHECKING:
    from agents.compare.run import Search


class RunsFile:
    """A file with one JSON line for each finished run; only complete lines count.

    Lines of another comparison (other versions, settings or budgets) are kept and ignored. One
    process writes.
    """

    def __init__(self, path: Path) -> None:
        """Open a file that may not exist yet; a line cut short by a kill is dropped."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                path.write_bytes(whole)

    def load(self, keys: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the records of the runs with these keys, by `name_of` their key."""
        if not self._path.is_file():
            return {}
        wanted = {name_of(key) for key in keys}
        found: dict[str, dict[str, Any]] = {}
        with self._path.open(encoding="utf-8") as stream:
            for line in stream:
                record = json.loads(line)
                name = name_of(record["key"])
                if name in wanted:
                    found[name] = record
        return found

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a finished run."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, allow_nan=False) + "\n")


def name_of(key: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal keys."""
    return json.dumps(key, sort_keys=True)


def record_of(search: Search, *, prototypes: bool = False) -> dict[str, Any]:
    """Return everything figures are made from, as plain JSON values.

    Args:
        search: what a method evaluated.
        prototypes: also label the structure type of every hit (3 ms each).

    Returns:
        {"formulas", "formation_energies" (eV/atom, None where refused), "neutral" (0 or 1),
        "refused" (reason → number), one entry for each evaluation in order; "crystals" (number of
        the distinct crystal that a hit is, None for others) and "prototypes" (its structure type;
        only where asked for), see `agents.compare.crystals`; "generations"
        (evaluations of each), "members" (places of each generation's members), "asked",
        "seconds", "cpu_seconds", "seconds_without_potential", "cpu_seconds_without_potential"}.
    """
    refused: dict[str, int] = {}
    for evaluated in search.evaluated:
        if evaluated.refused:
            refused[evaluated.refused] = refused.get(evaluated.refused, 0) + 1
    energies = [e.formation_energy for e in search.evaluated]
    hits = {
        place: e.structure
        for place, e in enumerate(search.evaluated)
        if e.hit and e.structure is not None
    }
    numbers = dict(zip(hits, distinct(list(hits.values())), strict=True))
    places = range(len(search.evaluated))
    record: dict[str, Any] = {
        "formulas": [e.formula for e in search.evaluated],
        "formation_energies": [None if e is None else round(e, 6) for e in energies],
        "neutral": [int(e.neutral) for e in search.evaluated],
        "refused": dict(sorted(refused.items())),
        "crystals": [numbers.get(place) for place in places],
        "generations": list(search.generations),
        "members": [list(generation) for generation in search.members],
        "asked": search.asked,
        "seconds": search.seconds.wall,
        "cpu_seconds": search.seconds.cpu,
        "seconds_without_potential": search.seconds_without_potential.wall,
        "cpu_seconds_without_potential": search.seconds_without_potential.cpu,
    }
    if prototypes:
        labels = {place: prototype(structure) for place, structure in hits.items()}
        record["prototypes"] = [labels.get(place) for place in places]
    return record
