"""``discovery redo``: the numbers of an archive, computed again from the archive alone.

No database is opened, and no file outside the archive is read, but for the installed packages (the
weights of CHGNet are in its wheel) and for weights of other people that were left out of the
archive: those are taken from this machine if they are the same files.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from discovery.archive.manifest import ArchiveError
from discovery.archive.reading import Archive, open_archive
from discovery.archive.redo_models import ArchivedModels, NotRedone
from discovery.archive.values import DECODER, DFT, HEAD, POTENTIAL, Value, values

FORMAT = "discovery-export"
RELAXATION = "relaxation"
#: What records raise that were not written by this product.
_UNUSABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
RELAXED_LIMIT = 1e-3
"""Formation energies after relaxing again that differ by more (eV/atom) are of other minima."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Redone:
    """One number, compared.

    Attributes:
        value: The stored one with what gave it.
        redone: The one found now; None where none could be computed.
        reason: Why there is none.
    """

    value: Value
    redone: float | None
    reason: str | None = None

    @property
    def difference(self) -> float | None:
        """How far the two are apart, in the unit of the value."""
        return None if self.redone is None else abs(self.redone - self.value.value)

    @property
    def binding(self) -> bool:
        """Whether the archive promises this number.

        A relaxation is a path along which differences grow: rounding decides now and then in which
        of two minima it ends (docs/provenance.md says how often).
        """
        return self.value.kind != RELAXATION

    @property
    def agrees(self) -> bool | None:
        """Whether they are the same number; None where there is none."""
        return None if self.difference is None else self.difference <= self.value.tolerance

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **self.value.record(),
            "redone": self.redone,
            "difference": self.difference,
            "agrees": self.agrees,
            "reason": self.reason,
        }


def redo(
    path: Path, *, relax: bool = False, progress: Callable[[str], None] = lambda line: None
) -> list[Redone]:
    """Compute the numbers of an archive again.

    Args:
        path: The archive, or the folder it was unpacked into.
        relax: Whether to relax the decoded crystals again, too.
        progress: Told what is computed.

    Returns:
        Every number, compared, in the order of the archive.

    Raises:
        ArchiveError: It is no such archive, or was changed.
    """
    with open_archive(path, format=FORMAT) as archive:
        archive.verify()
        stated = _stated(archive)
        records = {value.candidate: _record(archive, value.candidate) for value in stated}
        if relax:
            stated += [_relaxed(record) for record in records.values() if record.get("relaxation")]
        with tempfile.TemporaryDirectory(prefix="discovery-redo-") as scratch:
            models = ArchivedModels(archive, Path(scratch))
            found: dict[Value, Redone] = {}
            for kind in dict.fromkeys(_order(stated)):
                chosen = [value for value in stated if value.kind == kind]
                progress(f"{kind}: {len(chosen)} numbers")
                for value in chosen:
                    found[value] = _redo_one(value, records[value.candidate], models)
    return [found[value] for value in stated]


def _redo_one(value: Value, record: Record, models: ArchivedModels) -> Redone:
    try:
        return Redone(value, models.compute(value, record))
    except NotRedone as error:
        return Redone(value, None, str(error))


def _order(stated: Sequence[Value]) -> list[str]:
    """Ask potentials first: some cannot be loaded behind the libraries that others bring."""
    kinds = [value.kind for value in stated]
    return [kind for kind in (DFT, POTENTIAL, RELAXATION, DECODER, HEAD) if kind in kinds] + kinds


def _stated(archive: Archive) -> list[Value]:
    """Read which numbers can be redone: all that its records hold, to the precision of each."""
    try:
        stated = [Value(**one) for one in archive.json("redo.json")["values"]]
        given = Counter(stated)
        numbers = {name: _numbers(archive, name) for name in _candidates(archive)}
    except _UNUSABLE as error:
        raise ArchiveError(f"{archive.path}: redo.json is not usable: {error!s:.200}") from error
    known = sum(numbers.values(), Counter())
    for value in [*given, *known]:
        if given[value] != known[value]:
            name = value.candidate
            raise ArchiveError(f"{archive.path}: redo.json has other numbers than {name!s:.80}")
    return stated


def _candidates(archive: Archive) -> list[str]:
    """Return the ids of the candidates that the archive holds."""
    names = [name.split("/") for name in archive.names("candidates/")]
    return [parts[1] for parts in names if len(parts) == 3 and parts[2] == "record.json"]


def _numbers(archive: Archive, candidate: str) -> Counter[Value]:
    record = _record(archive, candidate)
    if record["id"] != candidate:
        raise ValueError(f"the record of {candidate} is another one's")
    return Counter(values(record))


def _record(archive: Archive, candidate: str) -> Record:
    record = archive.json(f"candidates/{candidate}/record.json")
    campaign = archive.json(f"campaigns/{record['campaign']}.json")
    return {**record, "lineage": {**record["lineage"], "campaign": campaign}}


def _relaxed(record: Record) -> Value:
    found = record["relaxation"]
    return Value(
        candidate=record["id"],
        kind=RELAXATION,
        model=found["potential"],
        version=found["version"],
        level=found["level"],
        property="formation_energy_per_atom",
        on="relaxed again",
        value=found["formation_energy_per_atom"],
        unit="eV/atom",
        tolerance=RELAXED_LIMIT,
    )
