"""The prior over codes: draws, likelihoods, mutations, and the file it is kept in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.codes import CrystalCodes
from model.prior.arrays import CodeArrays
from model.prior.compositions import draw_compositions, draw_tokens
from model.prior.conditions import Conditions, Constraint
from model.prior.likelihood import PARTS, log_likelihood_parts
from model.prior.mutation import redraw_levels, redraw_tokens
from model.prior.network import PriorNetwork
from model.prior.sampling import draw_crystals, draw_globals
from model.prior.settings import PriorConfig, Temperatures
from model.prior.storage import CorruptPrior, pack, unpack
from model.prior.tables import NetworkTables, two_levels

__all__ = ["CodePrior", "CorruptPrior"]

_CHUNK = 256


class CodePrior:
    """A trained distribution over the codes of one generator.

    Life: made by `fit_prior`, kept beside the generator's weights, loaded with them. All draws
    come from the seed given: the same call gives the same codes. Nothing here changes weights.

    Attributes:
        config: sizes and training.
        tables: how the generator's codes read.
        card: held-out nats a crystal beside the marginals', rows, seed.
    """

    def __init__(
        self,
        network: PriorNetwork,
        tables: NetworkTables,
        config: PriorConfig,
        *,
        card: Mapping[str, Any],
    ) -> None:
        """Wrap a trained network; use `fit_prior` or `from_bytes`."""
        self.network = network.eval().requires_grad_(False)
        self.tables, self.config, self.card = tables, config, dict(card)

    def temperatures(self, value: float | Temperatures) -> Temperatures:
        """Return what is drawn with.

        Args:
            value: a number scales the temperatures the prior was tuned to (`config.sampling`):
                1 leaves them, lower draws likelier crystals. `Temperatures()` draws from the
                prior itself.
        """
        if isinstance(value, Temperatures):
            return value
        return self.config.sampling.scaled(float(value))

    @torch.inference_mode()
    def sample(
        self,
        n: int,
        *,
        seed: int,
        temperature: float | Temperatures = 1.0,
        conditions: Conditions | None = None,
    ) -> list[CrystalCodes]:
        """Draw crystals: chemistry, then geometry, then cell.

        Args:
            n: how many.
            seed: of all draws.
            temperature: see `temperatures`.
            conditions: what they must be; property windows are not looked at here, as they need
                the generator's head (`model.prior.windows`).

        Raises:
            ImpossibleConditions: if nothing can meet the conditions.
        """
        return self.sample_scored(n, seed=seed, temperature=temperature, conditions=conditions)[0]

    @torch.inference_mode()
    def sample_scored(
        self,
        n: int,
        *,
        seed: int,
        temperature: float | Temperatures = 1.0,
        conditions: Conditions | None = None,
    ) -> tuple[list[CrystalCodes], Tensor]:
        """Draw crystals with the log probability (n,) of the draws, as tempered and constrained.

        With `Temperatures()` and without conditions it is `log_likelihood`. See `sample`.
        """
        if n < 1:
            raise ValueError(f"at least one crystal has to be asked for, got {n}")
        random = torch.Generator().manual_seed(seed)
        temperatures = self.temperatures(temperature)
        constraint = None
        if conditions is not None and conditions != Conditions(windows=conditions.windows):
            constraint = Constraint(conditions, self.tables)
        found = draw_compositions(self.network, n, constraint, temperatures, random)
        arrays, log_p = draw_crystals(self.network, found, temperatures, random)
        return arrays.to_codes(self.tables.species_levels), log_p

    @torch.inference_mode()
    def sample_cells(
        self,
        cells: Sequence[Mapping[int, int]],
        *,
        seed: int,
        temperature: float | Temperatures = 1.0,
    ) -> list[CrystalCodes]:
        """Draw one crystal for each cell content, all in one go.

        Args:
            cells: atomic number → number of atoms in the cell; repeat one to draw it again.
            seed: of all draws.
            temperature: see `temperatures`.

        Raises:
            ImpossibleConditions: if the generator has no room for a cell or not its elements.
        """
        order = self.tables.element_order.tolist()
        skeletons = []
        for cell in cells:
            self.check_cell(cell)
            skeletons.append(sorted(cell.items(), key=lambda item: order[item[0]]))
        counts = torch.zeros(len(cells), max(map(len, skeletons)), dtype=torch.int64)
        elements = torch.zeros_like(counts)
        for i, skeleton in enumerate(skeletons):
            elements[i, : len(skeleton)] = torch.tensor([z for z, _ in skeleton])
            counts[i, : len(skeleton)] = torch.tensor([n for _, n in skeleton])
        random = torch.Generator().manual_seed(seed)
        temperatures = self.temperatures(temperature)
        n_species = torch.tensor([len(skeleton) for skeleton in skeletons])
        found = draw_tokens(self.network, n_species, counts, elements, temperatures, random)
        return draw_crystals(self.network, found, temperatures, random)[0].to_codes(
            self.tables.species_levels
        )

    def check_cell(self, cell: Mapping[int, int]) -> None:
        """Raise `ImpossibleConditions` unless cells of these atoms can be drawn."""
        Constraint(Conditions.of_cell(cell), self.tables)

    def log_likelihood(self, codes: Sequence[CrystalCodes]) -> Tensor:
        """Return the exact log likelihood (B,) in nats of whole crystals, chemistry first.

        It is -inf where a species token has no atom. The codebook's labels are arbitrary and its
        resolution counts: compare only within one generator.
        """
        parts = self.log_likelihood_parts(codes)
        return torch.stack([parts[name] for name in PARTS]).sum(0)

    @torch.inference_mode()
    def log_likelihood_parts(
        self, codes: Sequence[CrystalCodes], *, geometry_first: bool = False
    ) -> dict[str, Tensor]:
        """Return the nats (B,) of "skeleton", "species", "atoms" and "crystal", in context.

        Args:
            codes: B crystals.
            geometry_first: the atoms do not know the species; species and crystal token are
                given the atoms.
        """
        if not codes:
            return {name: torch.zeros(0) for name in PARTS}
        arrays = CodeArrays.from_codes(codes, self.tables)
        result = {name: torch.zeros(len(codes)) for name in PARTS}
        for rows in (arrays.n_atoms + arrays.n_species).argsort().split(_CHUNK):
            parts = log_likelihood_parts(
                self.network, arrays.select(rows), geometry_first=geometry_first
            )
            for name, value in parts.items():
                result[name][rows] = value
        return result

    @torch.inference_mode()
    def sample_global(
        self,
        base: CrystalCodes,
        n: int,
        *,
        seed: int,
        temperature: float | Temperatures = 1.0,
    ) -> list[CrystalCodes]:
        """Draw species tokens and crystal token for the local codes of `base`, exactly.

        Args:
            base: its local codes are kept; its global genes are not looked at.
            n: how many.
            seed: of all draws.
            temperature: see `temperatures`.
        """
        random = torch.Generator().manual_seed(seed)
        arrays = CodeArrays.from_codes([base] * n, self.tables)
        drawn, _ = draw_globals(self.network, arrays, self.temperatures(temperature), random)
        tokens = drawn.tokens[:, : base.n_species, : self.tables.species_levels]
        genes = torch.cat([tokens.flatten(1), drawn.crystal], 1)
        return base.with_many_global_genes(genes.tolist())

    @torch.inference_mode()
    def mutate(
        self,
        codes: Sequence[CrystalCodes],
        *,
        seed: int,
        genes: Sequence[Sequence[int]] | None = None,
        n_genes: int | None = None,
        temperature: float = 1.0,
    ) -> list[CrystalCodes]:
        """Draw some global genes again from their conditional given all other codes.

        A species token is one gene here, whichever of its levels is named; each level of the
        crystal token is one. Crystal levels are drawn exactly, species tokens by
        sampling-importance-resampling (`model.prior.mutation`); several genes one after the
        other, so together they are one Gibbs sweep. Local codes stay.

        Args:
            codes: B crystals.
            seed: of all draws.
            genes: for each crystal the places in `global_genes` to draw again.
            n_genes: or how many genes, chosen at random.
            temperature: 1 for the prior's own conditional.

        Raises:
            ValueError: unless exactly one of `genes` and `n_genes` is given and fits.
        """
        if (genes is None) == (n_genes is None):
            raise ValueError("mutation needs either genes or n_genes")
        chooser = np.random.default_rng(seed)
        chosen = [
            self._units(c, None if genes is None else genes[i], n_genes, chooser)
            for i, c in enumerate(codes)
        ]
        random = torch.Generator().manual_seed(seed)
        result = list(codes)
        for turn in range(max(map(len, chosen), default=0)):
            for kind in ("token", "level"):
                rows = [
                    i
                    for i, units in enumerate(chosen)
                    if turn < len(units) and units[turn][0] == kind
                ]
                for start in range(0, len(rows), _CHUNK // 8):
                    part = rows[start : start + _CHUNK // 8]
                    places = torch.tensor([chosen[i][turn][1] for i in part])
                    arrays = CodeArrays.from_codes([result[i] for i in part], self.tables)
                    redraw = redraw_tokens if kind == "token" else redraw_levels
                    drawn = redraw(
                        self.network, arrays, places, temperature=temperature, random=random
                    )
                    for i, c in zip(part, drawn.to_codes(self.tables.species_levels)):
                        result[i] = _on_atoms(c, codes[i].local)
        return result

    @staticmethod
    def _units(
        codes: CrystalCodes,
        genes: Sequence[int] | None,
        n_genes: int | None,
        chooser: np.random.Generator,
    ) -> list[tuple[str, int]]:
        """Return the genes to draw again as ("token", slot) or ("level", level)."""
        levels = len(codes.species[0])
        cut = codes.n_species * levels
        if genes is not None:
            if any(not 0 <= g < len(codes.global_genes) for g in genes):
                raise ValueError(
                    f"genes {list(genes)} of a crystal with {len(codes.global_genes)} global genes"
                )
            places = dict.fromkeys(
                ("token", g // levels) if g < cut else ("level", g - cut) for g in genes
            )
            return list(places)
        units = [("token", s) for s in range(codes.n_species)]
        units += [("level", level) for level in range(len(codes.crystal))]
        if n_genes is None or not 0 <= n_genes <= len(units):
            raise ValueError(f"{n_genes} genes of a crystal that has {len(units)}")
        return [units[i] for i in chooser.permutation(len(units))[:n_genes]]

    def element_of(self, token: Sequence[int]) -> int:
        """Return the atomic number a species token stands for."""
        return int(self.tables.token_element[two_levels(token)])

    def to_bytes(self) -> bytes:
        """Return the prior as safetensors: float16 weights, tables, and its description."""
        return pack(self.network, self.tables, self.config, self.card)

    @classmethod
    def from_bytes(cls, payload: bytes) -> CodePrior:
        """Rebuild a prior written by `to_bytes`.

        Raises:
            CorruptPrior: if the bytes are damaged, of another format, or hold values that are
                not finite.
        """
        network, tables, config, card = unpack(payload)
        return cls(network, tables, config, card=card)

    @property
    def version(self) -> str:
        """First 12 hex digits of the sha256 of `to_bytes()`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:12]


def _on_atoms(codes: CrystalCodes, local: tuple[tuple[int, ...], ...]) -> CrystalCodes:
    """Put global codes on atoms, in the order in which these stand."""
    return CrystalCodes(species=codes.species, crystal=codes.crystal, local=local)
