"""Cheap priors to compare with: donors from the bank, and marginals code by code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.bank import CodeBank
from model.codes import CrystalCodes
from model.prior.arrays import CodeArrays
from model.prior.tables import LOCAL_CODES, SPECIES_LEVELS, NetworkTables

_SMOOTHING = 0.1  # pseudo-count of every value


class DonorPrior:
    """Whole training crystals, and global genes of training crystals on other atoms."""

    def __init__(self, bank: CodeBank) -> None:
        """Take the donors from the "train" rows of a bank."""
        self.bank = bank

    def sample(self, n: int, *, seed: int) -> list[CrystalCodes]:
        """Draw training crystals with replacement: nothing new, but nothing wrong either."""
        random = torch.Generator().manual_seed(seed)
        rows = self.bank.rows("train")
        drawn = torch.randint(len(rows), (n,), generator=random).tolist()
        return [self.bank.codes(int(rows[i])) for i in drawn]

    def sample_global(self, base: CrystalCodes, n: int, *, seed: int) -> list[CrystalCodes]:
        """Put the global genes of random donors on the local codes of `base`.

        Raises:
            ValueError: if no training crystal has as many species.
        """
        random = torch.Generator().manual_seed(seed)
        rows = self.bank.donors(base)
        if not len(rows):
            raise ValueError(f"no training crystal has {base.n_species} species")
        drawn = torch.randint(len(rows), (n,), generator=random).tolist()
        return [base.with_global_genes(self.bank.codes(int(rows[i])).global_genes) for i in drawn]


class MarginalPrior:
    """Each code on its own: tokens by slot, roles by slot, axes by role, crystal by level."""

    def __init__(self, tables: NetworkTables, log_p: dict[str, Tensor]) -> None:
        """Wrap fitted tables; use `fit`."""
        self.tables, self.log_p = tables, log_p

    @classmethod
    def fit(cls, bank: CodeBank, tables: NetworkTables) -> MarginalPrior:
        """Count the codes of the "train" rows of a bank."""
        codes = [bank.codes(int(i)) for i in bank.rows("train")]
        arrays = CodeArrays.from_codes(codes, tables)
        slots, tokens = tables.max_species, len(tables.token_element)
        roles, axes = tables.role_slot.shape[1], len(tables.axis_coordinate)
        present, mask = arrays.present, arrays.mask
        slot = torch.arange(arrays.counts.shape[1]).expand_as(arrays.counts)[present]
        token, role = arrays.tokens[present], arrays.local[mask][:, 0]
        size = arrays.n_species[:, None].expand_as(arrays.counts)[present]
        counts = {
            "size": _counted((slots + 1,), arrays.n_species),
            "count": _counted(
                (slots + 1, slots, int(tables.max_atoms) + 1), size, slot, arrays.counts[present]
            ),
            "role": _counted((slots, roles), arrays.slots[mask], role),
        }
        for level in range(SPECIES_LEVELS):
            counts[f"token{level}"] = _counted((slots, tokens), slot, token[:, level])
        for axis in range(1, LOCAL_CODES):
            counts[f"axis{axis}"] = _counted((roles, axes), role, arrays.local[mask][:, axis])
        for level in range(int(tables.crystal_levels)):
            counts[f"crystal{level}"] = _counted(
                (int(tables.crystal_codes),), arrays.crystal[:, level]
            )
        log_p = {name: (c / c.sum(-1, keepdim=True)).log() for name, c in counts.items()}
        return cls(tables, log_p)

    def log_likelihood(self, codes: Sequence[CrystalCodes]) -> Tensor:
        """Return the log likelihood (B,) in nats."""
        arrays = CodeArrays.from_codes(codes, self.tables)
        p, present, mask = self.log_p, arrays.present, arrays.mask
        slot = torch.arange(arrays.counts.shape[1]).expand_as(arrays.counts)
        size = arrays.n_species[:, None].expand_as(arrays.counts)
        role = arrays.local[..., 0]
        total = p["size"][arrays.n_species]
        total = total + (p["count"][size, slot, arrays.counts] * present).sum(1)
        total = total + (p["role"][arrays.slots, role] * mask).sum(1)
        for level in range(SPECIES_LEVELS):
            of_token = p[f"token{level}"][slot, arrays.tokens[..., level]]
            total = total + (of_token * present).sum(1)
        for axis in range(1, LOCAL_CODES):
            total = total + (p[f"axis{axis}"][role, arrays.local[..., axis]] * mask).sum(1)
        for level in range(int(self.tables.crystal_levels)):
            total = total + p[f"crystal{level}"][arrays.crystal[:, level]]
        return total

    def sample_global(self, base: CrystalCodes, n: int, *, seed: int) -> list[CrystalCodes]:
        """Draw every global gene from its marginal, on the local codes of `base`."""
        random = torch.Generator().manual_seed(seed)
        columns = [
            self._draw(f"token{level}", n, random, slot)
            for slot in range(base.n_species)
            for level in range(self.tables.species_levels)
        ]
        columns += [self._draw(f"crystal{level}", n, random) for level in range(len(base.crystal))]
        return [base.with_global_genes(genes) for genes in torch.stack(columns, 1).tolist()]

    def sample(self, n: int, *, seed: int) -> list[CrystalCodes]:
        """Draw crystals code by code; atoms of a species in no order."""
        random = torch.Generator().manual_seed(seed)
        result = []
        for n_species in self._draw("size", n, random).tolist():
            counts = self._counts(n_species, random)
            roles = [
                int(self._draw("role", 1, random, slot))
                for slot, count in enumerate(counts)
                for _ in range(count)
            ]
            local = tuple(
                (role, *(int(self._draw(f"axis{k}", 1, random, role)) for k in (1, 2, 3)))
                for role in roles
            )
            empty = CrystalCodes(
                species=((0,) * self.tables.species_levels,) * n_species,
                crystal=(0,) * int(self.tables.crystal_levels),
                local=local,
            )
            result.append(self.sample_global(empty, 1, seed=int(_integer(random)))[0])
        return result

    def _counts(self, n_species: int, random: torch.Generator) -> list[int]:
        """Draw the atoms of each slot until they fit into the largest cell."""
        while True:
            counts = [
                int(
                    torch.multinomial(
                        self.log_p["count"][n_species, slot].exp(), 1, generator=random
                    )
                )
                for slot in range(n_species)
            ]
            if min(counts) > 0 and sum(counts) <= int(self.tables.max_atoms):
                return counts

    def _draw(self, name: str, n: int, random: torch.Generator, *row: int) -> Tensor:
        """Draw n values of a marginal (its row, where it has rows)."""
        p = self.log_p[name][row].exp() if row else self.log_p[name].exp()
        if name == "role":
            fits = self.tables.role_slot[-1] == row[0]
            p = torch.where(fits, p, 0.0)
        if name == "size":
            p = p * (torch.arange(len(p)) > 0)
        return torch.multinomial(p, n, replacement=True, generator=random)


def _integer(random: torch.Generator) -> Tensor:
    """Draw a seed."""
    return torch.randint(1 << 31, (1,), generator=random)


def _counted(shape: tuple[int, ...], *index: Tensor) -> Tensor:
    """Count how often each index tuple occurs, plus the pseudo-count."""
    counts = torch.full(shape, _SMOOTHING)
    counts.index_put_(tuple(index), torch.ones(len(index[0])), accumulate=True)
    return counts
