"""What a campaign found out about its crystals, as labels that carry their level of theory.

The labels of relaxed crystals are selected by their outcome: a crystal whose relaxation was refused
(formation energy, forces, volume, validity) is never encoded again and gives none. A head learns
and is judged on accepted relaxations only, and its errors there say nothing about refused ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.learn.targets import nearest_target, target_name
from db import queries
from db.documents import Candidate
from db.states import State
from model.codes import CrystalCodes

ENERGY = "formation_energy_per_atom"
DFT_PROPERTIES = (ENERGY, "band_gap")

_FIELDS = (
    *("campaign", "seq", "codes", "relaxed_codes", "evaluation", "relaxation", "verification"),
    *("predictions", "history"),
)


@dataclass(frozen=True)
class Prequential:
    """The head's prediction of a label, stored before that label was known to any head.

    Attributes:
        value: Predicted value, in the label's unit.
        std: The head's own uncertainty, if it gave one.
        version: Version of the head.
        target: The output it came from.
        same_level: False where the head had no output at the label's level yet, and the nearest
            one of the same property stands in.
        clean: False where the head had already learned another label of the same candidate or of
            equal codes; see `agents.learn.prequential.mark_clean`.
    """

    value: float
    std: float | None
    version: str
    target: str
    same_level: bool
    clean: bool = True


@dataclass(frozen=True)
class Label:
    """One number that is true of one crystal at one level of theory.

    Attributes:
        candidate_id: The candidate.
        seq: Its order of proposal.
        target: ``property@level``.
        value: In the property's unit.
        on: ``decoded`` or ``relaxed``: which of the candidate's crystals it belongs to.
        source: ``potential``, ``dft``, or ``imported`` (`agents.learn.imported`).
        codes: The codes of that crystal.
        at: When it became known (server time).
        prequential: The head's earlier prediction; None if none was stored.
    """

    candidate_id: str
    seq: int
    target: str
    value: float
    on: str
    source: str
    codes: CrystalCodes
    at: datetime
    prequential: Prequential | None

    @property
    def key(self) -> str:
        """Name of the label, unique in the campaign."""
        return f"{self.candidate_id}:{self.on}:{self.target}"


def collect_labels(campaign: str) -> list[Label]:
    """Collect all labels of a campaign, in the order in which they became known.

    The decoded crystal has the potential's single-point formation energy; the relaxed crystal,
    encoded again, has the relaxed formation energy and whatever DFT said about it. A candidate
    whose relaxed crystal could not be encoded gives no label of it.

    Args:
        campaign: Name of the campaign.

    Returns:
        The labels; equal times are ordered by proposal, then by name.
    """
    candidates = Candidate.objects(campaign=campaign, evaluation__ne={}).only(*_FIELDS)
    labels = [label for candidate in candidates for label in candidate_labels(candidate)]
    return sorted(labels, key=lambda label: (label.at, label.seq, label.key))


def candidate_labels(candidate: Any) -> Iterator[Label]:
    """Yield the labels of one candidate's document."""
    reached = {State(entry["to"]): entry["at"] for entry in candidate.history}
    evaluation, relaxation = candidate.evaluation, candidate.relaxation
    potential_level = evaluation.get("level", "")

    def label(on: str, target: str, value: float, state: State) -> Label:
        codes = candidate.codes if on == "decoded" else candidate.relaxed_codes
        return Label(
            candidate_id=candidate.id,
            seq=candidate.seq,
            target=target,
            value=float(value),
            on=on,
            source="dft" if state is State.VERIFIED else "potential",
            codes=CrystalCodes.from_record(codes),
            at=reached[state],
            prequential=stored_prediction(candidate.predictions, target, on, potential_level),
        )

    if State.EVALUATED in reached:
        target = target_name(ENERGY, potential_level)
        yield label("decoded", target, evaluation[ENERGY], State.EVALUATED)
    if not candidate.relaxed_codes:
        return
    target = target_name(ENERGY, relaxation["level"])
    yield label("relaxed", target, relaxation[ENERGY], State.RELAXED)
    if State.VERIFIED in reached:
        verification = candidate.verification
        for name in DFT_PROPERTIES:
            if verification.get(name) is not None:
                target = target_name(name, verification["level"])
                yield label("relaxed", target, verification[name], State.VERIFIED)


def count_labels(campaign: str) -> dict[str, int]:
    """Count what `collect_labels` would return, without reading the candidates.

    Args:
        campaign: Name of the campaign.

    Returns:
        {"potential": n, "dft": n}.
    """
    candidates = Candidate.objects(campaign=campaign)
    verified = candidates.filter(state=State.VERIFIED.value, relaxed_codes__ne=None)
    return {
        "potential": queries.count_reached(campaign, State.EVALUATED)
        + queries.count_relaxed_codes(campaign),
        "dft": sum(
            verified.filter(**{f"verification__{name}__ne": None}).count()
            for name in DFT_PROPERTIES
        ),
    }


def stored_prediction(
    predictions: Sequence[Mapping[str, Any]], target: str, on: str, potential_level: str
) -> Prequential | None:
    """Find the head's first stored prediction of a label.

    Args:
        predictions: The candidate's prediction records, in the order they were stored.
        target: ``property@level`` of the label.
        on: ``decoded`` or ``relaxed``.
        potential_level: Level that stands in first where the label's own is not there.
    """
    outputs: dict[str, Mapping[str, Any]] = {}
    for prediction in predictions:
        if prediction["model"] == "head" and prediction["on"] == on:
            outputs.setdefault(target_name(prediction["property"], prediction["level"]), prediction)
    nearest = nearest_target(target, list(outputs), potential_level)
    if nearest is None:
        return None
    found = outputs[nearest]
    return Prequential(
        value=float(found["value"]),
        std=found.get("std"),
        version=found["version"],
        target=nearest,
        same_level=nearest == target,
    )
