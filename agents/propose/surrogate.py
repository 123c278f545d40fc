"""A surrogate that learns during the search: what codes are worth before the potential is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.propose.code_features import CodeFeatures
from agents.propose.gaussian_process import GaussianProcess

if TYPE_CHECKING:
    from model.codes import CrystalCodes
    from model.generator import Generator

SMALLEST = 2  # labels
_SMALLEST_SPREAD = 1e-3  # of the labels, in their unit
_BLOCKS = ("learned", "composition", "elements", "density", "shells", "hidden", "predicted")


class TooFewLabels(ValueError):
    """A surrogate was fitted on fewer labels than it can learn from, or asked before any."""


class CodeSurrogate:
    """Predicts a property of codes from the labels of the search so far, with an uncertainty.

    A Gaussian process on the generator's frozen features (`CodeFeatures`). It starts knowing
    nothing but these features, among them what the generator's head, trained on known crystals,
    thinks of the codes; each `fit` forgets the one before.

    Life: created for one decision (cheap: features are remembered elsewhere), `fit` with every
    label that the decision may use, then `predict` any number of times. A deterministic function of
    the frozen generator, the seed, and the labels in their order.

    Labels of the search are far from normal: atoms that overlap cost 20 eV/atom, and a penalty
    stands for what could not be decoded. So the process sees asinh((value - median) / spread), the
    spread being half of what the middle 68 % span. What it predicts is turned back: a median, and
    half the width of the interval that holds 68 %.

    One instance predicts one property: give another one the relaxed energies.

    Attributes:
        n_labels: labels of the last `fit`.
    """

    def __init__(self, generator: Generator, *, seed: int) -> None:
        """Create a surrogate that has learned nothing.

        Args:
            generator: the frozen generator of the codes.
            seed: of the choice of labels where not all are used (see `GaussianProcess`).
        """
        self._features = CodeFeatures.of(generator)
        self._seed = seed
        self._process: GaussianProcess | None = None
        self._centre, self._spread = 0.0, 1.0
        self.n_labels = 0

    @property
    def fitted(self) -> bool:
        """Whether it has learned from labels and may be asked."""
        return self._process is not None

    def fit(self, codes: Sequence[CrystalCodes], values: NDArray[np.floating]) -> None:
        """Learn from all labels anew.

        Args:
            codes: n codes; equal ones may repeat.
            values: (n,) finite labels, lower is better or not: it does not matter here.

        Raises:
            TooFewLabels: fewer than two labels.
            ValueError: if lengths differ, a value is not finite, or a code is outside its codebook.
        """
        y = np.asarray(values, dtype=np.float64)
        if y.shape != (len(codes),):
            raise ValueError(f"{len(codes)} codes came with values of shape {y.shape}")
        if not np.isfinite(y).all():
            raise ValueError(f"{(~np.isfinite(y)).sum()} of {len(y)} labels are not finite")
        if len(y) < SMALLEST:
            raise TooFewLabels(f"{len(y)} labels: a surrogate needs {SMALLEST} at least")
        self._centre = float(np.median(y))
        low, high = np.quantile(y, [0.16, 0.84])
        self._spread = max(0.5 * float(high - low), _SMALLEST_SPREAD)
        blocks = [self._features.blocks[name] for name in _BLOCKS]
        process = GaussianProcess(
            [b for b in blocks if b.stop > b.start], np.random.default_rng(self._seed)
        )
        process.fit(self._features(codes), np.arcsinh((y - self._centre) / self._spread))
        self._process, self.n_labels = process, len(y)

    def predict(
        self, codes: Sequence[CrystalCodes]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation (B,) of what the labels of B codes would be.

        Raises:
            TooFewLabels: before `fit`.
            ValueError: if a code is outside its codebook.
        """
        if self._process is None:
            raise TooFewLabels("the surrogate was asked before it saw a label")
        if not codes:
            return np.zeros(0), np.zeros(0)
        mean, std = self._process.predict(self._features(codes))
        half = 0.5 * (np.sinh(mean + std) - np.sinh(mean - std))
        return self._centre + self._spread * np.sinh(mean), self._spread * half
