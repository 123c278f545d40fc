"""Known already, or found twice? Block by reduced formula, then confirm by StructureMatcher.

One candidate is compared with *every* crystal of its formula, so that all matches are recorded and
the first is truly the closest; `agents.screen.duplicates_bulk` may stop at the first.

In a campaign the first of several equal candidates is kept, by order of proposal (``seq``),
whichever worker is faster: a candidate is judged when every candidate of its formula that was
proposed before it is through the screens or out of the campaign, and is put off until then
(`agents.stage.PutOff`). It is rejected against those that *passed*: one that was itself rejected,
or failed, takes no other with it. A crystal keeps its formula when it is relaxed, so that whom to
wait for is known from the start; nothing before the screens waits for them, so the wait ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from agents.screen.matching import ComparedCrystal, Match, find_matches
from agents.screen.references import Reference
from agents.screen.settings import MatcherSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

WAITING = ("proposed", "evaluated", "prescreened", "relaxing", "relaxed")
SCREENED = ("screened", "selected", "verifying", "verified")


@dataclass(frozen=True)
class Sibling:
    """Another candidate of the same campaign with the same formula.

    Attributes:
        id: Candidate.
        seq: Order of proposal.
        state: ``screened`` or a later one.
        structure: Relaxed crystal.
    """

    id: str
    seq: int
    state: str
    structure: Structure


Siblings = Callable[[str, str], Iterable[Sibling]]
"""(campaign, reduced formula) to candidates that passed the screens and did not fail later."""


@dataclass(frozen=True)
class Waiting:
    """A candidate that is not through the screens yet.

    Attributes:
        id: Candidate.
        seq: Order of proposal.
        formula: Reduced formula.
    """

    id: str
    seq: int
    formula: str


WaitingOf = Callable[[str, Sequence[str]], Iterable[Waiting]]
"""(campaign, reduced formulas) to the candidates of these formulas not through the screens."""


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


def database_waiting(campaign: str, formulas: Sequence[str]) -> Iterable[Waiting]:
    """Read the candidates of some formulas that are not through the screens from the database."""
    from db.documents import Candidate

    found = Candidate.objects(
        campaign=campaign, formula__in=list(formulas), state__in=list(WAITING)
    )
    for candidate in found.only("id", "seq", "formula"):
        yield Waiting(str(candidate.id), candidate.seq, candidate.formula)


def database_siblings(campaign: str, formula: str) -> Iterable[Sibling]:
    """Read the candidates with a formula that passed the screens from the database."""
    from db.crystals import record_to_structure
    from db.documents import Candidate

    found = Candidate.objects(campaign=campaign, formula=formula, state__in=list(SCREENED))
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
