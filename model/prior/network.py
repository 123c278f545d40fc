"""The autoregressive network over codes: embeddings, trunk and logits of every kind of item.

A crystal is read as a sequence of items, one position each:

    size → counts → species tokens → atoms → crystal token      (chemistry first)
    size → counts → atoms → species tokens → crystal token      (geometry first)

A position's input describes the item to come (its slot, its number among the atoms of the slot,
how many are left) and carries the value of the item before; its hidden state predicts the item's
own codes, one after the other. Both orders share all weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.prior.crowding import BINS, squared_gaps
from model.prior.layers import AtomHead, CausalBlock, CodeHead, KeyValue
from model.prior.neutrality import VERDICTS
from model.prior.settings import PriorConfig
from model.prior.tables import LOCAL_CODES, SPECIES_LEVELS, NetworkTables

SIZE, COUNT, SPECIES, ATOM, CRYSTAL = range(5)
_FREQUENCIES = (1, 2, 3, 4, 6, 8, 12, 16)
_HEAD_EXPANSION = 2
_TOO_NEAR, _REPULSION = 2, -4.0  # bins of distances no crystal has, and their first logit


class PriorNetwork(nn.Module):
    """Logits of the next code, in parallel for known codes or one at a time with memories."""

    def __init__(self, config: PriorConfig, tables: NetworkTables) -> None:
        """Create untrained weights from torch's global random numbers."""
        super().__init__()
        width = config.width
        tokens, axes = len(tables.token_element), len(tables.axis_coordinate)
        self.n_slots, self.n_sites = tables.max_species, int(tables.max_atoms)
        self.n_levels = int(tables.crystal_levels)
        for name, table in tables.tensors().items():
            self.register_buffer(name, table.clone(), persistent=False)
        angle = 2 * math.pi * tables.axis_coordinate[:, None] * torch.tensor(_FREQUENCIES)
        self.register_buffer("waves", torch.cat([angle.sin(), angle.cos()], -1), persistent=False)
        self.register_buffer("gaps", squared_gaps(tables.axis_coordinate), persistent=False)
        self.register_buffer("element_tokens", self._element_tokens(tables), persistent=False)
        self.register_buffer("possible_sizes", self._possible_sizes(tables), persistent=False)

        def codes(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, width) * 0.02)

        self.kind = codes(2, 5)
        self.slot = codes(self.n_slots)
        self.size = codes(self.n_slots + 1)
        self.count = codes(self.n_sites + 1)
        self.used = codes(self.n_sites + 1)
        self.number = codes(self.n_sites)
        self.left = codes(self.n_sites + 1)
        self.element = codes(len(tables.element_features))
        self.periodic = nn.Linear(tables.element_features.shape[1], width, bias=False)
        self.token = codes(SPECIES_LEVELS, tokens)
        self.role = codes(tables.role_slot.shape[1])
        self.axis = codes(LOCAL_CODES - 1, axes)
        self.wave = nn.Parameter(torch.randn(LOCAL_CODES - 1, 2 * len(_FREQUENCIES), width) * 0.05)
        self.level = codes(self.n_levels, int(tables.crystal_codes))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            CausalBlock(width, config.heads, config.expansion, config.dropout)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(width)
        size = _HEAD_EXPANSION, config.dropout
        self.skeleton_head = CodeHead(width, 2, *size)
        self.species_head = CodeHead(width, 1 + SPECIES_LEVELS, *size)
        self.atom_head = AtomHead(width, config.heads, LOCAL_CODES, *size)
        self.crystal_head = CodeHead(width, self.n_levels, *size)
        self.size_out, self.count_out = codes(self.n_slots + 1), codes(self.n_sites + 1)
        self.element_out = codes(len(tables.element_features))
        self.periodic_out = nn.Linear(tables.element_features.shape[1], width, bias=False)
        self.token_out = codes(SPECIES_LEVELS, tokens)
        self.role_out = codes(tables.role_slot.shape[1])
        self.axis_out = codes(LOCAL_CODES - 1, axes)
        self.wave_out = nn.Parameter(
            torch.randn(LOCAL_CODES - 1, 2 * len(_FREQUENCIES), width) * 0.02
        )
        self.neutral = nn.Linear(width, VERDICTS)
        self.near = nn.Linear(width, 2 * (len(BINS) + 1))
        nn.init.zeros_(self.near.bias)
        self.near.bias.data.view(2, -1)[:, :_TOO_NEAR] = _REPULSION
        self.level_out = codes(self.n_levels, int(tables.crystal_codes))

    role_slot: Tensor
    token_element: Tensor
    element_features: Tensor
    oxidation_states: Tensor
    waves: Tensor
    gaps: Tensor
    element_tokens: Tensor
    possible_sizes: Tensor

    @staticmethod
    def _possible_sizes(tables: NetworkTables) -> Tensor:
        """Return for how many species every slot has a role code: (S + 1,) bool."""
        slots = torch.arange(tables.max_species)
        has_role = (tables.role_slot[..., None] == slots).any(1)
        whole = (has_role | (slots > slots[:, None])).all(1)
        return torch.cat([torch.zeros(1, dtype=torch.bool), whole])

    @staticmethod
    def _element_tokens(tables: NetworkTables) -> Tensor:
        """Return which first-level codes an element has: (101, L) bool."""
        shape = (len(tables.element_features), len(tables.token_element))
        result = torch.zeros(shape, dtype=torch.bool)
        first = torch.arange(shape[1])[:, None].expand_as(tables.token_element)
        result[tables.token_element.flatten(), first.flatten()] = True
        return result

    # Values of items, as later positions see them

    def elements_embedded(self, elements: Tensor) -> Tensor:
        """Embed atomic numbers (...) → (..., width)."""
        return self.element[elements] + self.periodic(self.element_features[elements])

    def species_embedded(self, elements: Tensor, tokens: Tensor) -> Tensor:
        """Embed species (B, S), (B, S, 2) → (B, S, width)."""
        levels = [self.token[i][tokens[..., i]] for i in range(SPECIES_LEVELS)]
        return self.elements_embedded(elements) + torch.stack(levels).sum(0)

    def local_embedded(self, step: int, codes: Tensor) -> Tensor:
        """Embed the code (...) of one step (0 role, 1-3 axes) → (..., width)."""
        if step == 0:
            return self.role[codes]
        axis = step - 1
        return (self.axis[axis] + self.waves @ self.wave[axis])[codes]

    # Inputs of positions

    def size_input(self, batch: int, order: int) -> Tensor:
        """Return the first position (B, 1, width)."""
        return self.kind[order, SIZE].expand(batch, 1, -1)

    def count_input(self, n_species: Tensor, counts: Tensor, order: int) -> Tensor:
        """Return the positions of the counts (B, S, width); each sees only earlier counts."""
        used = (counts.cumsum(1) - counts).clamp(max=self.n_sites)
        before = torch.cat([torch.zeros_like(counts[:, :1]), counts[:, :-1]], 1)
        x = self.kind[order, COUNT] + self.slot[: counts.shape[1]] + self.used[used]
        return x + self.size[n_species][:, None] + self.count[before]

    def species_input(
        self, n_species: Tensor, counts: Tensor, before: Tensor, order: int
    ) -> Tensor:
        """Return the positions of the species (B, S, width).

        Args:
            n_species: (B,).
            counts: (B, S).
            before: (B, S, width) embedded item before each.
            order: 1 for geometry first.
        """
        x = self.kind[order, SPECIES] + self.slot[: counts.shape[1]] + self.count[counts]
        return x + self.size[n_species][:, None] + before

    def atom_input(
        self, slots: Tensor, counts: Tensor, before: Tensor, species: Tensor | None, order: int
    ) -> Tensor:
        """Return the positions of the atoms (B, N, width).

        Args:
            slots: (B, N) ascending.
            counts: (B, S).
            before: (B, N, width) embedded item before each.
            species: (B, S, width) embedded species, None where the geometry comes first.
            order: 1 for geometry first.
        """
        first = counts.cumsum(1) - counts
        number = (torch.arange(slots.shape[1]) - first.gather(1, slots)).clamp(0, self.n_sites - 1)
        left = (counts.gather(1, slots) - number).clamp(0, self.n_sites)
        x = self.kind[order, ATOM] + self.slot[slots] + self.number[number] + self.left[left]
        if species is not None:
            x = x + species.gather(1, slots[..., None].expand(-1, -1, species.shape[-1]))
        return x + before

    def crystal_input(self, n_atoms: Tensor, before: Tensor, order: int) -> Tensor:
        """Return the position of the crystal token (B, 1, width)."""
        return (self.kind[order, CRYSTAL] + self.used[n_atoms] + before)[:, None]

    def trunk(
        self, x: Tensor, allowed: Tensor, memories: list[KeyValue] | None = None
    ) -> tuple[Tensor, list[KeyValue]]:
        """Return the hidden states (B, Q, width) of new positions, and all memories."""
        x = self.dropout(x)
        kept = []
        for i, block in enumerate(self.blocks):
            x, memory = block(x, allowed, None if memories is None else memories[i])
            kept.append(memory)
        return self.norm(x), kept

    # Logits; what can not be is -inf

    def size_logits(self, hidden: Tensor) -> Tensor:
        """Return (..., max species + 1) logits of the number of species."""
        logits = self.skeleton_head(hidden, 0) @ self.size_out.T
        return _only(logits, self.possible_sizes)

    def count_logits(self, hidden: Tensor, used: Tensor, slots_left: Tensor) -> Tensor:
        """Return (..., max atoms + 1) logits of a count; the later slots need an atom each.

        Args:
            hidden: (..., width).
            used: (...) atoms of earlier slots.
            slots_left: (...) slots after this one.
        """
        logits = self.skeleton_head(hidden, 1) @ self.count_out.T
        counts = torch.arange(self.n_sites + 1)
        room = (self.n_sites - used - slots_left)[..., None]
        return _only(logits, (counts > 0) & (counts <= room))

    def element_logits(self, hidden: Tensor, verdicts: Tensor) -> Tensor:
        """Return (..., 101) logits of a species' element.

        Args:
            hidden: (..., width).
            verdicts: (..., 101) of `neutrality.verdicts`.
        """
        vectors = self.element_out + self.periodic_out(self.element_features)
        out = self.species_head(hidden, 0)
        logits = (out @ vectors.T).float() + self.neutral(out).float().gather(-1, verdicts)
        return _only(logits, self.element_tokens.any(-1))

    def token_logits(self, hidden: Tensor, elements: Tensor, first: Tensor | None = None) -> Tensor:
        """Return (..., L) logits of a token's next level, among the tokens of its element."""
        known = self.elements_embedded(elements)
        if first is None:
            logits = self.species_head(hidden, 1, known) @ self.token_out[0].T
            return _only(logits, self.element_tokens[elements])
        known = known + self.token[0][first]
        logits = (
            self.species_head(hidden, 2, known) @ self.token_out[1][: self.token_element.shape[1]].T
        )
        return _only(logits, self.token_element[first] == elements[..., None])

    def role_logits(self, out: Tensor, n_species: Tensor, slots: Tensor) -> Tensor:
        """Return (B, N, R) logits of roles, among those of each atom's slot.

        Args:
            out: (B, N, width) of the atom head.
            n_species: (B,).
            slots: (B, N).
        """
        fits = self.role_slot[n_species - 1][:, None] == slots[..., None]
        return _only(out @ self.role_out.T, fits)

    def axis_logits(self, out: Tensor, axis: int, crowd: Tensor | None = None) -> Tensor:
        """Return (B, N, A) logits of an axis code.

        Args:
            out: (B, N, width) of the atom head.
            axis: 0, 1 or 2.
            crowd: (B, N, A, 2) of `crowding.bins`, for the last axis.
        """
        vectors = self.axis_out[axis] + self.waves @ self.wave_out[axis]
        logits = (out @ vectors.T).float()
        if crowd is None:
            return logits
        of_own, of_others = self.near(out).float().chunk(2, -1)
        logits = logits + of_own.gather(-1, crowd[..., 0])
        return logits + of_others.gather(-1, crowd[..., 1])

    def crystal_logits(self, hidden: Tensor, level: int, known: Tensor | None) -> Tensor:
        """Return (..., K) logits of a level of the crystal token."""
        return (self.crystal_head(hidden, level, known) @ self.level_out[level].T).float()


def _only(logits: Tensor, possible: Tensor) -> Tensor:
    """Forbid what is not possible; float32."""
    return logits.float().masked_fill(~possible, -math.inf)
