"""Residual vector quantisation with codebooks that keep rare codes alive."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from vector_quantize_pytorch import ResidualVQ

from model.networks.indices import PAD

_REVIVED_USE = 2.0  # use count of a revived code: about a hundred batches to prove itself


class CodeQuantiser(nn.Module):
    """A residual quantiser: r_0 = x, k_d = nearest(r_d), r_(d+1) = r_d - e(k_d), q = sum e(k_d).

    Life: `initialise` once with many vectors (k-means); then in training mode every call moves
    the codebooks by an exponential moving average and revives codes nobody uses, until
    `stop_revival`. In evaluation mode nothing moves, and `lookup(indices)` returns exactly what
    `forward` quantised to.
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        codes: int,
        *,
        decay: float,
        dead_code_threshold: float,
        rotation_trick: bool,
    ) -> None:
        """Create codebooks (levels, codes, dim).

        Args:
            dim: width of the vectors.
            levels: depth of the residual quantisation.
            codes: size of each level's codebook.
            decay: of the moving average.
            dead_code_threshold: a code used less than this (moving average of uses a batch) is
                moved to a vector of the batch.
            rotation_trick: rotate gradients (arXiv 2410.06424) instead of passing them straight.
        """
        super().__init__()
        self.dim, self.levels, self.codes = dim, levels, codes
        self.residual = ResidualVQ(
            dim=dim,
            num_quantizers=levels,
            codebook_size=codes,
            kmeans_init=True,
            kmeans_iters=10,
            decay=decay,
            threshold_ema_dead_code=dead_code_threshold,
            rotation_trick=rotation_trick,
        )
        for layer in self.residual.layers:
            layer._codebook.reset_cluster_size = _REVIVED_USE

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise vectors.

        Args:
            x: (M, dim).

        Returns:
            quantised (M, dim), indices (M, levels) int64, commitment loss (scalar).
        """
        if not self.training:
            indices = self.nearest(x)
            return self.lookup(indices), indices, x.new_zeros(())
        quantised, indices, loss = self.residual(x[None])
        return quantised[0], indices[0], loss.mean()

    def nearest(self, x: Tensor) -> Tensor:
        """Return the indices (M, levels) of vectors (M, dim), level by level."""
        indices = []
        for codebook in self._codebooks():
            index = torch.cdist(x, codebook).argmin(-1)
            x = x - codebook[index]
            indices.append(index)
        return torch.stack(indices, -1)

    def _codebooks(self) -> list[Tensor]:
        """Return each level's codebook (codes, dim)."""
        return [layer._codebook.embed[0] for layer in self.residual.layers]

    @torch.no_grad()
    def initialise(self, x: Tensor, typical_batch: int) -> None:
        """Place the codebooks by k-means on many vectors instead of on the first batch.

        Args:
            x: (M, dim), M well above the number of codes.
            typical_batch: vectors in a training batch: use counts are scaled to it, so that the
                moving averages start at the size they will have.
        """
        was_training = self.training
        self.train()
        codebooks = [layer._codebook for layer in self.residual.layers]
        residual = x
        for codebook in codebooks:
            codebook.init_embed_(residual[None])
            nearest = torch.cdist(residual, codebook.embed[0]).argmin(-1)
            residual = residual - codebook.embed[0][nearest]
            scale = min(1.0, typical_batch / len(x))
            codebook.cluster_size.mul_(scale)
            codebook.embed_avg.mul_(scale)
        self.train(was_training)

    def stop_revival(self) -> None:
        """Stop moving unused codes, so that late training settles."""
        for layer in self.residual.layers:
            layer._codebook.has_dead_code_replacement = False

    def perplexity(self) -> list[float]:
        """Return the effective number of codes in recent use, per level."""
        result = []
        for layer in self.residual.layers:
            use = layer._codebook.cluster_size[0]
            share = use / use.sum()
            result.append(torch.special.entr(share).sum().exp().item())
        return result

    def dead_codes(self) -> list[int]:
        """Return the number of codes used less than the revival threshold, per level."""
        return [
            int((layer._codebook.cluster_size < layer._codebook.threshold_ema_dead_code).sum())
            for layer in self.residual.layers
        ]

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the vectors of codes.

        Args:
            indices: (M, levels), each in 0 … codes - 1.

        Returns:
            (M, dim).
        """
        result = torch.zeros(len(indices), self.dim, device=indices.device)
        for level, codebook in enumerate(self._codebooks()):
            result = result + codebook[indices[:, level]]
        return result


def quantise_kept(
    quantiser: CodeQuantiser, x: Tensor, keep: Tensor, discrete: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise the kept vectors of x (..., dim); the others become zero with index -1.

    Args:
        quantiser: to use.
        x: (..., dim).
        keep: (...) bool.
        discrete: False passes the vectors on unquantised, all indices -1.

    Returns:
        quantised (..., dim), indices (..., levels), commitment loss (scalar).
    """
    indices = torch.full((*keep.shape, quantiser.levels), PAD, device=x.device)
    if not discrete:
        return x * keep[..., None], indices, x.new_zeros(())
    vectors, found, loss = quantiser(x[keep])
    quantised = torch.zeros_like(x)
    quantised[keep] = vectors
    indices[keep] = found
    return quantised, indices, loss


def look_up_kept(quantiser: CodeQuantiser, indices: Tensor, keep: Tensor) -> Tensor:
    """Look up indices (..., levels) where kept (...) bool; zero elsewhere."""
    vectors = torch.zeros(*keep.shape, quantiser.dim, device=indices.device)
    vectors[keep] = quantiser.lookup(indices[keep])
    return vectors
