"""Did the choice pay? What DFT said of the chosen candidates, beside the control arm's.

Both arms draw from the same pool of screened candidates (`agents.verify.choice.acquisition`); only
one of them is chosen. Without this comparison no acceleration can be claimed, and with few calls
even with it: every share comes with its Wilson interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CONFIDENCE = 0.95

CHOICE, CONTROL = "choice", "control"
ALL_WINDOWS = "all"


@dataclass(frozen=True)
class Share:
    """A share of verified candidates.

    Attributes:
        inside: How many are inside.
        of: How many were verified.
        low: Lower end of the 95 % score interval (Wilson, J. Am. Stat. Assoc. 22 (1927) 209).
        high: Its upper end.
    """

    inside: int
    of: int
    low: float
    high: float

    @classmethod
    def count(cls, verdicts: Sequence[bool]) -> Share:
        """Count verdicts; of none at all the interval is everything."""
        return cls.of_counts(sum(verdicts), len(verdicts))

    @classmethod
    def of_counts(cls, inside: int, of: int) -> Share:
        """Return the share for counts that are known already."""
        from scipy.stats import binomtest

        if not of:
            return cls(0, 0, 0.0, 1.0)
        interval = binomtest(inside, of).proportion_ci(CONFIDENCE, method="wilson")
        return cls(inside, of, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Arm:
    """What DFT said of one arm's candidates.

    Attributes:
        arm: ``choice`` or ``control``.
        submitted: Calls of this arm so far.
        failed: Those that gave no result; they are in no share.
        windows: Share inside each window, and inside every window (``all``).
    """

    arm: str
    submitted: int
    failed: int
    windows: dict[str, Share]

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def compare_arms(calls: Iterable[Mapping[str, Any]], properties: Sequence[str]) -> list[Arm]:
    """Count what DFT said of each arm.

    Args:
        calls: One for each candidate that DFT was chosen for: ``control`` (bool), ``state``, and
            ``targets`` (the verdict on each window's property) where it is verified.
        properties: The windows' properties.

    Returns:
        The choice, then the control arm.
    """
    known = list(calls)
    arms = []
    for name in (CHOICE, CONTROL):
        own = [call for call in known if bool(call["control"]) is (name == CONTROL)]
        verified = [call["targets"] for call in own if call["state"] == "verified"]
        shares = {one: Share.count([bool(call[one]) for call in verified]) for one in properties}
        shares[ALL_WINDOWS] = Share.count([all(call.values()) for call in verified])
        failed = sum(call["state"] == "failed" for call in own)
        arms.append(Arm(name, len(own), failed, shares))
    return arms
