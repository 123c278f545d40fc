"""A candidate beside the known crystals that it equals: both cells, and their atoms in pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from db.crystals import record_to_structure, structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure

Record = Mapping[str, Any]

MATERIALS_PROJECT = re.compile(r"(mp|mvc)-\w+")
SHOWN_ATOMS = 24
"""Pairs of atoms that are printed; ``--json`` has all."""


def link_known(record: Record, generator: Record) -> list[dict[str, Any]]:
    """Put a candidate beside its closest match in every collection and in its campaign.

    Args:
        record: A candidate, with its ``duplicates``.
        generator: ``name`` and ``version`` of the campaign's generator, for training crystals.

    Returns:
        For every comparison with a match: ``reference``, ``id``, ``url`` (of a Materials Project
        id, else None), ``label``, ``rms``, ``rms_angstrom``, ``others`` (how many match, too); then
        either ``unknown``, why there is no crystal to show, or ``candidate`` and ``known``, their
        primitive cells (crystal records): the known one in the axes, order of sites and origin of
        the candidate's, its lengths and angles untouched, and ``distances`` between their atoms in
        pairs (Å, both cells scaled to their mean).
    """
    found = record.get("duplicates") or {}
    named = [(name, found[name]) for name in ("training", "campaign") if name in found]
    named += [("reference", one) for one in found.get("references", [])]
    relaxed = (record.get("relaxation") or {}).get("structure")
    linked = []
    for kind, comparison in named:
        if not comparison["matches"] or relaxed is None:
            continue
        match = comparison["matches"][0]
        one: dict[str, Any] = {
            "reference": comparison["reference"],
            **{key: match.get(key) for key in ("id", "label", "rms", "rms_angstrom")},
            "url": url_of(match["id"]),
            "others": len(comparison["matches"]) - 1,
        }
        known = _crystal_of(kind, comparison["reference"], match["id"], generator)
        if isinstance(known, str):
            linked.append({**one, "unknown": known})
        else:
            linked.append({**one, **side_by_side(relaxed, known, comparison)})
    return linked


def url_of(identifier: str) -> str | None:
    """Return the page of a Materials Project id; None of any other."""
    if not MATERIALS_PROJECT.fullmatch(identifier):
        return None
    return f"https://materialsproject.org/materials/{identifier}"


def _crystal_of(kind: str, reference: str, identifier: str, generator: Record) -> Record | str:
    """Read a known crystal, or say why it is not there."""
    from db.documents import Candidate
    from db.reference_structures import structures
    from discovery.lineage.base import training_base

    if kind == "training":
        base = training_base(identifier, generator)
        crystal: Record | None = base.get("structure")
        return crystal or str(base.get("unknown", "its codes decode to no crystal"))
    if kind == "campaign":
        other = Candidate.objects(id=identifier).only("relaxation.structure").first()
        crystal = None if other is None else (other.relaxation or {}).get("structure")
        return crystal or f"the candidate {identifier} is not in this database"
    crystal = structures(reference, [identifier]).get(identifier)
    return crystal or f"the collection {reference} in this database has no {identifier}"


def side_by_side(candidate: Record, known: Record, comparison: Record) -> dict[str, Any]:
    """Turn a known crystal until its atoms lie on those of the candidate that it matches.

    Args:
        candidate: Crystal record.
        known: Crystal record.
        comparison: Their comparison: ``tolerances``, and ``vacuum`` where slabs got one.

    Returns:
        ``candidate``, ``known``, ``distances``, see `link_known`; ``unknown`` where they do not
        match any more.
    """
    import numpy as np
    from pymatgen.analysis.structure_matcher import StructureMatcher

    from agents.screen.matching import ComparedCrystal

    vacuum = comparison.get("vacuum")
    ours = ComparedCrystal("", candidate, vacuum=vacuum).reduced
    theirs = ComparedCrystal("", known, vacuum=vacuum).reduced
    matcher = StructureMatcher(primitive_cell=False, **comparison["tolerances"])
    turned = matcher.get_s2_like_s1(ours, theirs) if len(ours) == len(theirs) else None
    if turned is None:
        return {"unknown": "the crystals do not match as this machine has them"}
    turned = _oriented_like(turned, ours)
    shift = turned.frac_coords - ours.frac_coords
    shift -= np.round(shift)
    # StructureMatcher measures in the mean of the two cells, both scaled to one volume.
    volume = (ours.volume * turned.volume) ** 0.5
    cells = [one.lattice.scale(volume).matrix for one in (ours, turned)]
    vectors = (shift - shift.mean(axis=0)) @ np.mean(cells, axis=0)
    return {
        "candidate": structure_to_record(ours),
        "known": structure_to_record(turned),
        "distances": [float(distance) for distance in np.linalg.norm(vectors, axis=1)],
    }


def _oriented_like(structure: Structure, other: Structure) -> Structure:
    """Rotate a crystal, and mirror it where it must be, until its axes point along another's."""
    import numpy as np
    from pymatgen.core import Structure

    # StructureMatcher compares lengths and angles: the axes may point anywhere in space.
    axes = structure.lattice.matrix
    # Kabsch, doi 10.1107/S0567739476001873
    left, _, right = np.linalg.svd(axes.T @ other.lattice.matrix)
    return Structure(axes @ left @ right, structure.species, structure.frac_coords)


def lines(linked: Record) -> Iterator[str]:
    """Write one match for a terminal, up to 67 columns wide.

    Args:
        linked: One of `link_known`.
    """
    others = f", and {linked['others']} more" if linked["others"] else ""
    angstrom = linked.get("rms_angstrom")
    distance = "" if angstrom is None else f" ({angstrom:.4f} Å)"
    yield f"equals {linked['id']}, RMS {linked['rms']:.4f}{distance}{others}"
    if linked["url"]:
        yield linked["url"]
    if "unknown" in linked:
        yield linked["unknown"]
        return
    ours, theirs = (record_to_structure(dict(linked[key])) for key in ("candidate", "known"))
    yield f"{'primitive cell':<16}{'this crystal':>14}{linked['id'][:20]:>22}"
    for (name, one), (_, other) in zip(cell_values(ours), cell_values(theirs), strict=True):
        yield f"{name:<16}{one:14.4f}{other:22.4f}"
    yield f"{'atom':<5}{'this crystal':<26}{linked['id'][:20]:<26}{'apart, Å':>8}"
    for site, other, apart in zip(
        ours[:SHOWN_ATOMS], theirs[:SHOWN_ATOMS], linked["distances"], strict=False
    ):
        places = "".join(
            " ".join(f"{value:7.4f}" for value in one.frac_coords) + "   " for one in (site, other)
        )
        yield f"{site.specie.symbol:<5}{places}{apart:8.4f}"
    if len(ours) > SHOWN_ATOMS:
        yield f"{len(ours) - SHOWN_ATOMS} more atoms: --json"


def cell_values(structure: Structure) -> Iterator[tuple[str, float]]:
    """Name the numbers of a cell: lengths (Å), angles (°), volume (Å³/atom)."""
    names = ("a (Å)", "b (Å)", "c (Å)", "α (°)", "β (°)", "γ (°)")
    yield from zip(names, structure.lattice.parameters, strict=True)
    yield "V (Å³/atom)", structure.volume / len(structure)
