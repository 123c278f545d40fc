"""What the prior knows of the network whose codes it models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.data.canonical import MAX_ATOMIC_NUMBER, Crystal, canonical
from model.networks.indices import CodeIndices
from model.prior.neutrality import oxidation_states

if TYPE_CHECKING:
    from model.bank import CodeBank
    from model.generator import Generator

SPECIES_LEVELS = 2  # most; a token of one level has 0 as its second
LOCAL_CODES = 4  # role and three axes
NO_SLOT = -1  # of a role code that stands for "no more atoms"
_CHUNK = 1024
_FEATURE_STATES = range(-4, 9)


class UnsupportedCodes(ValueError):
    """Codes of a generator that the prior has no model for."""


@dataclass(frozen=True)
class NetworkTables:
    """How codes read: slots of roles, elements of tokens, coordinates of axis codes.

    Attributes:
        role_slot: (S, R) int64, the slot that each role code takes in a crystal of s + 1 species;
            -1 where it says "no more atoms".
        token_element: (L, M) int64 atomic number of each species token (first, second level); M
            is 1 where tokens have one level.
        token_seen: (L, M) bool, tokens that a training crystal has.
        axis_coordinate: (A,) fractional coordinate that an axis code stands for.
        element_order: (101,) int64 rank of the elements by electronegativity; 0 for no element.
        element_features: (101, F) periodic table: group, period, electronegativity, radius,
            oxidation states.
        oxidation_states: (2, 101, 15) bool, common and all known states of the elements.
        crystal_codes: (1,) size of the crystal codebook.
        crystal_levels: (1,) depth of the crystal token.
        max_atoms: (1,) largest cell.
    """

    role_slot: Tensor
    token_element: Tensor
    token_seen: Tensor
    axis_coordinate: Tensor
    element_order: Tensor
    element_features: Tensor
    oxidation_states: Tensor
    crystal_codes: Tensor
    crystal_levels: Tensor
    max_atoms: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return all tables by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def max_species(self) -> int:
        """Largest number of species tokens."""
        return len(self.role_slot)

    @property
    def species_levels(self) -> int:
        """Levels of a species token, 1 or 2."""
        return 1 if self.token_element.shape[1] == 1 else SPECIES_LEVELS

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that some token of a training crystal stands for, ascending."""
        return sorted(set(self.token_element[self.token_seen].tolist()))


def network_tables(generator: Generator) -> NetworkTables:
    """Read the tables off a generator and its bank.

    Slots come from the decoder's slot head. A token's element is what the decoder makes of it in
    the bank (majority of its atoms), and where the bank does not have it, what the decoder's
    element head says of the token alone. Coordinates of axis codes are circular means over the
    decoded bank.

    Args:
        generator: with species tokens of two levels and local codes of role and three axes.

    Raises:
        UnsupportedCodes: for other codes (`architecture: vqcrystal`).
    """
    network, bank = generator.model, generator.bank
    config = network.config
    if not hasattr(network, "roles") or config.species_levels > SPECIES_LEVELS:
        raise UnsupportedCodes(
            f"the prior models species tokens of up to {SPECIES_LEVELS} levels with role and axis "
            f"codes; {generator.name} has other codes"
        )
    with torch.inference_mode():
        roles = torch.arange(config.role_codes)[:, None]
        slot = network.decoder.slot(network.roles.lookup(roles))
        role_slot = torch.stack([slot[:, : s + 1].argmax(-1) for s in range(config.max_species)])
        absent = network.decoder.presence_logits(network.roles.lookup(roles)) <= 0
        role_slot[:, absent] = NO_SLOT
        codes = config.species_codes
        second = codes if config.species_levels == SPECIES_LEVELS else 1
        tokens = torch.cartesian_prod(torch.arange(codes), torch.arange(second))
        tokens = tokens[:, : config.species_levels]
        logits = network.decoder.element_of_slot(network.species.lookup(tokens))
    known = torch.zeros(MAX_ATOMIC_NUMBER + 1, dtype=torch.bool)
    known[sorted(generator.elements)] = True
    element = logits.masked_fill(~known, -math.inf).argmax(-1).view(codes, second)
    votes, coordinate = _decoded_bank(generator, role_slot, second)
    element = torch.where(votes.sum(-1) > 0, votes.argmax(-1), element)
    return NetworkTables(
        role_slot=role_slot.clone(),
        token_element=element.clone(),
        token_seen=_seen(bank, codes, second),
        axis_coordinate=coordinate,
        element_order=element_order(),
        element_features=element_features(),
        oxidation_states=oxidation_states(),
        crystal_codes=torch.tensor([config.crystal_codes]),
        crystal_levels=torch.tensor([config.crystal_levels]),
        max_atoms=torch.tensor([generator.max_atoms]),
    )


def two_levels(token: Sequence[int]) -> tuple[int, int]:
    """Return a species token as two levels, the second 0 where it has but one."""
    return token[0], token[1] if len(token) == SPECIES_LEVELS else 0


def element_order() -> Tensor:
    """Return the rank (101,) of each element in the canonical order of species."""
    numbers = np.arange(1, MAX_ATOMIC_NUMBER + 1)
    frac = np.arange(MAX_ATOMIC_NUMBER)[:, None] / MAX_ATOMIC_NUMBER * np.ones(3)
    cell = np.array([10.0, 10, 10, 90, 90, 90])
    ordered = canonical(Crystal(numbers=numbers, frac=frac, cell=cell)).numbers
    order = torch.zeros(MAX_ATOMIC_NUMBER + 1, dtype=torch.int64)
    order[torch.from_numpy(ordered)] = torch.arange(MAX_ATOMIC_NUMBER)
    return order


def element_features() -> Tensor:
    """Return the periodic table (101, F), each column of order one; row 0 is zero."""
    from pymatgen.core import Element

    rows = [np.zeros(18 + 7 + 3 + len(_FEATURE_STATES))]
    for z in range(1, MAX_ATOMIC_NUMBER + 1):
        element = Element.from_Z(z)
        radius = element.data.get("Atomic radius")
        electronegativity = element.data.get("X")
        numbers = [
            float(value) if isinstance(value, int | float) and value == value else 0.0
            for value in (electronegativity, radius)
        ]
        states = set(element.common_oxidation_states)
        rows.append(
            np.concatenate(
                [
                    np.arange(1, 19) == element.group,
                    np.arange(1, 8) == element.row,
                    [numbers[0] - 1.7, numbers[1] - 1.4, z / 50 - 1],
                    [float(state in states) for state in _FEATURE_STATES],
                ]
            )
        )
    return torch.from_numpy(np.stack(rows)).float()


def _seen(bank: CodeBank, codes: int, second: int) -> Tensor:
    """Return which tokens the training crystals have."""
    seen = torch.zeros(codes, second, dtype=torch.bool)
    for i in bank.rows("train"):
        for token in bank.codes(int(i)).species:
            seen[two_levels(token)] = True
    return seen


def _decoded_bank(generator: Generator, role_slot: Tensor, second: int) -> tuple[Tensor, Tensor]:
    """Decode the training rows: votes of tokens for elements, and coordinates of axis codes.

    Returns:
        (L, M, 101) int32 votes, (A,) coordinates; a code nobody uses gets 0.
    """
    network, bank = generator.model, generator.bank
    config = network.config
    size, table = config.species_codes, role_slot.numpy()
    votes = np.zeros((size, second, MAX_ATOMIC_NUMBER + 1), dtype=np.int32)
    direction = np.zeros(config.axis_codes, dtype=np.complex128)
    rows = bank.rows("train")
    with torch.inference_mode():
        for start in range(0, len(rows), _CHUNK):
            codes = [bank.codes(int(i)) for i in rows[start : start + _CHUNK]]
            indices = CodeIndices.from_codes(codes, config.max_species)
            for c, (numbers, frac, _) in zip(codes, network.decode_to_arrays(indices)):
                local = np.array(c.local)
                tokens = np.array([*map(two_levels, c.species)])[
                    table[c.n_species - 1][local[:, 0]]
                ]
                np.add.at(votes, (tokens[:, 0], tokens[:, 1], numbers), 1)
                np.add.at(direction, local[:, 1:].ravel(), np.exp(2j * np.pi * frac.ravel()))
    coordinate = (np.angle(direction) / (2 * np.pi)) % 1.0
    return torch.from_numpy(votes), torch.from_numpy(coordinate).float()
