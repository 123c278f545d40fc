"""Base crystals that a person brings, in place of training crystals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.codes import CrystalCodes

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from model.generator import Generator

PREFIX = "own:"
"""Of the identifier of a base that is not in the code bank."""


class UnencodableBase(ValueError):
    """A crystal that was named as a base cannot be one with the campaign's generator."""

    exit_code = 2


@dataclass(frozen=True)
class OwnBase:
    """A base crystal from a person's file.

    Attributes:
        id: "own:" and the name of the crystal.
        codes: What it encodes to, all that a search needs of it.
    """

    id: str
    codes: CrystalCodes

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> OwnBase:
        """Rebuild a base from the campaign's record."""
        return cls(record["id"], CrystalCodes.from_record(record["codes"]))


def encode_bases(generator: Generator, crystals: Mapping[str, Structure]) -> list[dict[str, Any]]:
    """Encode crystals as bases of a campaign.

    Args:
        generator: The campaign's generator.
        crystals: Name to crystal.

    Returns:
        For each, in the order given, plain JSON values: ``id``, ``formula``, ``n_atoms``,
        ``codes``, and ``rms``, the distance of what the codes decode to (StructureMatcher with its
        default tolerances, in units of (V/N)^(1/3)); None where that is another crystal, which
        happens to crystals unlike those that the generator learned from.

    Raises:
        UnencodableBase: The generator has no codes for a crystal, or no training crystal with as
            many elements to exchange tokens with.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    from model.generator import EncodingError

    matcher = StructureMatcher()
    encoded = generator.encode(list(crystals.values()))
    refused, records = [], []
    for (name, crystal), codes in zip(crystals.items(), encoded, strict=True):
        if isinstance(codes, EncodingError):
            refused.append(f"{name}: {codes.reason}")
            continue
        if not len(generator.bank.donors(codes)):
            refused.append(f"{name}: no training crystal has {codes.n_species} elements")
            continue
        decoded = generator.decode([codes])[0].structure
        distances = None if decoded is None else matcher.get_rms_dist(crystal, decoded)
        records.append(
            {
                "id": PREFIX + name,
                "formula": crystal.composition.reduced_formula,
                "n_atoms": len(crystal),
                "rms": None if distances is None else float(distances[0]),
                "codes": codes.record(),
            }
        )
    if refused:
        raise UnencodableBase(
            f"{generator.name} cannot start from {len(refused)} of {len(crystals)} crystals of "
            f"propose.base.files: {'; '.join(refused)}"
        )
    return records


def take_turns(bases: Sequence[OwnBase], turn: int, left_for: str | None) -> OwnBase:
    """Return the base of an episode.

    Args:
        bases: All of the campaign.
        turn: Number of the proposer's episode, from 0.
        left_for: The base that a bandit returns to, or None to go on in turn.
    """
    for base in bases:
        if base.id == left_for:
            return base
    return bases[turn % len(bases)]
