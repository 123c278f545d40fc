"""Residual quantisation with one codebook for all depths and stochastic sampling of codes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from vector_quantize_pytorch import ResidualVQ

from model.networks.quantiser import CodeQuantiser

_KMEANS_ITERATIONS = 10
_REVIVED_USE = 2.0  # use count of a revived code: time to prove itself


class SharedQuantiser(CodeQuantiser):
    """k_d = Q(r_(d-1)), r_d = r_(d-1) - e(k_d), q = sum_d e(k_d), with one e for all depths.

    Source: doi 10.1038/s41524-025-01613-6, hierarchical quantisation. In training codes are drawn
    with probability softmax(-|r - e| / temperature) and the codebook follows its vectors by a
    moving average, which the library applies once per depth. In evaluation mode the nearest code
    is taken and nothing moves. The life is that of `CodeQuantiser`.
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        codes: int,
        *,
        decay: float,
        dead_code_threshold: float,
        shared: bool,
        temperature: float,
        settle: bool,
    ) -> None:
        """Create a codebook.

        Args:
            dim: width of the vectors.
            levels: depth of the residual quantisation.
            codes: size of the codebook.
            decay: of the moving average.
            dead_code_threshold: a code used less than this (moving average of uses per depth and
                batch) is moved to a vector of the batch.
            shared: one codebook for all depths; False gives every depth its own.
            temperature: of the sampling in training, in units of distance; 0 takes the nearest.
            settle: `stop_revival` ends the sampling too.
        """
        super().__init__(
            dim,
            levels,
            codes,
            decay=decay,
            dead_code_threshold=dead_code_threshold,
            rotation_trick=False,
        )
        self.shared, self.settle = shared, settle
        self.residual = ResidualVQ(
            dim=dim,
            num_quantizers=levels,
            codebook_size=codes,
            shared_codebook=shared,
            stochastic_sample_codes=temperature > 0,
            sample_codebook_temp=temperature,
            kmeans_init=True,
            kmeans_iters=_KMEANS_ITERATIONS,
            decay=decay,
            threshold_ema_dead_code=dead_code_threshold,
            rotation_trick=False,
        )
        for layer in self.residual.layers:
            layer._codebook.reset_cluster_size = _REVIVED_USE
        if shared:
            # All depths hold the same tensors: files keep them once.
            self.register_state_dict_post_hook(_keep_one_codebook)
            self.register_load_state_dict_pre_hook(_spread_one_codebook)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise vectors.

        The gradient passes straight through the sum of all depths, once; the library's own layers
        would pass it once per depth.

        Args:
            x: (M, dim).

        Returns:
            quantised (M, dim), indices (M, levels) int64, mean squared distance (scalar).
        """
        if not self.training:
            return super().forward(x)
        with torch.no_grad():
            found, indices, _ = self.residual(x.detach()[None])
        quantised = found[0]
        return x + (quantised - x).detach(), indices[0], F.mse_loss(x, quantised)

    @torch.no_grad()
    def initialise(self, x: Tensor, typical_batch: int) -> None:
        """Place the codebook by k-means over the residuals of all depths.

        Starts from a share of the codes per depth and then alternates between assigning all
        depths and moving every code to the mean of what all depths assigned to it.

        Args:
            x: (M, dim), M well above the number of codes.
            typical_batch: vectors in a training batch, to scale the use counts.
        """
        if not self.shared:
            super().initialise(x, typical_batch)
            return
        book = _codes_by_depth(x, self.codes, self.levels)
        best, best_error = book, torch.inf
        for _ in range(_KMEANS_ITERATIONS + 1):
            total, count, error = self._assigned(x, book)
            if error < best_error:
                best, best_error = book, error
            used = count > 0
            spare = x[torch.randint(len(x), (self.codes,), device=x.device)]
            book = torch.where(used[:, None], total / count.clamp(min=1)[:, None], spare)
        _, count, _ = self._assigned(x, best)
        use = count / self.levels * min(1.0, typical_batch / len(x))
        codebook = self.residual.layers[0]._codebook
        codebook.embed.copy_(best[None])
        codebook.cluster_size.copy_(use[None])
        codebook.embed_avg.copy_((best * use[:, None])[None])
        codebook.initted.fill_(True)

    def _assigned(self, x: Tensor, book: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return per code the sum and number of residuals nearest to it, and what remains."""
        total, count = torch.zeros_like(book), book.new_zeros(len(book))
        residual = x
        for _ in range(self.levels):
            index = torch.cdist(residual, book).argmin(-1)
            total.index_add_(0, index, residual)
            count.index_add_(0, index, count.new_ones(len(index)))
            residual = residual - book[index]
        return total, count, residual.pow(2).mean().item()

    def stop_revival(self) -> None:
        """Stop moving unused codes and, with `settle`, stop sampling."""
        super().stop_revival()
        if self.settle:
            for layer in self.residual.layers:
                layer._codebook.sample_codebook_temp = 0.0

    def perplexity(self) -> list[float]:
        """Return the effective number of codes in recent use: per codebook, one if shared."""
        return super().perplexity()[: 1 if self.shared else None]

    def dead_codes(self) -> list[int]:
        """Return the number of codes hardly used: per codebook, one if shared."""
        return super().dead_codes()[: 1 if self.shared else None]


def _codes_by_depth(x: Tensor, codes: int, levels: int) -> Tensor:
    """Return (codes, dim): a share of the codes placed by k-means at each depth."""
    residual, books = x, []
    for level in range(levels):
        share = codes // levels + (level < codes % levels)
        if not share:  # fewer codes than depths
            break
        book = residual[torch.randperm(len(x), device=x.device)[:share]]
        for _ in range(_KMEANS_ITERATIONS):
            index = torch.cdist(residual, book).argmin(-1)
            total = torch.zeros_like(book).index_add_(0, index, residual)
            count = torch.bincount(index, minlength=len(book))[:, None]
            book = torch.where(count > 0, total / count.clamp(min=1), book)
        residual = residual - book[torch.cdist(residual, book).argmin(-1)]
        books.append(book)
    placed = torch.cat(books)
    missing = codes - len(placed)  # fewer vectors than codes
    return torch.cat([placed, x[torch.randint(len(x), (missing,), device=x.device)]])


def _keep_one_codebook(
    module: torch.nn.Module, state: dict[str, Any], prefix: str, _: dict[str, Any]
) -> None:
    """Drop the aliases of the shared codebook from a state dictionary."""
    first = f"{prefix}residual.layers.0."
    for name in list(state):
        if name.startswith(f"{prefix}residual.layers.") and not name.startswith(first):
            del state[name]


def _spread_one_codebook(
    module: torch.nn.Module, state: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Name the shared codebook once per depth again, as the library expects it."""
    first = f"{prefix}residual.layers.0."
    for name in [name for name in state if name.startswith(first)]:
        for level in range(1, module.levels):
            state[f"{prefix}residual.layers.{level}.{name.removeprefix(first)}"] = state[name]
