"""What codes decode to, as far as a search asks before it spends an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agents.propose.code_features import CodeFeatures
from model.metrics.charge_balance import Counts, charge_balanced, counts_balanced
from model.metrics.validity import reduced_counts, reduced_formula, shortest_distances

if TYPE_CHECKING:
    from model.codes import CrystalCodes
    from model.data.canonical import Crystal
    from model.generator import Generator

ChargeRule = Literal["cdvae", "strict", "off"]


@dataclass(frozen=True)
class Reading:
    """What one set of codes decodes to.

    Attributes:
        counts: Atomic numbers and amounts, reduced: equal where the reduced formula is.
        shortest: Shortest distance between two atoms, images included (Å); NaN where the decoded
            cell cannot be built.
    """

    counts: Counts
    shortest: float

    @property
    def formula(self) -> str:
        """Reduced formula."""
        return reduced_formula(self.counts)

    def balanced(self, rule: ChargeRule) -> bool:
        """Say whether SMACT accepts the composition, see `balanced`."""
        return rule == "off" or counts_balanced(self.counts, rule)


class CodeReader:
    """Decodes codes and remembers what they are.

    Remembering changes no answer: codes always decode to the same crystal, whatever they are
    decoded together with (see `CodeFeatures`).
    """

    def __init__(self, generator: Generator) -> None:
        """Read with a generator."""
        self._features = CodeFeatures.of(generator)
        self._known: dict[CrystalCodes, Reading] = {}

    def read(self, codes: Sequence[CrystalCodes]) -> list[Reading]:
        """Return what codes decode to, in the order given."""
        new = list(dict.fromkeys(c for c in codes if c not in self._known))
        if new:
            self._known.update(zip(new, readings(self._features.decode(new)), strict=True))
        return [self._known[c] for c in codes]


def readings(crystals: Sequence[Crystal]) -> list[Reading]:
    """Return the readings of decoded crystals."""
    pairs = zip(reduced_counts(crystals), shortest_distances(crystals).tolist(), strict=True)
    return [Reading(counts, shortest) for counts, shortest in pairs]


def balanced(formula: str, rule: ChargeRule) -> bool:
    """Say whether SMACT's charge neutrality and electronegativity rule accepts a formula.

    Args:
        formula: Reduced formula.
        rule: Oxidation states: ``cdvae`` (SMACT14, CDVAE's rule), ``strict`` (SMACT's current
            default), ``off`` accepts everything.

    Raises:
        ValueError: SMACT does not know an element.
    """
    return rule == "off" or charge_balanced(formula, rule)
