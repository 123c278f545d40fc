"""What a search minimises besides the fitness: known from codes and formula alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.propose.settings import Objective
from agents.targets import Window

if TYPE_CHECKING:
    from model.codes import CrystalCodes
    from model.generator import Generator

_GAP = "band_gap"


class UnknownObjective(ValueError):
    """The campaign has no window, or the generator no prediction, for an objective."""

    exit_code = 2


class Objectives:
    """Objectives that are known before an evaluation, from codes and formula alone.

    They come from the generator's shipped head, which never changes, not from the live one: a
    search that is rebuilt after an interruption must see the same numbers.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        generator: Generator,
        targets: Sequence[Window],
        is_known: Callable[[str], bool] | None = None,
        is_excluded: Callable[[str], bool] | None = None,
    ) -> None:
        """Prepare the objectives.

        Args:
            objectives: What to minimise besides the fitness.
            generator: The frozen generator.
            targets: The campaign's windows.
            is_known: Whether a reference collection has a reduced formula, which must never change
                either; None: training crystals alone are known.
            is_excluded: Whether the campaign's rules exclude a reduced formula; None: there are no
                rules.

        Raises:
            UnknownObjective: Nothing says what the objective is.
        """
        self.generator = generator
        self.weights = np.array([objective.weight for objective in objectives])
        training = generator.bank.formulas[generator.bank.rows("train")].tolist()
        self._known = dict.fromkeys(training, True)
        self._is_known = is_known
        self._is_excluded = is_excluded
        self._judged: dict[str, bool] = {}
        self._window = next((w for w in targets if w.property == _GAP), None)
        self._columns: list[Callable[[Sequence[CrystalCodes], Sequence[str]], NDArray]] = []
        for objective in objectives:
            if objective.kind == "gap_window":
                self._require_gap()
                self._columns.append(self._gap_distance)
            elif objective.kind == "domain":
                self._columns.append(self._out_of_domain)
            elif objective.kind == "rules":
                self._columns.append(self._excluded)
            else:
                self._columns.append(self._known_formula)

    def __len__(self) -> int:
        return len(self._columns)

    def __call__(
        self, codes: Sequence[CrystalCodes], formulas: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return the objectives (B, K) of B codes; 0 is best.

        Args:
            codes: B codes.
            formulas: The reduced formulas they decode to.
        """
        columns = [column(codes, formulas) for column in self._columns]
        return np.stack(columns, 1) if columns else np.zeros((len(codes), 0))

    def desirability(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one factor (B,) in (0, 1] for objectives (B, K): exp(-sum of weight times value).

        It multiplies what a surrogate expects of a child's fitness.
        """
        factor: NDArray[np.float64] = np.exp(-values @ self.weights)
        return factor

    def _gap_distance(
        self, codes: Sequence[CrystalCodes], formulas: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return the distance (B,) of the head's gap to the window, eV."""
        assert self._window is not None
        if not codes:
            return np.zeros(0)
        mean = self.generator.head.predict(self.generator.features(codes))[self._target][0]
        gap = mean.double().numpy()
        low = -np.inf if self._window.min is None else self._window.min
        high = np.inf if self._window.max is None else self._window.max
        distance: NDArray[np.float64] = np.maximum(np.maximum(low - gap, gap - high), 0.0)
        return distance

    def _known_formula(
        self, codes: Sequence[CrystalCodes], formulas: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return 1 for formulas (B,) of known crystals, 0 for others."""
        if self._is_known is not None:
            for formula in formulas:
                if formula and formula not in self._known:
                    self._known[formula] = self._is_known(formula)
        return np.array([float(self._known.get(formula, False)) for formula in formulas])

    def _out_of_domain(
        self, codes: Sequence[CrystalCodes], formulas: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return 1 for formulas (B,) too far from what the screens learned from, 0 for others."""
        from pymatgen.core import Composition

        from agents.screen.domain import mp2018

        for formula in formulas:
            if formula not in self._judged:
                self._judged[formula] = bool(formula) and mp2018().knows(Composition(formula))
        return np.array([float(not self._judged[formula]) for formula in formulas])

    def _excluded(
        self, codes: Sequence[CrystalCodes], formulas: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return 1 for formulas (B,) that the campaign's rules exclude, 0 for others."""
        rule = self._is_excluded
        return np.array([float(rule is not None and rule(formula)) for formula in formulas])

    def _require_gap(self) -> None:
        if self._window is None:
            raise UnknownObjective(
                "gap_window in propose.fitness.objectives needs a target with the property "
                "band_gap: add one, or take the objective out"
            )
        found = [t for t in self.generator.head.targets if t.partition("@")[0] == _GAP]
        if not found:
            raise UnknownObjective(
                "gap_window in propose.fitness.objectives needs a predicted band gap, but the head "
                f"of {self.generator.name} predicts no band gap: take the objective out"
            )
        self._target = found[0]


def front_numbers(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number (B,) of the Pareto front of each point, from 0 for undominated ones.

    Deb et al. 2002, doi 10.1109/4235.996017. A point dominates another that it is nowhere worse
    than and somewhere better.

    Args:
        values: (B, K) objectives, lower is better.
    """
    if values.shape[1] == 1:  # a front is a value
        return np.unique(values[:, 0], return_inverse=True)[1].astype(np.int64)
    no_worse = np.all(values[:, None] <= values[None], axis=-1)
    better = np.any(values[:, None] < values[None], axis=-1)
    dominates = np.asarray(no_worse & better)
    fronts = np.full(len(values), -1, dtype=np.int64)
    number = 0
    while (left := fronts < 0).any():
        beaten = dominates[left].any(0)
        fronts[left & ~beaten] = number
        number += 1
    return fronts
