"""From proposals to the candidates' records, with what the property head predicts for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agents.propose.proposer import Proposal
from agents.screen.head import head_predictions
from agents.screen.screen import Refusal
from db.crystals import crystal_fields

if TYPE_CHECKING:
    from agents.prediction import Prediction
    from model.codes import CrystalCodes
    from model.generator import Decoded, Generator
    from model.property.head import PropertyHead


class UnsoundPrediction(RuntimeError):
    """The live head predicts something that is not a finite number: its weights are broken."""


def proposal_records(
    proposals: Sequence[Proposal],
    decoded: Sequence[Decoded],
    generator: Generator,
    head: PropertyHead,
) -> list[dict[str, Any]]:
    """Return the candidate fields of proposals, predictions included.

    Args:
        proposals: What a proposer asked for.
        decoded: What each decodes to, in the same order; a proposal that brings its own structure
            keeps that.
        generator: The generator that decoded them.
        head: The head that predicts from their codes.

    Raises:
        UnsoundPrediction: The head gives something that is not a finite number.
    """
    predictions = _predictions([p.codes for p in proposals], generator, head)
    records = []
    for proposal, crystal, predicted in zip(proposals, decoded, predictions, strict=True):
        record: dict[str, Any] = {
            "generator_version": generator.version,
            "codes_hash": proposal.codes.digest(),
            "codes": proposal.codes.record(),
            "base_id": proposal.base_id,
            "proposer": proposal.proposer,
            "episode": proposal.episode,
            "generation": proposal.generation,
            "parents": list(proposal.parents),
            "n_atoms": proposal.codes.n_atoms,
            "predictions": [prediction.record() for prediction in predicted],
        }
        structure = crystal.structure if proposal.structure is None else proposal.structure
        if structure is not None:
            record |= crystal_fields(structure)
        records.append(record)
    return records


def _predictions(
    codes: Sequence[CrystalCodes], generator: Generator, head: PropertyHead
) -> list[list[Prediction]]:
    predictions: list[list[Prediction]] = []
    for answer in head_predictions(generator, head, codes, on="decoded"):
        if isinstance(answer, Refusal):
            raise UnsoundPrediction(
                f"the property head {head.version} cannot judge a proposal: {answer.reason}"
            )
        predictions.append(answer)
    return predictions
