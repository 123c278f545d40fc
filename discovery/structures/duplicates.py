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
    from discovery.references.importing import ImportProgress
    from discovery.structures.duplicate_references import OpenReference


@dataclass(frozen=True)
class Queries:
    """Crystals asked about.

    Attributes:
        structures: Name to crystal.
        errors: Name to the reason why something is no crystal.
        trained_on: Name of the training set, if known.
        slabs: Whether they are the candidates of a campaign in two dimensions.
    """

    structures: dict[str, Structure]
    errors: dict[str, str]
    trained_on: str | None = None
    slabs: bool = False


def read_queries(paths: Sequence[Path]) -> Queries:
    """Read crystals of files; what cannot be read is reported and stops nothing.

    Args:
        paths: CIF, POSCAR, extended XYZ, or ``csv.gz`` in the layout of the data folder, whose rows
            are named by their ``material_id``, with the file in front of it where several files
            are given or an id occurs twice.
    """
    from discovery.structures.files import StructureFileError, read_each

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

    from agents.tables import read_rows, structure_reader
    from discovery.structures.files import StructureFileError

    number, read = 0, structure_reader(path)
    try:
        for number, row in enumerate(read_rows(path), start=1):
            identifier = row.get("material_id") or f"row {number}"
            name = f"{path}:{identifier}" if with_file else identifier
            try:
                yield name, read(row["structure"])
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
    from db import campaigns
    from db.crystals import record_to_structure
    from db.documents import Candidate
    from discovery.structures.duplicate_references import TRAINED_ON

    config = campaigns.load(campaign).config
    chosen = Candidate.objects(campaign=campaign, relaxation__structure__exists=True)
    if not everything:
        chosen = chosen.filter(state__in=list(SCREENED))
    structures = {
        str(candidate.id): record_to_structure(candidate.relaxation["structure"])
        for candidate in chosen.only("id", "seq", "relaxation.structure").order_by("seq")
        if candidate.relaxation["structure"] is not None
    }
    trained_on = TRAINED_ON.get(str(config.get("generator")))
    return Queries(structures, {}, trained_on, slabs=config.get("dimensionality") == 2)


def chosen_references(
    reference: str, training: str | None, trained_on: str | None
) -> tuple[str, str | None]:
    """Decide what crystals are compared with.

    Args:
        reference: As a person names it.
        training: As a person names it; ``none``: no training set.
        trained_on: Training set of the campaign's generator, if there is one.

    Returns:
        Names of the reference and of the training set (None: without one).

    Raises:
        UnknownReference: The training set is asked for, and it is not said which.
    """
    from discovery.structures.duplicate_references import SELF, UnknownReference, training_set_of

    own = training or trained_on or training_set_of(reference)
    if reference == SELF or training == "none":
        own = None
    if reference == "train":
        if own is None:
            raise UnknownReference("which training set? name it with --training")
        reference = own
    return reference, own


def find_known(
    queries: Queries,
    reference: str,
    *,
    training: str | None = None,
    tolerances: MatcherSettings | None = None,
    slabs: bool = False,
    exhaustive: bool = False,
    processes: int = 1,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    importing: Callable[[ImportProgress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Compare crystals with a reference and, to tell rediscoveries, with the training set.

    Collections are read from the connected database and imported into it on their first use.

    Args:
        queries: The crystals.
        reference: Name of a reference or path of a table
            (`discovery.structures.duplicate_references`); ``train``: the training set; ``self``:
            those of the crystals that come earlier.
        training: Training set, named in the same way; None: the campaign's generator's, else the
            one that belongs to the reference; ``none``, or with ``self``: no training set.
        tolerances: When two crystals count as the same; None: the defaults.
        slabs: Give slabs one vacuum before they are compared; always so for a campaign in two
            dimensions and against C2DB.
        exhaustive: Compare with every crystal of the formula, not only up to the first match.
        processes: Processes to use.
        progress: Told the reference, and how many crystals of how many are done.
        importing: Told how far the import of a collection is.

    Returns:
        Plain JSON values, described in docs/duplicates.md.

    Raises:
        discovery.structures.duplicate_references.UnknownReference: There is no such reference.
        agents.paths.MissingFile: A table is in no searched folder.
    """
    from agents.screen.duplicates_bulk import search
    from agents.screen.references_mongo import SLABS
    from agents.slab import MATCHING_VACUUM
    from discovery.structures.duplicate_references import SELF, collection_of

    tolerances = tolerances or MatcherSettings()
    reference, own = chosen_references(reference, training, queries.trained_on)
    names = list(dict.fromkeys([reference, *([own] if own else [])]))
    flat = slabs or queries.slabs or SLABS in {collection_of(name)[0] for name in names}
    vacuum = MATCHING_VACUUM if flat else None
    described: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, Found]] = {}
    for name in names:
        started = time.monotonic()
        known = _open(name, queries, vacuum, importing)
        results = search(
            queries.structures,
            known.reference,
            tolerances,
            exhaustive=exhaustive or name == SELF,
            processes=processes,
            progress=lambda done, total, name=name: progress(name, done, total),  # type: ignore[misc]
        )
        if name == SELF:
            results = _earlier_only(results)
        found[name] = {one.id: one for one in results}
        seconds = time.monotonic() - started
        described[name] = known.description | _counts(results) | {"seconds": round(seconds, 3)}
    trained = found.get(own or "")
    return {
        "n": len(queries.structures) + len(queries.errors),
        **_summary(found[reference], trained, queries.errors),
        "reference": described[reference],
        "training": described.get(own or ""),
        "tolerances": tolerances.model_dump(),
        "vacuum": vacuum,
        "matcher": "pymatgen StructureMatcher, primitive cells, scaled to one volume",
        "exhaustive": exhaustive or reference == SELF,
    }


def _open(
    name: str,
    queries: Queries,
    vacuum: float | None,
    importing: Callable[[ImportProgress], None],
) -> OpenReference:
    from agents.screen.references import CatalogueReference
    from discovery.structures.duplicate_references import SELF, OpenReference, open_reference

    if name != SELF:
        formulas = {one.composition.reduced_formula for one in queries.structures.values()}
        return open_reference(name, formulas, vacuum=vacuum, progress=importing)
    itself = CatalogueReference(SELF, queries.structures, vacuum=vacuum)
    nothing: dict[str, Any] = {"version": None, "checksum": None, "tables": []}
    return OpenReference(itself, {"name": SELF, **nothing, "crystals": itself.size})


def _earlier_only(found: Sequence[Found]) -> list[Found]:
    """Leave of the matches among the crystals themselves those with an earlier one."""
    place = {one.id: number for number, one in enumerate(found)}
    return [
        replace(
            one,
            matches=tuple(match for match in one.matches if place[match.id] < place[one.id]),
        )
        for one in found
    ]


def _counts(found: Sequence[Found]) -> dict[str, Any]:
    broken = {identifier: reason for one in found for identifier, reason in one.broken}
    return {
        "compared": sum(one.compared for one in found),
        "matched": sum(bool(one.matches) for one in found),
        "not_comparable": [{"id": key, "reason": broken[key]} for key in sorted(broken)],
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
                "reference_id": best.id,
                "rms": best.rms,
                "rms_angstrom": best.rms_angstrom,
                "max_distance": best.max_distance,
                "training_id": same[0].id if same else None,
                "rediscovered": None if trained is None else not same,
                "others": [match.id for match in one.matches[1:]],
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
