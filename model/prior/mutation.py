"""Drawing single global genes again, given all other codes of a crystal."""

from __future__ import annotations

import torch
from torch import Tensor

from model.prior.arrays import CodeArrays
from model.prior.draws import tempered
from model.prior.likelihood import crystal_log_p, read, species_terms
from model.prior.network import PriorNetwork
from model.prior.neutrality import verdicts

PROPOSALS = 32  # tokens proposed for each one drawn


def redraw_tokens(
    network: PriorNetwork,
    codes: CodeArrays,
    slots: Tensor,
    *,
    temperature: float,
    random: torch.Generator,
    proposals: int = PROPOSALS,
) -> CodeArrays:
    """Draw one species token of each crystal from its conditional given everything else.

    Tokens are proposed given the atoms and the species before them, then one is drawn by how well
    the later species and the crystal token go with it (sampling-importance-resampling, exact as
    `proposals` grows): there are too many tokens to score all of them.

    Args:
        network: with its weights.
        codes: B crystals.
        slots: (B,) species slot to draw again.
        temperature: 1 for the prior's own conditional.
        random: source of the draws.
        proposals: tokens proposed for each one drawn.

    Returns:
        The same crystals with other tokens.
    """
    batch = len(codes)
    rows = torch.arange(batch)
    hidden = read(network, codes, geometry_first=True).species[rows, slots]
    hidden = hidden.repeat_interleave(proposals, 0)
    neutral = verdicts(network.oxidation_states, codes.elements, codes.counts, codes.n_species)
    neutral = neutral[rows, slots].repeat_interleave(proposals, 0)
    of_elements = tempered(network.element_logits(hidden, neutral), temperature)
    element = torch.multinomial(of_elements.exp(), 1, generator=random)[:, 0]
    of_first = tempered(network.token_logits(hidden, element), temperature)
    first = torch.multinomial(of_first.exp(), 1, generator=random)[:, 0]
    of_second = tempered(network.token_logits(hidden, element, first), temperature)
    second = torch.multinomial(of_second.exp(), 1, generator=random)[:, 0]
    many = codes.select(rows.repeat_interleave(proposals))
    every, slot = torch.arange(len(many)), slots.repeat_interleave(proposals)
    tokens, elements = many.tokens.clone(), many.elements.clone()
    tokens[every, slot] = torch.stack([first, second], -1)
    elements[every, slot] = element
    many = many.with_species(tokens, elements)
    reading = read(network, many, geometry_first=True)
    terms = species_terms(network, many, reading)
    later = torch.arange(terms.shape[1]) > slot[:, None]
    weight = (terms * later).sum(1) + crystal_log_p(network, many.crystal, reading.crystal)
    log_w = tempered(weight.view(batch, proposals), temperature)
    chosen = torch.multinomial(log_w.exp(), 1, generator=random)[:, 0] + rows * proposals
    return codes.with_species(tokens[chosen], elements[chosen])


def redraw_levels(
    network: PriorNetwork,
    codes: CodeArrays,
    levels: Tensor,
    *,
    temperature: float,
    random: torch.Generator,
) -> CodeArrays:
    """Draw one level of each crystal token from its exact conditional given everything else.

    Args:
        network: with its weights.
        codes: B crystals.
        levels: (B,) level to draw again.
        temperature: 1 for the prior's own conditional.
        random: source of the draws.

    Returns:
        The same crystals with other crystal tokens.
    """
    hidden = read(network, codes, geometry_first=True).crystal
    crystal = codes.crystal.clone()
    for level in sorted(set(levels.tolist())):
        rows = (levels == level).nonzero()[:, 0]
        size = network.level.shape[1]
        candidates = codes.crystal[rows][:, None].repeat(1, size, 1)
        candidates[..., level] = torch.arange(size)
        wide = hidden[rows][:, None].expand(-1, size, -1)
        score = crystal_log_p(network, candidates, wide, start=level)
        value = torch.multinomial(tempered(score, temperature).exp(), 1, generator=random)[:, 0]
        crystal[rows, level] = value
    return codes.with_crystal(crystal)
