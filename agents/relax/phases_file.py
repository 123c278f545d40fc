"""Competing phases from the files of the data folder, with a cache of energies on disk."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry
from agents.relax.phases_evaluation import CompetingPhases
from agents.relax.phases_store import Entry, PhaseEnergy, PhaseStore
from agents.relax.settings import RelaxSettings
from agents.tables import parse_structure, read_rows

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential
    from agents.relax.references import ElementalReferences

SMALL_CELLS = "mp_ref2025_le20.csv.gz"
LARGE_CELLS = "mp_ref2025_gt20.csv.gz"
SMALL_ATOMS = 20
#: How long a process waits for another one that writes, s.
PATIENCE = 120.0
#: Most ids in one statement; SQLite's own limit is higher.
AT_ONCE = 500
COLUMNS = tuple(field.name for field in fields(PhaseEnergy))

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS crystals (
    id TEXT PRIMARY KEY, chemical_system TEXT NOT NULL, formula TEXT NOT NULL,
    n_atoms INTEGER NOT NULL, structure BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS crystals_of_system ON crystals (chemical_system);
CREATE TABLE IF NOT EXISTS energies ({", ".join(COLUMNS)},
    PRIMARY KEY (id, potential, criterion));
"""


class FileStore(PhaseStore):
    """The Materials Project files of the data folder, and energies, in one SQLite file.

    The crystals are copied into the file on first use, so that those of one chemical system are
    found without reading a table of 100 MB. Write-ahead logging lets one process write while others
    read; the file must be on a disk of this machine.
    """

    def __init__(self, data_dir: Path, cache_file: Path, *, max_atoms: int | None = None) -> None:
        """Open or create the cache.

        Args:
            data_dir: Folder with the tables.
            cache_file: SQLite file; its folder is created.
            max_atoms: Where no crystal has more than 20 atoms, the table of large cells is not
                needed.

        Raises:
            FileNotFoundError: A table is missing.
            ValueError: The cache was made from other tables.
        """
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        self._path = cache_file
        large = max_atoms is None or max_atoms > SMALL_ATOMS
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(SCHEMA)
            names = [SMALL_CELLS, LARGE_CELLS] if large else [SMALL_CELLS]
            digests = [_import(connection, data_dir / name) for name in names]
        checksum = hashlib.sha256("".join(digests).encode()).hexdigest()[:12]
        self.reference = f"mp v2025.02.12 without GNoME, files {checksum}"

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=PATIENCE)) as connection, connection:
            yield connection

    def entries_of(self, chemical_systems: Sequence[str]) -> list[Entry]:
        """See `PhaseStore.entries_of`."""
        query = (
            "SELECT id, formula, n_atoms FROM crystals WHERE chemical_system IN ({}) ORDER BY id"
        )
        return [Entry(*row) for row in self._rows(query, chemical_systems)]

    def chemical_systems(self) -> list[str]:
        """Return every chemical system that has a crystal, sorted."""
        with self._connection() as connection:
            rows = connection.execute("SELECT DISTINCT chemical_system FROM crystals ORDER BY 1")
            return [row[0] for row in rows]

    def structures(self, ids: Sequence[str]) -> dict[str, Structure]:
        """See `PhaseStore.structures`."""
        rows = self._rows("SELECT id, structure FROM crystals WHERE id IN ({})", ids)
        found = {name: parse_structure(zlib.decompress(packed).decode()) for name, packed in rows}
        return {name: found[name] for name in ids}

    def energies(
        self, ids: Sequence[str], potential: str, criterion: str
    ) -> dict[str, PhaseEnergy]:
        """See `PhaseStore.energies`."""
        query = (
            f"SELECT {', '.join(COLUMNS)} FROM energies "
            "WHERE potential = ? AND criterion = ? AND id IN ({})"
        )
        rows = self._rows(query, ids, potential, criterion)
        return {row[0]: PhaseEnergy(*row) for row in rows}

    def add(self, energies: Iterable[PhaseEnergy]) -> None:
        """See `PhaseStore.add`."""
        marks = ", ".join("?" for _ in COLUMNS)
        with self._connection() as connection:
            connection.executemany(
                f"INSERT OR IGNORE INTO energies VALUES ({marks})", map(astuple, energies)
            )

    def _rows(self, query: str, names: Sequence[str], *before: str) -> list[tuple]:
        rows: list[tuple] = []
        with self._connection() as connection:
            for start in range(0, len(names), AT_ONCE):
                some = names[start : start + AT_ONCE]
                filled = query.format(", ".join("?" for _ in some))
                rows += connection.execute(filled, [*before, *some]).fetchall()
        return rows


class FilePhases(CompetingPhases):
    """Competing phases for benchmarks and evaluations, without a database.

    Example: ``energy_above_hull(composition, e_f, FilePhases(...).phases_of("Na-Cl"))``
    """

    store: FileStore

    def __init__(
        self,
        potential: Potential,
        references: ElementalReferences,
        data_dir: Path,
        cache_file: Path,
        *,
        geometry: Geometry = Geometry.RELAXED,
        relax: RelaxSettings | None = None,
        hull: HullSettings | None = None,
        compute: bool = True,
    ) -> None:
        """Open the cache; see `CompetingPhases` and `FileStore` for the arguments."""
        hull = hull or HullSettings()
        super().__init__(
            potential,
            references,
            FileStore(data_dir, cache_file, max_atoms=hull.max_atoms),
            relax=relax or RelaxSettings(),
            hull=hull,
            geometry=geometry,
            compute=compute,
        )


def _import(connection: sqlite3.Connection, path: Path) -> str:
    """Copy the crystals of a table into the cache, once, and return the table's checksum."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = connection.execute("SELECT sha256 FROM files WHERE name = ?", (path.name,)).fetchone()
    if found is not None:
        if found[0] != digest:
            raise ValueError(
                f"the cache was made from another {path.name} (sha256 {found[0][:12]}, now "
                f"{digest[:12]}): use another cache file"
            )
        return digest
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT OR IGNORE INTO crystals VALUES (?, ?, ?, ?, ?)", map(_crystal, read_rows(path))
    )
    connection.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (path.name, digest))
    connection.commit()
    return digest


def _crystal(row: dict[str, str]) -> tuple[str, str, str, int, bytes]:
    elements = sorted(set(re.findall("[A-Z][a-z]?", row["formula"])))
    packed = zlib.compress(row["structure"].encode())
    return row["material_id"], "-".join(elements), row["formula"], int(row["natoms"]), packed
