"""Exact likelihoods of known codes, all items in parallel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.prior.arrays import CodeArrays
from model.prior.crowding import bins, nearest_earlier
from model.prior.network import PriorNetwork
from model.prior.neutrality import verdicts
from model.prior.tables import LOCAL_CODES

PARTS = ("skeleton", "species", "atoms", "crystal")


@dataclass(frozen=True)
class Reading:
    """Hidden states at every item of B crystals whose codes are known.

    Attributes:
        size: (B, width).
        counts: (B, S, width).
        species: (B, S, width).
        atoms: (B, N, width).
        crystal: (B, width).
        codes_of_atoms: four tensors (B, N, width), the embedded codes of the atoms.
    """

    size: Tensor
    counts: Tensor
    species: Tensor
    atoms: Tensor
    crystal: Tensor
    codes_of_atoms: list[Tensor]


def read(network: PriorNetwork, codes: CodeArrays, *, geometry_first: bool = False) -> Reading:
    """Run the trunk over known codes, all positions at once.

    Args:
        network: with its weights.
        codes: B crystals.
        geometry_first: atoms before species tokens, else after them.
    """
    order = int(geometry_first)
    batch, slots_max = codes.counts.shape
    atoms_max = codes.slots.shape[1]
    species = network.species_embedded(codes.elements, codes.tokens)
    steps = [network.local_embedded(k, codes.local[..., k]) for k in range(LOCAL_CODES)]
    atoms = torch.stack(steps).sum(0)
    last_species = _at(species, codes.n_species - 1)
    last_atom = _at(atoms, codes.n_atoms - 1)
    nothing = torch.zeros_like(last_atom)
    species_in = network.species_input(
        codes.n_species, codes.counts, _shifted(species, last_atom if order else nothing), order
    )
    atoms_in = network.atom_input(
        codes.slots,
        codes.counts,
        _shifted(atoms, nothing if order else last_species),
        None if order else species,
        order,
    )
    inputs = [
        network.size_input(batch, order),
        network.count_input(codes.n_species, codes.counts, order),
        *((atoms_in, species_in) if order else (species_in, atoms_in)),
        network.crystal_input(codes.n_atoms, last_species + last_atom, order),
    ]
    always = torch.ones(batch, 1, dtype=torch.bool)
    middle = (codes.mask, codes.present) if order else (codes.present, codes.mask)
    valid = torch.cat([always, codes.present, *middle, always], 1)
    causal = torch.ones(valid.shape[1], valid.shape[1], dtype=torch.bool).tril()
    hidden, _ = network.trunk(torch.cat(inputs, 1), (causal & valid[:, None])[:, None])
    lengths = [1, slots_max, *((atoms_max, slots_max) if order else (slots_max, atoms_max)), 1]
    size, counts, *two, crystal = hidden.split(lengths, 1)
    at_atoms, at_species = two if order else reversed(two)
    return Reading(
        size=size[:, 0],
        counts=counts,
        species=at_species,
        atoms=at_atoms,
        crystal=crystal[:, 0],
        codes_of_atoms=steps,
    )


def log_likelihood_parts(
    network: PriorNetwork, codes: CodeArrays, *, geometry_first: bool = False
) -> dict[str, Tensor]:
    """Return the log likelihood (nats) of each part of crystals, given the parts before it.

    Args:
        network: with its weights.
        codes: B crystals.
        geometry_first: atoms before species tokens, else after them.

    Returns:
        "skeleton", "species", "atoms", "crystal" → (B,); -inf in "skeleton" where a species token
        has no atom, which no sequence can say.
    """
    reading = read(network, codes, geometry_first=geometry_first)
    return {
        "skeleton": _skeleton(network, codes, reading),
        "species": species_terms(network, codes, reading).sum(1),
        "atoms": _atoms(network, codes, reading),
        "crystal": crystal_log_p(network, codes.crystal, reading.crystal),
    }


def _skeleton(network: PriorNetwork, codes: CodeArrays, reading: Reading) -> Tensor:
    """Return (B,) nats of the number of species and the counts."""
    used = codes.counts.cumsum(1) - codes.counts
    slots_left = codes.n_species[:, None] - 1 - torch.arange(codes.counts.shape[1])
    of_counts = network.count_logits(reading.counts, used, slots_left)
    return _gathered(network.size_logits(reading.size), codes.n_species) + (
        _gathered(of_counts, codes.counts, codes.present).sum(1)
    )


def species_terms(network: PriorNetwork, codes: CodeArrays, reading: Reading) -> Tensor:
    """Return (B, S) nats of each species token, element included."""
    elements, tokens, present = codes.elements, codes.tokens, codes.present
    hidden = reading.species
    first = network.token_logits(hidden, elements)
    second = network.token_logits(hidden, elements, tokens[..., 0])
    neutral = verdicts(network.oxidation_states, elements, codes.counts, codes.n_species)
    return (
        _gathered(network.element_logits(hidden, neutral), elements, present)
        + _gathered(first, tokens[..., 0], present)
        + _gathered(second, tokens[..., 1], present)
    )


def _atoms(network: PriorNetwork, codes: CodeArrays, reading: Reading) -> Tensor:
    """Return (B,) nats of the local codes."""
    head, hidden, steps = network.atom_head, reading.atoms, reading.codes_of_atoms
    batch, n = codes.slots.shape
    known = torch.zeros_like(hidden)
    queries = []
    for k in range(LOCAL_CODES):
        queries.append(hidden + head.step[k] + known)
        known = known + steps[k]
    pairs = zip(head.start(batch), head.remember(hidden + known))
    keys, values = (torch.cat(pair, 2) for pair in pairs)
    # The place holder stands first, so atom i sees entries 0 to i: it and the atoms before.
    causal = torch.ones(n, n + 1, dtype=torch.bool).tril().repeat(LOCAL_CODES, 1)
    out = head(torch.cat(queries, 1), causal[None, None], (keys, values))
    total = hidden.new_zeros(batch, n, dtype=torch.float32)
    earlier = torch.ones(n, n, dtype=torch.bool).tril(-1)
    own = codes.slots[:, :, None] == codes.slots[:, None]
    places = codes.local[..., 1:]
    crowd = bins(nearest_earlier(network.gaps, places, places[..., :2], own, earlier))
    for k, part in enumerate(out.split(n, 1)):
        if k == 0:
            logits = network.role_logits(part, codes.n_species, codes.slots)
        else:
            logits = network.axis_logits(part, k - 1, crowd if k == LOCAL_CODES - 1 else None)
        total = total + _gathered(logits, codes.local[..., k], codes.mask)
    return total.sum(1)


def crystal_log_p(network: PriorNetwork, crystal: Tensor, hidden: Tensor, start: int = 0) -> Tensor:
    """Return (...) nats of crystal tokens (..., levels) from level `start` on.

    Args:
        network: with its weights.
        crystal: (..., levels).
        hidden: (..., width) at the crystal token.
        start: levels before it are given.
    """
    total = hidden.new_zeros(hidden.shape[:-1], dtype=torch.float32)
    known: Tensor | None = None
    for level in range(network.n_levels):
        value = crystal[..., level]
        if level >= start:
            total = total + _gathered(network.crystal_logits(hidden, level, known), value)
        embedded = network.level[level][value]
        known = embedded if known is None else known + embedded
    return total


def _at(values: Tensor, index: Tensor) -> Tensor:
    """Pick one position of each row: (B, T, d), (B,) → (B, d)."""
    return values[torch.arange(len(values)), index]


def _shifted(values: Tensor, first: Tensor) -> Tensor:
    """Return the value before each position: (B, T, d), (B, d) → (B, T, d)."""
    return torch.cat([first[:, None], values[:, :-1]], 1)


def _gathered(logits: Tensor, values: Tensor, keep: Tensor | None = None) -> Tensor:
    """Return log probabilities of values (...), zero where not kept."""
    if keep is not None:
        # Padding may stand where every value is forbidden: log-softmax of that has no gradient.
        logits = logits.masked_fill(~keep[..., None], 0.0)
    log_p = logits.log_softmax(-1).gather(-1, values[..., None])[..., 0]
    return log_p if keep is None else log_p * keep
