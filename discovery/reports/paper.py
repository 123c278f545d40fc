"""The two funnels that Qiu et al. (2025) print, doi 10.1038/s41524-025-01613-6.

Only the counts are written down, and beside them the percentages as printed, which a test derives
from the counts. Shares that the paper does not print follow from its counts as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DOI = "10.1038/s41524-025-01613-6"

Name = Literal["photovoltaic-3d", "c2db-2d"]


@dataclass(frozen=True)
class Step:
    """One row of a funnel.

    Attributes:
        key: What is asked, see `discovery.reports.paper_funnel`.
        label: For people.
        count: Crystals left in the paper; None where it prints no number that can be used.
        of: Key of the row whose crystals the share is of; None for the first row.
        printed: The share as printed in the paper, per cent.
        note: What to know about the paper's number, or ours.
        needs: Reference collection that candidates must have been compared with.
    """

    key: str
    label: str
    count: int | None
    of: str | None
    printed: float | None = None
    note: str | None = None
    needs: str | None = None


@dataclass(frozen=True)
class PaperFunnel:
    """A campaign of the paper.

    Attributes:
        name: As in a campaign file's ``paper_funnel``.
        generator: The data set that the paper's generator learned from.
        steps: The rows, in the paper's order.
        rediscovered: Of those not in the training set, how many match a crystal known otherwise.
        rediscovered_rms: Their mean distance, and the smallest, in units of (V/N)^(1/3).
    """

    name: Name
    generator: str
    steps: tuple[Step, ...]
    rediscovered: int | None = None
    rediscovered_rms: tuple[float, float] | None = None

    def step(self, key: str) -> Step:
        """Return the row with a key."""
        return next(step for step in self.steps if step.key == key)

    def share(self, step: Step) -> float | None:
        """Return a row's share of the row it refers to; None where a count is missing."""
        base = None if step.of is None else self.step(step.of).count
        return None if base is None or step.count is None else step.count / base


PHOTOVOLTAIC = PaperFunnel(
    name="photovoltaic-3d",
    generator="MP-20",
    steps=(
        Step(
            "generated",
            "generated",
            20_789,
            None,
            note="what its genetic algorithm kept; here every proposal that decodes to a crystal",
        ),
        Step("new", "not in the training set", 20_183, "generated"),
        Step(
            "new_mp",
            "not in the Materials Project",
            19_776,
            "generated",
            note="the Materials Project of 2023-06-23",
            needs="mp",
        ),
        Step("smact", "SMACT: neutral, electronegativity", 13_292, "new_mp", 67.21),
        Step("relaxed", "energy < 0, force < 0.05 eV/Å", 12_282, "smact", 92.4),
        Step("composition", "atoms, elements, lanthanides", 2_771, "relaxed"),
        Step("models", "models agree on the windows", 92, "composition"),
        Step(
            "dft",
            "DFT comes to an end",
            90,
            "models",
            note="relaxed by VASP; here a static calculation of what the potential relaxed, unless "
            "verify.relax is on",
        ),
        Step("dft_energy", "DFT: E_f in the window", 89, "dft"),
        Step("dft_gap", "DFT: gap in the window", 56, "dft", 62.22),
    ),
    rediscovered=437,
    rediscovered_rms=(0.0509, 0.0001),
)
"""Materials Project of 2018-06-01 (132,082 entries) for the rediscoveries: 2.16 % of 20,183."""

REDISCOVERED_PRINTED = 2.16

SLABS = PaperFunnel(
    name="c2db-2d",
    generator="C2DB",
    steps=(
        Step("generated", "generated", 12_000, None),
        Step(
            "two_dimensional",
            "one layer",
            None,
            "generated",
            note="the paper prints the size of C2DB here, so its share is unknown",
        ),
        Step(
            "new_c2db",
            "not in C2DB",
            2_638,
            "generated",
            note="share of all that were generated: one layer, and not in C2DB",
            needs="c2db",
        ),
        Step("rules", "elements, sizes, SMACT, force", 846, "new_c2db"),
        Step("models", "models agree on the windows", 184, "rules"),
        Step("drawn", "drawn for DFT", 26, "models", note="a choice, not a test"),
        Step("dft", "DFT comes to an end", 23, "drawn", note="relaxed by VASP"),
        Step("dft_energy", "DFT: E_f < -0.5 eV/atom", 19, "dft"),
        Step("dft_energy_low", "DFT: E_f < -1 eV/atom", 17, "dft", 73.91),
    ),
)

FUNNELS: dict[str, PaperFunnel] = {one.name: one for one in (PHOTOVOLTAIC, SLABS)}
