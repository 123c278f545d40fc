"""Drawing until conditions hold that the codes alone cannot promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from model.codes import CrystalCodes
from model.data.canonical import Crystal, structure_from_arrays
from model.data.geometry import cell_matrix, minimum_image_distances
from model.generator import Generator
from model.prior.code_prior import CodePrior
from model.prior.conditions import Conditions
from model.prior.settings import Temperatures

MIN_DISTANCE = 0.5  # Å, of the published structural validity
_LARGEST_BATCH = 2048


@dataclass(frozen=True)
class TargetedDraws:
    """What came of drawing under conditions.

    Attributes:
        codes: the crystals kept, in the order drawn.
        crystals: what they decode to.
        log_likelihood: (n,) nats of the codes under the prior without conditions.
        drawn: how many were drawn in all.
        rejected: reason → how many were left out: "composition" (decoded to other atoms than
            the codes say), "overlap", or the name of a property window.
    """

    codes: list[CrystalCodes]
    crystals: list[Crystal]
    log_likelihood: Tensor
    drawn: int
    rejected: dict[str, int] = field(default_factory=dict)


def draw(
    generator: Generator,
    prior: CodePrior,
    n: int,
    *,
    seed: int,
    temperature: float | Temperatures = 1.0,
    conditions: Conditions | None = None,
    reject_overlaps: bool = False,
    max_draws: int | None = None,
) -> TargetedDraws:
    """Draw crystals, leaving out those that break what was asked.

    Without conditions and `reject_overlaps` nothing is left out: n draws, n crystals. With
    them, at most `max_draws` are drawn, so fewer than n may come back: `drawn` and `rejected`
    say how that happened.

    Args:
        generator: decodes, and its head judges property windows.
        prior: of this generator.
        n: how many crystals.
        seed: of all draws.
        temperature: see `CodePrior.sample`.
        conditions: what the crystals must be.
        reject_overlaps: leave out crystals with atoms closer than 0.5 Å or without a cell.
        max_draws: by default 20 n with property windows, else 4 n.

    Raises:
        ImpossibleConditions: if nothing can meet the conditions.
        ValueError: if the head does not predict a property of a window.
    """
    asked = conditions or Conditions()
    unknown = sorted(set(asked.windows) - set(generator.head.targets))
    if unknown:
        raise ValueError(
            f"{generator.name} has no property {', '.join(unknown)}: its head predicts "
            f"{', '.join(generator.head.targets)}"
        )
    free = asked == Conditions() and not reject_overlaps
    limit = n if free else max_draws or n * (20 if asked.windows else 4)
    seeds = np.random.SeedSequence(seed)
    codes: list[CrystalCodes] = []
    crystals: list[Crystal] = []
    rejected: dict[str, int] = {}
    drawn = 0
    while len(codes) < n and drawn < limit:
        size = min(limit - drawn, max(n - len(codes), n if drawn else 0), _LARGEST_BATCH)
        own = int(seeds.spawn(1)[0].generate_state(1)[0])
        new = prior.sample(size, seed=own, temperature=temperature, conditions=conditions)
        decoded = generator.decode_crystals(new)
        drawn += size
        kept = np.ones(size, dtype=bool)
        for reason, passes in _judged(generator, prior, asked, new, decoded, reject_overlaps):
            if (fails := kept & ~passes).any():
                rejected[reason] = rejected.get(reason, 0) + int(fails.sum())
            kept &= passes
        for i in np.flatnonzero(kept)[: n - len(codes)]:
            codes.append(new[i])
            crystals.append(decoded[i])
    return TargetedDraws(codes, crystals, prior.log_likelihood(codes), drawn, rejected)


def overlapping(crystal: Crystal) -> bool:
    """Return whether a crystal has no cell or atoms closer than 0.5 Å, images included."""
    if structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)[1] is not None:
        return True
    matrix = cell_matrix(torch.from_numpy(crystal.cell)[None])
    distances = minimum_image_distances(torch.from_numpy(crystal.frac)[None], matrix)
    return bool(distances.min() <= MIN_DISTANCE)


def _judged(
    generator: Generator,
    prior: CodePrior,
    asked: Conditions,
    codes: Sequence[CrystalCodes],
    crystals: Sequence[Crystal],
    reject_overlaps: bool,
) -> list[tuple[str, np.ndarray]]:
    """Return each reason to leave crystals out with (n,) bool, True where it is no reason."""
    result = []
    elements = asked.model_copy(update={"windows": {}})
    if elements != Conditions():
        said = [_said(prior, c) for c in codes]
        same = [sorted(x.numbers.tolist()) == s for x, s in zip(crystals, said)]
        result.append(("composition", np.array(same)))
    if reject_overlaps:
        result.append(("overlap", np.array([not overlapping(x) for x in crystals])))
    if asked.windows:
        predicted = generator.head.predict(generator.features(codes))
        for target, (low, high) in asked.windows.items():
            mean = predicted[target][0].numpy()
            result.append((target, (mean >= low) & (mean <= high)))
    return result


def _said(prior: CodePrior, codes: CrystalCodes) -> list[int]:
    """Return the sorted atomic numbers that the codes stand for."""
    slots = prior.tables.role_slot[codes.n_species - 1].tolist()
    return sorted(prior.element_of(codes.species[slots[atom[0]]]) for atom in codes.local)
