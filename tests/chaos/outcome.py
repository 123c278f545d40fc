"""What became of a campaign, and the table of the faults it lived through."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cluster import Cluster
from history import Records, Violation, disagreements, violations

Outcome = dict[str, tuple[Any, ...]]


def outcome(records: Records) -> Outcome:
    """Return what must not depend on who crashed: of every set of codes the state and the numbers.

    Left out is what follows from *when* something was learned: the property head's predictions,
    which models there are, and what was measured with a clock.
    """
    return {one["codes_hash"]: _fate(one) for one in records.candidates}


def _fate(one: dict[str, Any]) -> tuple[Any, ...]:
    evaluation, relaxation = one.get("evaluation") or {}, one.get("relaxation") or {}
    verification, selection = one.get("verification") or {}, one.get("selection") or {}
    duplicates = (one.get("duplicates") or {}).get("campaign") or {}
    return (
        one["state"],
        (one.get("rejection") or {}).get("reason"),
        one.get("error"),
        one["proposer"],
        (one["episode"], one["generation"]),
        evaluation.get("energy"),
        str(relaxation.get("structure")),
        relaxation.get("energy"),
        relaxation.get("formation_energy_per_atom"),
        tuple(match["id"] for match in duplicates.get("matches", ())),
        (selection.get("position"), selection.get("control")),
        verification.get("formation_energy_per_atom"),
        verification.get("band_gap"),
        verification.get("hit"),
    )


@dataclass
class Row:
    """One line of the table.

    Attributes:
        fault: What was done, in words.
        times: How often it was injected.
        lost: Candidates that are gone or never came to an end.
        doubled: Candidates, steps or generations that are there twice.
        paid_twice: DFT calculations that were run to their end more than once.
        recovery: From each injection to the next sign of progress, s.
    """

    fault: str
    times: int = 0
    lost: int = 0
    doubled: int = 0
    paid_twice: int = 0
    recovery: list[float] = field(default_factory=list)

    def injected(self, seconds: float) -> None:
        """Count one more injection."""
        self.times += 1
        self.recovery.append(seconds)

    def count(self, found: list[Violation], paid: Counter[str]) -> None:
        """Take over what the checker and the ledger of finished DFT processes say."""
        self.lost += sum(one.rule in ("nothing lost", "ended") for one in found)
        self.doubled += sum(one.rule in ("nothing doubled", "one end") for one in found)
        self.paid_twice += sum(times > 1 for times in paid.values())
        self.paid_twice += sum(one.rule == "paid once" for one in found)


HEADER = ("fault", "times", "lost", "doubled", "paid twice", "recovery, s (median, largest)")


def table(rows: list[Row]) -> list[str]:
    """Write the rows as a Markdown table."""
    lines = []
    for row in rows:
        times = sorted(row.recovery)
        took = f"{times[len(times) // 2]:.1f}, {times[-1]:.1f}" if times else "-"
        counts = (row.times, row.lost, row.doubled, row.paid_twice)
        lines.append("| " + " | ".join([row.fault, *map(str, counts), took]) + " |")
    return ["| " + " | ".join(HEADER) + " |", "|---|---:|---:|---:|---:|---:|", *lines]


def difference(found: Outcome, expected: Outcome) -> list[str]:
    """Name what differs between two outcomes, a line each."""
    lines = [f"{codes} was not proposed" for codes in expected.keys() - found.keys()]
    lines += [f"{codes} was proposed as well" for codes in found.keys() - expected.keys()]
    for codes in expected.keys() & found.keys():
        for place, (here, there) in enumerate(zip(found[codes], expected[codes], strict=True)):
            if here != there:
                lines.append(f"{codes}, entry {place}: {here} instead of {there}")
    return lines


def judged(cluster: Cluster, records: Records, summary: dict[str, Any]) -> list[Violation]:
    """Apply every rule to a finished campaign."""
    return [*violations(records), *disagreements(records, summary)]
