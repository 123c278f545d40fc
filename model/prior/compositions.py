"""Drawing compositions: how many species, how many atoms of each, which elements and tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.prior.conditions import Constraint, ImpossibleConditions
from model.prior.draws import Draws, Walk
from model.prior.network import PriorNetwork
from model.prior.neutrality import balance
from model.prior.settings import Temperatures
from model.prior.tables import SPECIES_LEVELS

_CHUNK = 512
_POOL, _SMALLEST_POOL = 8, 128  # compositions drawn for each one kept, where they are constrained


@dataclass(frozen=True)
class Compositions:
    """Skeletons and species tokens of B crystals.

    Attributes:
        n_species: (B,).
        counts: (B, S).
        elements: (B, S).
        tokens: (B, S, 2).
        log_p: (B,) log probability of all draws, as tempered and constrained.
    """

    n_species: Tensor
    counts: Tensor
    elements: Tensor
    tokens: Tensor
    log_p: Tensor

    def select(self, rows: Tensor) -> Compositions:
        """Return some of them."""
        fields = (self.n_species, self.counts, self.elements, self.tokens, self.log_p)
        return Compositions(*(value[rows] for value in fields))


def draw_compositions(
    network: PriorNetwork,
    n: int,
    constraint: Constraint | None,
    temperatures: Temperatures,
    random: torch.Generator,
) -> Compositions:
    """Draw skeletons and species tokens, chemistry first.

    With a constraint, a pool is drawn with everything else masked out, and the result is drawn
    from the pool by the probability the masks left (sampling-importance-resampling): masks alone
    would favour beginnings that hardly ever can be completed.

    Raises:
        ImpossibleConditions: if no draw of the pool can meet the constraint.
    """
    if constraint is None or constraint.determined:
        return _compositions(network, n, constraint, temperatures, random)[0]
    size = max(_POOL * n, _SMALLEST_POOL)
    pool, log_mass = _compositions(network, size, constraint, temperatures, random)
    if not (log_mass > -math.inf).any():
        raise ImpossibleConditions("no composition that the prior can draw meets the conditions")
    weights = log_mass.double().softmax(0)
    # Systematic resampling: the pool's best are not lost to chance.
    points = (torch.arange(n) + torch.rand(1, generator=random)) / n
    rows = torch.searchsorted(weights.cumsum(0), points.double()).clamp(max=size - 1)
    return pool.select(rows[torch.randperm(n, generator=random)])


def _compositions(
    network: PriorNetwork,
    n: int,
    constraint: Constraint | None,
    temperatures: Temperatures,
    random: torch.Generator,
) -> tuple[Compositions, Tensor]:
    """Draw n compositions and the log of the probability their constraint left."""
    parts, masses = [], []
    for start in range(0, n, _CHUNK):
        batch = min(_CHUNK, n - start)
        draws = Draws(batch, random)
        walk = Walk(network, batch)
        n_species, counts = _skeletons(network, walk, draws, constraint, temperatures)
        elements, tokens = draw_species(
            network, walk, draws, n_species, counts, temperatures, constraint=constraint
        )
        parts.append(Compositions(n_species, counts, elements, tokens, draws.log_p))
        masses.append(draws.log_mass)
    joined = zip(*((p.n_species, p.counts, p.elements, p.tokens, p.log_p) for p in parts))
    return Compositions(*(torch.cat(values) for values in joined)), torch.cat(masses)


def draw_tokens(
    network: PriorNetwork,
    n_species: Tensor,
    counts: Tensor,
    elements: Tensor,
    temperatures: Temperatures,
    random: torch.Generator,
) -> Compositions:
    """Draw species tokens for given skeletons and elements, chemistry first.

    Args:
        network: with its weights.
        n_species: (B,).
        counts: (B, S).
        elements: (B, S), in the order of species.
        temperatures: see `Temperatures`.
        random: source of the draws.
    """
    parts = []
    for rows in torch.arange(len(n_species)).split(_CHUNK):
        size, count = n_species[rows], counts[rows]
        draws, walk = Draws(len(rows), random), Walk(network, len(rows))
        present = torch.arange(count.shape[1]) < size[:, None]
        inputs = [network.size_input(len(rows), 0), network.count_input(size, count, 0)]
        always = torch.ones(len(rows), 1, dtype=torch.bool)
        walk.step(torch.cat(inputs, 1), torch.cat([always, present], 1))
        parts.append(
            draw_species(network, walk, draws, size, count, temperatures, given=elements[rows])[1]
        )
    tokens = torch.cat(parts)
    return Compositions(n_species, counts, elements, tokens, torch.zeros(len(n_species)))


def _skeletons(
    network: PriorNetwork,
    walk: Walk,
    draws: Draws,
    constraint: Constraint | None,
    temperatures: Temperatures,
) -> tuple[Tensor, Tensor]:
    """Draw the number of species (B,) and the counts (B, max species)."""
    batch = len(draws.log_p)
    always = torch.ones(batch, 1, dtype=torch.bool)
    hidden = walk.step(network.size_input(batch, 0), always)[:, 0]
    possible = None if constraint is None else constraint.sizes.expand(batch, -1)
    n_species = draws.draw(
        network.size_logits(hidden), temperatures.skeleton, always[:, 0], possible
    )
    counts = torch.zeros(batch, network.n_slots, dtype=torch.int64)
    for slot in range(network.n_slots):
        keep = slot < n_species
        x = network.count_input(n_species, counts[:, : slot + 1], 0)[:, -1:]
        hidden = walk.step(x, keep[:, None])[:, 0]
        used = counts.sum(1)
        logits = network.count_logits(hidden, used, n_species - 1 - slot)
        if constraint is not None:
            possible = constraint.counts(slot, n_species, counts[:, :slot])
        counts[:, slot] = draws.draw(
            logits, temperatures.skeleton, keep, possible, floor=temperatures.skeleton_floor
        )
    return n_species, counts


def draw_species(
    network: PriorNetwork,
    walk: Walk,
    draws: Draws,
    n_species: Tensor,
    counts: Tensor,
    temperatures: Temperatures,
    *,
    last_atom: Tensor | None = None,
    constraint: Constraint | None = None,
    given: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw elements (B, S), unless `given`, and tokens (B, S, 2).

    They come after the atoms where `last_atom` is given, else before them.
    """
    order = int(last_atom is not None)
    batch, slots = counts.shape
    elements = torch.zeros(batch, slots, dtype=torch.int64)
    tokens = torch.zeros(batch, slots, SPECIES_LEVELS, dtype=torch.int64)
    before = torch.zeros(batch, network.slot.shape[-1]) if last_atom is None else last_atom
    for slot in range(slots):
        keep = slot < n_species
        everywhere = before[:, None].expand(-1, slots, -1)
        x = network.species_input(n_species, counts, everywhere, order)[:, slot : slot + 1]
        hidden = walk.step(x, keep[:, None])[:, 0]
        possible = None
        if constraint is not None:
            possible = constraint.elements(slot, n_species, elements[:, :slot])
        if given is not None:
            elements[:, slot] = given[:, slot]
        else:
            neutral = _verdicts(network, elements, counts, n_species, slot)
            logits = network.element_logits(hidden, neutral)
            elements[:, slot] = draws.draw(
                logits, temperatures.elements, keep, possible, floor=temperatures.elements_floor
            )
        first = network.token_logits(hidden, elements[:, slot])
        tokens[:, slot, 0] = draws.draw(first, temperatures.tokens, keep, floor=temperatures.floor)
        second = network.token_logits(hidden, elements[:, slot], tokens[:, slot, 0])
        tokens[:, slot, 1] = draws.draw(second, temperatures.tokens, keep, floor=temperatures.floor)
        before = network.species_embedded(elements[:, slot], tokens[:, slot])
    return elements, tokens


def _verdicts(
    network: PriorNetwork, elements: Tensor, counts: Tensor, n_species: Tensor, slot: int
) -> Tensor:
    """Return the verdicts (B, 101) on the element of a slot; undecided where it is not the last."""
    result = torch.zeros(len(elements), len(network.element), dtype=torch.int64)
    last = n_species == slot + 1
    if last.any():
        result[last] = balance(
            network.oxidation_states, elements[last], counts[last], n_species[last]
        )
    return result
