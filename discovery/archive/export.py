"""``discovery export``: candidates with all that is needed to defend and to redo them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from discovery.archive.calculations import add_calculation
from discovery.archive.citations import citations
from discovery.archive.crystals import add_crystal, crystals_of
from discovery.archive.folders import without_folders
from discovery.archive.models import ModelFiles
from discovery.archive.precision import statement
from discovery.archive.readme import readme
from discovery.archive.values import values
from discovery.archive.writing import ArchiveWriter, new_archive
from discovery.environment import all_packages, environment
from discovery.lineage.tracing import trace

FORMAT = "discovery-export"
VERSION = 1

Record = dict[str, Any]


class NothingToExport(ValueError):
    """No candidate was named or found."""

    exit_code = 2


def export(
    ids: Sequence[str],
    out: Path,
    *,
    weights: bool = True,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Write candidates into one archive.

    Args:
        ids: Of the candidates, in the order of the archive.
        out: The zip file.
        weights: Whether weights of other people go in too, where their licence allows it.
        overwrite: Whether a file of this name may be replaced.
        progress: Told about each candidate.

    Returns:
        What was left out, in sentences.

    Raises:
        NothingToExport: No id is given.
        UnknownCandidate: There is none of an id (`db.queries`).
        OutputError: The file cannot be written; it is there whole or not at all.
    """
    names = list(dict.fromkeys(ids))
    if not names:
        raise NothingToExport("no candidate is named: give ids, or --hits CAMPAIGN")
    left_out: list[str] = []
    with new_archive(out, format=FORMAT, version=VERSION, overwrite=overwrite) as archive:
        models = ModelFiles(archive, weights=weights)
        records = []
        for name in names:
            progress(name)
            record = trace(name)
            left_out += _add_candidate(archive, record)
            models.add(record)
            records.append(record)
        archive.add_json("models/models.json", list(models.entries.values()))
        left_out += _absent_models(models)
        archive.add_json(
            "redo.json",
            {
                "precision": statement(),
                "values": [one.record() for record in records for one in values(record)],
            },
        )
        archive.add_json("environment.json", environment())
        pinned = (f"{package}=={version}\n" for package, version in all_packages().items())
        archive.add_text("requirements.txt", "".join(pinned))
        archive.add_text("citations.bib", citations(records))
        archive.add_text("README.txt", readme(records, list(models.entries.values()), left_out))
    return left_out


def _add_candidate(archive: ArchiveWriter, record: Record) -> list[str]:
    place = f"candidates/{record['id']}"
    for kind, crystal in crystals_of(record).items():
        add_crystal(archive, f"{place}/structures/{kind}", crystal)
    left_out = []
    for calculation in _calculations(record):
        if f"calculations/{calculation['hash']}/record.json" not in archive:
            left_out += add_calculation(archive, calculation)
    campaign = f"campaigns/{record['campaign']}.json"
    if campaign not in archive:
        archive.add_json(campaign, without_folders(record["lineage"]["campaign"]))
    archive.add_json(f"{place}/record.json", _without_copies(record))
    return left_out


def _calculations(record: Mapping[str, Any]) -> Iterator[Record]:
    for part in ("verification", "follow_up"):
        yield from (record.get(part) or {}).get("records", [])


def _without_copies(record: Record) -> Record:
    """Leave out what is a file of its own, and who worked on the candidate at this moment."""
    plain = {name: value for name, value in record.items() if name != "lease"}
    for part in ("verification", "follow_up"):
        if plain.get(part):
            plain[part] = {k: v for k, v in plain[part].items() if k != "records"}
    lineage = without_folders(plain["lineage"])
    lineage["campaign"] = f"campaigns/{plain['campaign']}.json"
    return {**plain, "lineage": lineage}


def _absent_models(models: ModelFiles) -> list[str]:
    return [
        f"the files of {one['model']} {one['version']} are left out: {one['absent']}"
        for one in models.entries.values()
        if "absent" in one
    ]
