"""Which crystals of files, or candidates of a campaign, are known already."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from agents.screen.settings import MatcherSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.screen.duplicates_bulk import Found

SELF = "self"
"""The reference that is the crystals asked about."""


@dataclass(frozen=True)
class Queries:
    """Crystals asked about.

    Attributes:
        structures: Name to crystal.
        errors: Name to the reason why something is no crystal.
        trained_on: Name of the training set (`agents.screen.references_tables.TABLES`), if known.
    """

    structures: dict[str, Structure]
    errors: dict[str, str]
    trained_on: str | None = None


def read_queries(paths: Sequence[Path]) -> Queries:
    """Read crystals of files; what cannot be read is reported and stops nothing.

    Args:
        paths: CIF, POSCAR, extended XYZ, or ``csv.gz`` in the layout of the data folder, whose rows
            are named by their ``material_id``, with the file in front of it where several files
            are given or an id occurs twice.
    """
    from discovery.structure_files import StructureFileError, read_each

    structures: dict[str, Structure] = {}
    errors: dict[str, str] = {}
    for path in paths:
        if path.name.endswith(".csv.gz") and path.is_file():
            items = _rows(path, with_file=len(paths) > 1)
        else:
            items = read_each([path]).items()
        for name, item in items:
            unique = _unused(name, structures.keys() | errors.keys())
            if isinstance(item, StructureFileError):
                errors[unique] = str(item)
            else:
                structures[unique] = item
    return Queries(structures, errors)


def _rows(path: Path, *, with_file: bool) -> Iterable[tuple[str, Structure | Exception]]:
    import csv
    import zlib

    from agents.tables import parse_structure, read_rows
    from discovery.structure_files import StructureFileError

    number = 0
    try:
        for number, row in enumerate(read_rows(path), start=1):
            identifier = row.get("material_id") or f"row {number}"
            name = f"{path}:{identifier}" if with_file else identifier
            try:
                yield name, parse_structure(row["structure"])
            except (ValueError, LookupError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"
                yield name, StructureFileError(f"row {number} of {path} is no crystal ({reason})")
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        text = f"{path} cannot be read after row {number}: {error}"
        yield f"{path} after row {number}", StructureFileError(text)


def _unused(name: str, taken: Collection[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}#{number}"
    return unique


def candidate_queries(campaign: str, *, everything: bool = False) -> Queries:
    """Read the relaxed crystals of a campaign's candidates, in the order of proposal.

    Args:
        campaign: Name.
        everything: All that were relaxed; False: those that passed the screens.

    Raises:
        db.campaigns.UnknownCampaign: There is none of this name.
    """
    from agents.screen.duplicates import SCREENED
    from agents.screen.references_tables import TRAINED_ON
    from db import campaigns
    from db.crystals import record_to_structure
    from db.documents import Candidate

    generator = str(campaigns.load(campaign).config.get("generator"))
    chosen = Candidate.objects(campaign=campaign, relaxation__structure__exists=True)
    if not everything:
        chosen = chosen.filter(state__in=list(SCREENED))
    structures = {
        str(candidate.id): record_to_structure(candidate.relaxation["structure"])
        for candidate in chosen.only("id", "seq", "relaxation.structure").order_by("seq")
        if candidate.relaxation["structure"] is not None
    }
    return Queries(structures, {}, TRAINED_ON.get(generator))


def find_known(
    queries: Queries,
    reference: str,
    *,
    training: str | None = None,
    tolerances: MatcherSettings | None = None,
    exhaustive: bool = False,
    processes: int = 1,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Compare crystals with a reference and, to tell rediscoveries, with the training set.

    Args:
        queries: The crystals.
        reference: Name of a reference or path of a table (`agents.screen.references_tables`);
            ``train``: the training set; ``self``: those of the crystals that come earlier.
        training: Training set, named in the same way; None: the campaign's generator's, else the
            one that belongs to the reference; ``none``, or with ``self``: no training set.
        tolerances: When two crystals count as the same; None: the defaults.
        exhaustive: Compare with every crystal of the formula, not only up to the first match.
        processes: Processes to use.
        progress: Told the reference, and how many crystals of how many are done.

    Returns:
        Plain JSON values, described in docs/duplicates.md.

    Raises:
        agents.screen.references_tables.UnknownReference: There is no such reference.
        agents.paths.MissingFile: A table is in no searched folder.
    """
    from agents.screen.duplicates_bulk import search
    from agents.screen.references import CatalogueReference
    from agents.screen.references_tables import TRAINED_ON, UnknownReference, load_reference

    tolerances = tolerances or MatcherSettings()
    own = training or queries.trained_on or TRAINED_ON.get(reference)
    if reference == SELF or training == "none":
        own = None
    if reference == "train":
        if own is None:
            raise UnknownReference("which training set? name it with --training")
        reference = own
    formulas = {one.composition.reduced_formula for one in queries.structures.values()}
    described: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, Found]] = {}
    for name in dict.fromkeys([reference, *([own] if own else [])]):
        started = time.monotonic()
        alone = name == SELF
        known = (
            CatalogueReference(SELF, queries.structures)
            if alone
            else load_reference(name, formulas)
        )
        results = search(
            queries.structures,
            known,
            tolerances,
            exhaustive=exhaustive or alone,
            processes=processes,
            progress=lambda done, total, name=name: progress(name, done, total),  # type: ignore[misc]
        )
        if alone:
            results = _earlier_only(results)
        found[name] = {one.id: one for one in results}
        described[name] = _described(name, known.size, results, time.monotonic() - started)
    trained = found.get(own or "")
    return {
        "n": len(queries.structures) + len(queries.errors),
        **_summary(found[reference], trained, queries.errors),
        "reference": described[reference],
        "training": described.get(own or ""),
        "tolerances": tolerances.model_dump(),
        "matcher": "pymatgen StructureMatcher, primitive cells, scaled to one volume",
        "exhaustive": exhaustive or reference == SELF,
    }


def _earlier_only(found: Sequence[Found]) -> list[Found]:
    """Leave of the matches among the crystals themselves those with an earlier one."""
    place = {one.id: number for number, one in enumerate(found)}
    return [
        replace(
            one,
            matches=tuple(
                match for match in one.matches if place[match.reference_id] < place[one.id]
            ),
        )
        for one in found
    ]


def _described(name: str, size: int, found: Sequence[Found], seconds: float) -> dict[str, Any]:
    from agents.screen.references_tables import reference_tables

    broken = {identifier: reason for one in found for identifier, reason in one.broken}
    return {
        "name": name,
        "tables": [] if name == SELF else [str(path) for path in reference_tables(name)],
        "crystals": size,
        "compared": sum(one.compared for one in found),
        "matched": sum(bool(one.matches) for one in found),
        "not_comparable": [{"id": key, "reason": broken[key]} for key in sorted(broken)],
        "seconds": round(seconds, 3),
    }


def _summary(
    found: Mapping[str, Found], trained: Mapping[str, Found] | None, unread: Mapping[str, str]
) -> dict[str, Any]:
    matches = []
    for one in found.values():
        if not one.matches:
            continue
        best = one.matches[0]
        same = trained[one.id].matches if trained is not None else ()
        matches.append(
            {
                "id": one.id,
                "formula": one.formula,
                "reference_id": best.reference_id,
                "rms": best.rms,
                "rms_angstrom": best.rms_angstrom,
                "max_distance": best.max_distance,
                "training_id": same[0].reference_id if same else None,
                "rediscovered": None if trained is None else not same,
                "others": [match.reference_id for match in one.matches[1:]],
            }
        )
    again = [match for match in matches if match["rediscovered"]]
    failed = {**unread, **{one.id: one.error for one in found.values() if one.error}}
    known = {match["id"] for match in matches}
    if trained is not None:
        known |= {one.id for one in trained.values() if one.matches}
    return {
        "matched": len(matches),
        "failed": len(failed),
        "in_training": None if trained is None else sum(bool(t.matches) for t in trained.values()),
        "rediscovered": None if trained is None else len(again),
        "novel": sum(one.error is None and one.id not in known for one in found.values()),
        "rms_mean": _mean(matches, "rms"),
        "rms_mean_angstrom": _mean(matches, "rms_angstrom"),
        "rediscovered_rms_mean": _mean(again, "rms"),
        "rediscovered_rms_mean_angstrom": _mean(again, "rms_angstrom"),
        "matches": matches,
        "errors": [{"id": name, "error": reason} for name, reason in failed.items()],
    }


def _mean(matches: Sequence[Mapping[str, Any]], key: str) -> float | None:
    return fmean(match[key] for match in matches) if matches else None
