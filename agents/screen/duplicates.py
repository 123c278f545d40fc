"""Known already, or found twice? Block by reduced formula, then confirm by StructureMatcher.

One candidate is compared with *every* crystal of its formula, so that all matches are recorded and
the first is truly the closest; `agents.screen.duplicates_bulk` may stop at the first.

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
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from agents.screen.matching import ComparedCrystal, Match, find_matches, match_crystals
from agents.screen.references import Reference
from agents.screen.settings import MatcherSettings

if TYPE_CHECKING:
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
class Comparison:
    """What a crystal was compared with, and what it matched.

    Attributes:
        reference: Name of the collection.
        compared: Crystals with the same formula, all of which were compared.
        matches: Those that match, the closest first.
        tolerances: Of the matcher.
        version: Version of the collection, if it has one.
        checksum: Of the collection's files, if it has some.
        vacuum: Å that slabs got before they were compared; None: they stayed as they were.
        not_comparable: Crystals of the collection that pymatgen could not compare, with the reason.
    """

    reference: str
    compared: int
    matches: tuple[Match, ...]
    tolerances: dict[str, float]
    version: str | None = None
    checksum: str | None = None
    vacuum: float | None = None
    not_comparable: tuple[tuple[str, str], ...] = ()

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **asdict(self),
            "matches": [asdict(match) for match in self.matches],
            "not_comparable": [{"id": name, "reason": why} for name, why in self.not_comparable],
        }


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
    known = reference.of_formula(structure.composition.reduced_formula)
    found = _compare(structure, reference.name, known, tolerances, reference.vacuum)
    return replace(found, version=reference.version, checksum=reference.checksum)


def compare_with_campaign(
    structure: Structure,
    siblings: Sequence[Sibling],
    tolerances: MatcherSettings,
    vacuum: float | None = None,
) -> Comparison:
    """Find the candidates that passed the screens and match this one.

    Args:
        structure: Relaxed crystal of the candidate.
        siblings: Other candidates with its formula.
        tolerances: When two count as the same.
        vacuum: Å that slabs get before they are compared; None: they stay as they are.

    Returns:
        The comparison, in the order of proposal where two match equally well.
    """
    passed = [sibling for sibling in siblings if sibling.state in SCREENED]
    ordered = sorted(passed, key=lambda sibling: sibling.seq)
    known = [_compared(sibling, vacuum) for sibling in ordered]
    return _compare(structure, "campaign", known, tolerances, vacuum)


def earlier_one_waits(
    structure: Structure,
    seq: int,
    siblings: Sequence[Sibling],
    tolerances: MatcherSettings,
    vacuum: float | None = None,
) -> bool:
    """Say whether an equal candidate that was proposed earlier still waits for the screens.

    Args:
        structure: Relaxed crystal of the candidate.
        seq: Its order of proposal.
        siblings: Other candidates with its formula.
        tolerances: When two count as the same.
        vacuum: Å that slabs get before they are compared; None: they stay as they are.
    """
    waiting = [one for one in siblings if one.state == WAITING and one.seq < seq]
    if not waiting:
        return False
    target = ComparedCrystal("", structure, vacuum=vacuum)
    return any(match_crystals(target, _compared(one, vacuum), tolerances) for one in waiting)


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


def _compared(sibling: Sibling, vacuum: float | None) -> ComparedCrystal:
    return ComparedCrystal(sibling.id, sibling.structure, sibling.state, vacuum=vacuum)


def _compare(
    structure: Structure,
    name: str,
    known: Sequence[ComparedCrystal],
    tolerances: MatcherSettings,
    vacuum: float | None,
) -> Comparison:
    if not known:
        return Comparison(name, 0, (), tolerances.model_dump(), vacuum=vacuum)
    target = ComparedCrystal("", structure, vacuum=vacuum)
    found = find_matches(target, known, tolerances, exhaustive=True)
    return Comparison(
        name,
        len(known),
        found.found,
        tolerances.model_dump(),
        vacuum=vacuum,
        not_comparable=found.broken,
    )
