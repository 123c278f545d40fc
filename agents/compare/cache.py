"""Energies on disk, so that a comparison can be repeated cheaply."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.compare.timing import Seconds

_MAX_VARIABLES = 500  # of one SQL statement

Entry = tuple[float, Seconds]
"""Energy of the cell (eV; infinite where the potential gave up) and the time it took."""


class EnergyCache:
    """Energies by codes, for one generator and one potential; several processes may share it.

    It changes what a comparison costs the person, not what it costs a method: an energy found
    here counts as an evaluation and brings along the time it took.
    """

    def __init__(self, path: Path, *, generator_version: str, level: str) -> None:
        """Open or create the file.

        Args:
            path: of the file.
            generator_version: of the generator that decodes the codes.
            level: of the potential.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._source = f"{generator_version} {level}"
        self._connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS energies (source TEXT, name TEXT, energy REAL, "
            "seconds REAL, cpu_seconds REAL, PRIMARY KEY (source, name)) WITHOUT ROWID"
        )

    def load(self, names: Sequence[str]) -> dict[str, Entry]:
        """Return what is known of these codes."""
        found: dict[str, Entry] = {}
        for start in range(0, len(names), _MAX_VARIABLES):
            part = names[start : start + _MAX_VARIABLES]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(
                "SELECT name, energy, seconds, cpu_seconds FROM energies "
                f"WHERE source = ? AND name IN ({marks})",
                (self._source, *part),
            )
            # NaN is stored as NULL by SQLite
            found |= {
                name: (float("nan") if energy is None else energy, Seconds(wall, cpu))
                for name, energy, wall, cpu in rows
            }
        return found

    def store(self, entries: Mapping[str, Entry]) -> None:
        """Keep energies."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT OR REPLACE INTO energies VALUES (?, ?, ?, ?, ?)",
            [
                (self._source, name, energy, seconds.wall, seconds.cpu)
                for name, (energy, seconds) in entries.items()
            ],
        )
        self._connection.execute("COMMIT")
