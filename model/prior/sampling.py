"""Drawing codes from the network, item by item, in batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.prior.arrays import CodeArrays
from model.prior.compositions import Compositions, draw_species
from model.prior.crowding import bins, nearest_earlier
from model.prior.draws import Draws, Walk
from model.prior.network import PriorNetwork
from model.prior.settings import Temperatures
from model.prior.tables import LOCAL_CODES

_CHUNK = 512


def draw_crystals(
    network: PriorNetwork,
    compositions: Compositions,
    temperatures: Temperatures,
    random: torch.Generator,
) -> tuple[CodeArrays, Tensor]:
    """Draw atoms and crystal tokens for compositions, chemistry first.

    Returns:
        B crystals, and (B,) the log probability of all draws, those of the compositions included.
    """
    n_atoms = compositions.counts.sum(1)
    order = n_atoms.argsort(stable=True)
    size = int(n_atoms.max())
    local = torch.zeros(len(order), size, LOCAL_CODES, dtype=torch.int64)
    slots = torch.zeros(len(order), size, dtype=torch.int64)
    crystal = torch.zeros(len(order), network.n_levels, dtype=torch.int64)
    log_p = compositions.log_p.clone()
    for rows in order.split(_CHUNK):
        part = compositions.select(rows)
        draws = Draws(len(rows), random)
        found = _atoms_and_crystal(network, part, draws, temperatures)
        n = found[0].shape[1]
        local[rows, :n], slots[rows, :n], crystal[rows] = found
        log_p[rows] += draws.log_p
    arrays = CodeArrays(
        n_species=compositions.n_species,
        counts=compositions.counts,
        tokens=compositions.tokens,
        elements=compositions.elements,
        slots=slots,
        local=local,
        crystal=crystal,
    )
    return arrays, log_p


def _atoms_and_crystal(
    network: PriorNetwork, part: Compositions, draws: Draws, temperatures: Temperatures
) -> tuple[Tensor, Tensor, Tensor]:
    """Return local codes (B, N, 4), slots (B, N) and crystal tokens of one chunk."""
    batch = len(part.n_species)
    present = torch.arange(part.counts.shape[1]) < part.n_species[:, None]
    species = network.species_embedded(part.elements, part.tokens)
    shifted = torch.cat([torch.zeros_like(species[:, :1]), species[:, :-1]], 1)
    inputs = [
        network.size_input(batch, 0),
        network.count_input(part.n_species, part.counts, 0),
        network.species_input(part.n_species, part.counts, shifted, 0),
    ]
    walk = Walk(network, batch)
    always = torch.ones(batch, 1, dtype=torch.bool)
    walk.step(torch.cat(inputs, 1), torch.cat([always, present, present], 1))
    n_atoms = part.counts.sum(1)
    size = int(n_atoms.max())
    ends = part.counts.cumsum(1)
    slots = (torch.arange(size)[None, :, None] >= ends[:, None]).sum(-1)
    slots = slots.clamp(max=part.counts.shape[1] - 1) * (torch.arange(size) < n_atoms[:, None])
    last_species = species[torch.arange(batch), part.n_species - 1]
    local = torch.zeros(batch, size, LOCAL_CODES, dtype=torch.int64)
    before, last_atom = last_species, torch.zeros_like(last_species)
    memory = network.atom_head.start(batch)
    for i in range(size):
        keep = i < n_atoms
        x = network.atom_input(
            slots[:, : i + 1],
            part.counts,
            before[:, None].expand(-1, i + 1, -1),
            species,
            0,
        )[:, -1:]
        hidden = walk.step(x, keep[:, None])
        known = torch.zeros_like(hidden)
        for k in range(LOCAL_CODES):
            out = network.atom_head(hidden + network.atom_head.step[k] + known, None, memory)
            if k == 0:
                logits = network.role_logits(out, part.n_species, slots[:, i : i + 1])
            else:
                last = k == LOCAL_CODES - 1
                nearest = _nearest(network, local, slots, i) if last else None
                logits = network.axis_logits(out, k - 1, None if nearest is None else bins(nearest))
                if nearest is not None and temperatures.spacing > 0:
                    logits = _spaced(logits, nearest, temperatures.spacing)
            local[:, i, k] = draws.draw(
                logits[:, 0], temperatures.geometry, keep, floor=temperatures.floor
            )
            known = known + network.local_embedded(k, local[:, i, k])[:, None]
        before = known[:, 0]
        last_atom = torch.where(keep[:, None], before, last_atom)
        new = network.atom_head.remember(hidden + known)
        memory = (torch.cat([memory[0], new[0]], 2), torch.cat([memory[1], new[1]], 2))
    crystal = _crystal(network, walk, draws, n_atoms, last_species + last_atom, 0, temperatures)
    return local, slots, crystal


def _nearest(network: PriorNetwork, local: Tensor, slots: Tensor, i: int) -> Tensor:
    """Return squared distances (B, 1, A, 2) to earlier atoms by last axis code of atom i."""
    first = max(i, 1)  # the first atom has none before it, but the arrays need a place
    own = slots[:, i : i + 1, None] == slots[:, None, :first]
    before = torch.full((1, 1, first), i > 0)
    places = local[:, :first, 1:]
    return nearest_earlier(network.gaps, places, local[:, i : i + 1, 1:3], own, before)


def _spaced(logits: Tensor, nearest: Tensor, spacing: float) -> Tensor:
    """Forbid codes nearer than `spacing` to an earlier atom, unless that would forbid all."""
    near = nearest.amin(-1) < spacing**2
    near = near & ~near.all(-1, keepdim=True)
    return logits.masked_fill(near, -math.inf)


def _crystal(
    network: PriorNetwork,
    walk: Walk,
    draws: Draws,
    n_atoms: Tensor,
    before: Tensor,
    order: int,
    temperatures: Temperatures,
) -> Tensor:
    """Draw the crystal tokens (B, levels)."""
    always = torch.ones(len(n_atoms), 1, dtype=torch.bool)
    hidden = walk.step(network.crystal_input(n_atoms, before, order), always)[:, 0]
    known: Tensor | None = None
    levels = []
    for level in range(network.n_levels):
        logits = network.crystal_logits(hidden, level, known)
        levels.append(draws.draw(logits, temperatures.crystal, always[:, 0]))
        embedded = network.level[level][levels[-1]]
        known = embedded if known is None else known + embedded
    return torch.stack(levels, 1)


def draw_globals(
    network: PriorNetwork,
    base: CodeArrays,
    temperatures: Temperatures,
    random: torch.Generator,
) -> tuple[CodeArrays, Tensor]:
    """Draw species tokens and crystal token for fixed skeletons and atoms, geometry first.

    Returns:
        B crystals with the atoms of `base`, and (B,) the log probability of the draws.
    """
    batch = len(base)
    local = [network.local_embedded(k, base.local[..., k]) for k in range(LOCAL_CODES)]
    atoms = torch.stack(local).sum(0)
    shifted = torch.cat([torch.zeros_like(atoms[:, :1]), atoms[:, :-1]], 1)
    inputs = [
        network.size_input(batch, 1),
        network.count_input(base.n_species, base.counts, 1),
        network.atom_input(base.slots, base.counts, shifted, None, 1),
    ]
    always = torch.ones(batch, 1, dtype=torch.bool)
    walk, draws = Walk(network, batch), Draws(batch, random)
    walk.step(torch.cat(inputs, 1), torch.cat([always, base.present, base.mask], 1))
    last_atom = atoms[torch.arange(batch), base.n_atoms - 1]
    elements, tokens = draw_species(
        network, walk, draws, base.n_species, base.counts, temperatures, last_atom=last_atom
    )
    species = network.species_embedded(elements, tokens)
    last = last_atom + species[torch.arange(batch), base.n_species - 1]
    crystal = _crystal(network, walk, draws, base.n_atoms, last, 1, temperatures)
    arrays = CodeArrays(
        n_species=base.n_species,
        counts=base.counts,
        tokens=tokens,
        elements=elements,
        slots=base.slots,
        local=base.local,
        crystal=crystal,
    )
    return arrays, draws.log_p
