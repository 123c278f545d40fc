"""One thing that is wrong, why it is believed to be, and what can be done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What is wrong; the word before the colon of a finding's id."""

    RETRY_CANDIDATE = "retry-candidate"
    RERUN_CALCULATION = "rerun-calculation"
    DEFUSE_FIREWORK = "defuse-firework"
    STOP_CAMPAIGN = "stop-campaign"
    LIVE_MODEL = "live-model"
    NO_LAUNCHER = "no-launcher"
    MISSING_OUTPUTS = "missing-outputs"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        kind: What is wrong.
        subject: Of what: id of a candidate, hash of a calculation, number of a Firework, ….
        evidence: What the records say, in words.
        action: What `apply` does, or what a person does where no program can.
        applicable: Whether `apply` can do it.
    """

    kind: Kind
    subject: str
    evidence: str
    action: str
    applicable: bool = True

    @property
    def id(self) -> str:
        """What ``--apply`` takes; the same for the same fault."""
        return f"{self.kind}:{self.subject}"

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"id": self.id, **asdict(self), "kind": str(self.kind)}
