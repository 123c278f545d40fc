"""Known already, or found twice? Block by reduced formula, then confirm by StructureMatcher.

In a campaign a candidate is rejected only against one that *passed* the screens: one that still
waits may yet be rejected or fail, and then both would be lost. Where an equal candidate that was
proposed earlier (lower ``seq``) waits in another worker, `ScreenStage` judges the later one at the
end of its batch, by when the other is usually decided; within a batch candidates are judged in the
order of ``seq``, each after the outcome of the one before is committed.

What is left open: two workers that judge equal candidates at the same moment do not see each other,
and both survive; and when the earlier one is still not decided at the end of the batch, the later
one survives in its place. So no crystal is lost with both its copies, but a campaign with several
screen workers may keep a pair of equal ones, and which of two is kept can depend on timing. A
comparison in bulk afterwards (`agents.screen.duplicates_bulk`) finds such pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agents.screen.references import Reference
from agents.screen.settings import MatcherSettings

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

WAITING = "relaxed"
SCREENED = ("screened", "selected", "verifying", "verified")


@dataclass(frozen=True)
class Sibling:
    """Another candidate of the same campaign with the same formula.

    Attributes:
        id: Candidate.
        seq: Order of proposal.
        state: ``relaxed`` or a later one.
        structure: Relaxed crystal.
    """

    id: str
    seq: int
    state: str
    structure: Structure


Siblings = Callable[[str, str], Iterable[Sibling]]
"""(campaign, reduced formula) to candidates, ``relaxed`` or later, not rejected or failed."""


@dataclass(frozen=True)
class Match:
    """A crystal that counts as the same one; displacements are of the mapping with the least RMS.

    Attributes:
        id: Identifier in the reference, or candidate.
        rms: Root mean square displacement, in units of (V/N)^(1/3).
        max_distance: Largest displacement of a site, in the same unit.
        label: Role in a reference (``train``, ``val``, ``known``), or state of a candidate.
    """

    id: str
    rms: float
    max_distance: float
    label: str


@dataclass(frozen=True)
class Comparison:
    """What a crystal was compared with, and what it matched.

    Attributes:
        reference: Name of the collection.
        compared: Crystals with the same formula that were compared.
        matches: Those that match, the closest first.
        tolerances: Of the matcher.
        missing: Why no comparison was made, else None.
    """

    reference: str
    compared: int
    matches: tuple[Match, ...]
    tolerances: dict[str, float] = field(default_factory=dict)
    missing: str | None = None

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "matches": [asdict(match) for match in self.matches]}


def match_distance(
    first: Structure, second: Structure, tolerances: MatcherSettings
) -> tuple[float, float] | None:
    """Compare two crystals as `StructureMatcher.fit` does (primitive cells, scaled to one volume).

    A match demands that the *largest* displacement can be brought below the site tolerance; the
    reconstruction metric of the papers, which looks at the RMS only, is laxer.

    Args:
        first: One crystal.
        second: Another with the same reduced formula.
        tolerances: When they count as the same.

    Returns:
        (RMS, largest) displacement in units of (V/N)^(1/3), or None if they do not match.
    """
    matcher = _matcher(tolerances)
    found = matcher.get_rms_dist(first, second)
    if found is None:
        return None
    rms, largest = float(found[0]), float(found[1])
    if largest > tolerances.stol and not matcher.fit(first, second):
        return None
    return rms, largest


def compare_with_reference(
    structure: Structure, reference: Reference, tolerances: MatcherSettings
) -> Comparison:
    """Find the crystals of a reference that match.

    Args:
        structure: Relaxed crystal.
        reference: Known crystals.
        tolerances: When two count as the same.

    Returns:
        The comparison, whether or not something matched.
    """
    block = reference.of_formula(structure.composition.reduced_formula)
    known = [(crystal.id, crystal.structure, crystal.role) for crystal in block]
    return _compare(structure, reference.name, known, tolerances)


def compare_with_campaign(
    structure: Structure, siblings: Sequence[Sibling], tolerances: MatcherSettings
) -> Comparison:
    """Find the candidates that passed the screens and match this one.

    Args:
        structure: Relaxed crystal of the candidate.
        siblings: Other candidates with its formula.
        tolerances: When two count as the same.

    Returns:
        The comparison, in the order of proposal where two match equally well.
    """
    passed = [sibling for sibling in siblings if sibling.state in SCREENED]
    return _compare(structure, "campaign", _in_order(passed), tolerances)


def earlier_one_waits(
    structure: Structure, seq: int, siblings: Sequence[Sibling], tolerances: MatcherSettings
) -> bool:
    """Say whether an equal candidate that was proposed earlier still waits for the screens.

    Args:
        structure: Relaxed crystal of the candidate.
        seq: Its order of proposal.
        siblings: Other candidates with its formula.
        tolerances: When two count as the same.
    """
    return any(
        sibling.state == WAITING
        and sibling.seq < seq
        and match_distance(structure, sibling.structure, tolerances) is not None
        for sibling in siblings
    )


def _in_order(siblings: Sequence[Sibling]) -> list[tuple[str, Structure, str]]:
    ordered = sorted(siblings, key=lambda sibling: sibling.seq)
    return [(sibling.id, sibling.structure, sibling.state) for sibling in ordered]


def database_siblings(campaign: str, formula: str) -> Iterable[Sibling]:
    """Read the candidates of a campaign with a formula, relaxed or later, from the database."""
    from db.crystals import record_to_structure
    from db.documents import Candidate

    found = Candidate.objects(campaign=campaign, formula=formula, state__in=[WAITING, *SCREENED])
    for candidate in found.only("id", "seq", "state", "relaxation.structure").order_by("seq"):
        record = candidate.relaxation["structure"]
        yield Sibling(
            str(candidate.id), candidate.seq, str(candidate.state), record_to_structure(record)
        )


def _compare(
    structure: Structure,
    name: str,
    others: Sequence[tuple[str, Structure, str]],
    tolerances: MatcherSettings,
) -> Comparison:
    matches = []
    for identifier, other, label in others:
        distance = match_distance(structure, other, tolerances)
        if distance is not None:
            matches.append(Match(identifier, *distance, label))
    matches.sort(key=lambda match: match.rms)
    return Comparison(name, len(others), tuple(matches), tolerances.model_dump())


@lru_cache(maxsize=8)
def _matcher(tolerances: MatcherSettings) -> StructureMatcher:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=tolerances.ltol, stol=tolerances.stol, angle_tol=tolerances.angle_tol
    )
