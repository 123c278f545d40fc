"""From proposals to the candidates' records, with what the property head predicts for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agents.prediction import Prediction
from agents.propose.proposer import Proposal
from agents.targets import UNITS
from db.crystals import crystal_fields

if TYPE_CHECKING:
    from model.codes import CrystalCodes
    from model.generator import Decoded, Generator
    from model.head import PropertyHead


def proposal_records(
    proposals: Sequence[Proposal],
    decoded: Sequence[Decoded],
    generator: Generator,
    head: PropertyHead,
) -> list[dict[str, Any]]:
    """Return the candidate fields of proposals, predictions included.

    Args:
        proposals: What a proposer asked for.
        decoded: What each decodes to, in the same order.
        generator: The generator that decoded them.
        head: The head that predicts from their codes.
    """
    predictions = head_predictions([p.codes for p in proposals], generator, head, on="decoded")
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
            "n_atoms": proposal.codes.n_atoms,
            "predictions": [prediction.record() for prediction in predicted],
        }
        if crystal.structure is not None:
            record |= crystal_fields(crystal.structure)
        records.append(record)
    return records


def head_predictions(
    codes: Sequence[CrystalCodes], generator: Generator, head: PropertyHead, *, on: str
) -> list[list[Prediction]]:
    """Return the head's prediction of every target for each crystal.

    The shipped head has only seen training crystals, and does not rank recombined codes; so its
    predictions for candidates are out of its domain until it has learned from a campaign.

    Args:
        codes: Crystals as codes.
        generator: The generator whose features the head reads.
        head: The head.
        on: ``decoded`` or ``relaxed``: which crystal the codes describe.
    """
    if not codes:
        return []
    predicted = head.predict(generator.features(codes))
    version = head.version
    rows: list[list[Prediction]] = [[] for _ in codes]
    for target, (means, stds) in predicted.items():
        name, level = target.split("@", maxsplit=1)
        for row, mean, std in zip(rows, means.tolist(), stds.tolist(), strict=True):
            prediction = Prediction(
                property=name,
                value=mean,
                unit=UNITS[name],
                model="head",
                version=version,
                level=level,
                in_domain=version != generator.head.version,
                std=std,
                on=on,
            )
            row.append(prediction)
    return rows
