"""What to cite for a candidate: the methods, codes and data that its lineage names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

ALWAYS = ("vqcrystal", "pymatgen", "ase")

#: First word of a model, code, proposer or data set to the keys of what is to be cited for it.
SOURCES: dict[str, tuple[str, ...]] = {
    "chgnet": ("chgnet", "materials_project"),
    "dpa": ("deepmd",),
    "openlam": ("deepmd",),
    "megnet": ("megnet", "materials_project"),
    "alignn": ("alignn", "materials_project"),
    "gpaw": ("gpaw", "pbe", "fireworks"),
    "vasp": ("vasp", "pbe", "fireworks"),
    "mp2020": ("mp2020",),
    "smact": ("smact",),
    "optuna": ("optuna",),
    "substitution": ("substitution",),
    "phonopy": ("phonopy",),
    "perov5": ("perov5", "cdvae"),
    "carbon24": ("carbon24", "cdvae"),
    "mp20": ("materials_project", "cdvae"),
    "mp": ("materials_project",),
    "c2db": ("c2db",),
}


def citations(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the BibTeX entries that the lineages of candidates call for.

    Args:
        records: As from `discovery.lineage.tracing.trace`.
    """
    return bibtex(name for record in records for name in _names(record))


def bibtex(names: Iterable[str]) -> str:
    """Return the BibTeX entries that names of models, codes, proposers and data sets call for."""
    used = {key for name in names for key in _keys(name)}
    entries = bibliography()
    return "\n\n".join(entries[key] for key in entries if key in {*ALWAYS, *used}) + "\n"


@cache
def bibliography() -> dict[str, str]:
    """Return all entries by their keys, in the order of the file."""
    text = (resources.files("discovery.archive") / "citations.bib").read_text(encoding="utf-8")
    entries = [part.strip() for part in text.split("\n\n") if part.strip()]
    return {re.match(r"@\w+\{(\w+),", entry)[1]: entry for entry in entries}  # type: ignore[index]


def _keys(name: str) -> tuple[str, ...]:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return SOURCES.get(words[0], ())


def _names(record: Mapping[str, Any]) -> list[str]:
    resolved = record["lineage"]["campaign"]["resolved"]
    verification = record.get("verification") or {}
    hull = record.get("hull") or {}
    stability = (record.get("follow_up") or {}).get("stability") or {}
    names = [one["model"] for one in record.get("predictions", [])]
    names += [resolved["generator"]["name"], str(record.get("proposer")), "smact"]
    names += [str(verification.get("level", "")), str(hull.get("reference", ""))]
    names += [str(stability.get("level", ""))]
    if verification.get("formation_energy_per_atom_mp2020") is not None:
        names.append("mp2020")
    if stability.get("phonons"):
        names.append("phonopy")
    return names
