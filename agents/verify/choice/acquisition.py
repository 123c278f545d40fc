"""Which screened candidates are worth a DFT calculation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from agents.targets import Window
from agents.verify.choice.probability import HitProbability, counted, hit_probability
from agents.verify.settings import VerifySettings

MIN_P_GAP = 0.5


@dataclass(frozen=True)
class Entry:
    """A screened candidate as the choice sees it.

    Attributes:
        id: The candidate.
        elements: Its elements.
        predictions: Prediction records (`agents.prediction`), of the relaxed crystal.
        core_seconds: Estimated cost of its own calculation; infinite where unsupported.
        known_formula: A training crystal has its formula, so at best it is a new polymorph.
    """

    id: str
    elements: tuple[str, ...]
    predictions: tuple[Mapping[str, Any], ...]
    core_seconds: float
    known_formula: bool = False


@dataclass(frozen=True)
class Choice:
    """One candidate chosen for DFT, with the reasons.

    Attributes:
        id: The candidate.
        control: Drawn at random from the same pool, for the control arm.
        position: Number of this call in the campaign, from 0.
        inside: Every prediction that counts lies inside its window.
        distance: How far the predictions are from the windows, eV; None without any.
        core_seconds: Estimated cost, the missing elemental references included.
        pool: Number of candidates it was chosen from.
        known_formula: A training crystal has its formula.
        hit: The probability that it is a hit, with what each model contributed. It is recorded
            whatever the mode and for both arms, so that it can be held against the results.
        worth: What the mode ``probability`` ranks by, see `worth`.
        rule: The settings that the choice followed.
    """

    id: str
    control: bool
    position: int
    inside: bool
    distance: float | None
    core_seconds: float
    pool: int
    known_formula: bool
    hit: HitProbability
    worth: float
    rule: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as stored with the candidate."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        del values["id"]
        return {**values, "hit": self.hit.record(), "rule": dict(self.rule)}


def choose(
    pool: Iterable[Entry],
    windows: Sequence[Window],
    settings: VerifySettings,
    *,
    reference_seconds: Mapping[str, float],
    seed: int,
    chosen_before: int,
    n: int,
    remaining_core_seconds: float = math.inf,
) -> list[Choice]:
    """Choose candidates for DFT; the same arguments always give the same choice.

    Both arms draw from the same pool: the candidates whose own calculation, and each elemental
    reference they still lack, are supported and affordable. The control arm takes every 1/share-th
    call, counted over the whole campaign from a random start, and draws uniformly. The other calls
    go to candidates inside the predicted windows first and then to the cheapest (``cheapest``), to
    those closest to the windows and then to the cheapest (``window``), or to those with the most
    expected hits for their cost (``probability``, see `worth`). A reference that one candidate pays
    for costs the next ones nothing.

    Args:
        pool: Screened candidates, any order.
        windows: The campaign's targets.
        settings: Mode, control share, consensus, what is affordable.
        reference_seconds: Cost of each element's missing reference, s; infinite where it failed or
            is unsupported. Elements that are not named cost nothing.
        seed: The campaign's seed.
        chosen_before: Calls chosen before in this campaign.
        n: Most candidates to choose.
        remaining_core_seconds: What all choices together may cost.

    Returns:
        At most ``n`` choices, in order.
    """
    costs = dict(reference_seconds)
    left = remaining_core_seconds
    feasible = affordable(pool, settings, costs)
    views = {entry.id: _view(entry, windows, settings) for entry in feasible}
    chosen: list[Choice] = []
    for position in range(chosen_before, chosen_before + n):
        feasible = [entry for entry in feasible if _cost(entry, costs) <= left]
        if not feasible:
            break
        control = is_control(position, settings.control_share, seed)
        if control:
            draw = np.random.default_rng([seed, position, 1])
            entry = feasible[int(draw.integers(len(feasible)))]
        else:
            entry = min(feasible, key=lambda one: _rank(one, views[one.id], costs, settings))
        view, cost = views[entry.id], _cost(entry, costs)
        chosen.append(
            Choice(
                id=entry.id,
                control=control,
                position=position,
                inside=view.inside,
                distance=None if math.isinf(view.distance) else view.distance,
                core_seconds=cost,
                pool=len(feasible),
                known_formula=entry.known_formula,
                hit=view.hit,
                worth=worth(view.hit.value, cost, entry.known_formula, settings),
                rule=settings.choice_rule,
            )
        )
        feasible.remove(entry)
        left -= cost
        costs.update(dict.fromkeys(entry.elements, 0.0))
    return chosen


def affordable(
    pool: Iterable[Entry],
    settings: VerifySettings,
    reference_seconds: Mapping[str, float],
    remaining_core_seconds: float = math.inf,
) -> list[Entry]:
    """Return the candidates whose every missing calculation is supported and affordable, by id."""
    limit = settings.affordable_core_seconds
    fitting = [
        entry
        for entry in pool
        if entry.core_seconds <= limit
        and _cost(entry, reference_seconds) <= remaining_core_seconds
        and all(reference_seconds.get(element, 0.0) <= limit for element in entry.elements)
    ]
    return sorted(fitting, key=lambda entry: entry.id)


def is_control(position: int, share: float, seed: int) -> bool:
    """Say whether a call belongs to the control arm: every 1/share-th one, from a random start."""
    start = float(np.random.default_rng([seed, 0]).random())
    return math.floor((position + 1) * share + start) > math.floor(position * share + start)


def judge(
    predictions: Iterable[Mapping[str, Any]],
    windows: Iterable[Window],
    consensus: Sequence[str] = (),
    ignored_levels: Sequence[str] = (),
    out_of_domain: Sequence[str] = (),
) -> tuple[bool, float]:
    """Compare predictions with the windows.

    As in the consensus of the screen, a negative gap means none, and so does, where a gap is
    wanted, a probability of one (``p_gap``) below one half.

    Args:
        predictions: Prediction records; those of relaxed crystals in the model's domain count, and
            of several by one model at one level the last.
        windows: Targets; those of a property that nothing predicts are left out.
        consensus: Models that count; empty: all.
        ignored_levels: Levels of theory that do not count.
        out_of_domain: Kinds of reasons out of domain that do not silence a prediction.

    Returns:
        Whether every model that counts is inside every window, and the summed distance of the
        predictions from the windows (eV, mean over models); ``(False, inf)`` where nothing counts.
    """
    values_of = counted(predictions, consensus, ignored_levels, out_of_domain)
    distances = []
    for window in windows:
        values = [
            value
            for one in values_of
            for value in _values(window, one["property"], float(one["value"]))
        ]
        if values:
            outside = [_outside(window, value) for value in values]
            distances.append((max(outside) == 0.0, sum(outside) / len(outside)))
    if not distances:
        return False, math.inf
    return all(inside for inside, _ in distances), sum(distance for _, distance in distances)


def calls_allowed(
    settings: VerifySettings,
    *,
    submitted: int,
    completed: int,
    in_flight: int,
    pool: int,
    last: bool,
) -> int:
    """Say how many candidates may be chosen now.

    Never more than could still be needed: with ``max_completed`` results in sight nothing is added.

    Args:
        settings: The budget.
        submitted: Candidates chosen so far, those in flight and finished included.
        completed: Candidates with a result.
        in_flight: Candidates chosen but neither verified nor failed.
        pool: Screened candidates to choose from.
        last: No more candidates will be screened, so a small pool need not wait.
    """
    if pool < settings.min_pool and not last:
        return 0
    room = min(
        settings.max_submitted - submitted,
        settings.max_completed - completed - in_flight,
        settings.max_concurrent - in_flight,
        pool,
    )
    return max(0, room)


def _values(window: Window, name: str, value: float) -> tuple[float, ...]:
    """Return what a prediction says of a window's property: nothing, or one number."""
    if window.property == "band_gap" and name == "p_gap":
        wanted = not window.contains(0.0)
        return (0.0,) if wanted and value < MIN_P_GAP else ()
    if name != window.property:
        return ()
    return (max(0.0, value) if name == "band_gap" else value,)


def _outside(window: Window, value: float) -> float:
    below = 0.0 if window.min is None else max(0.0, window.min - value)
    above = 0.0 if window.max is None else max(0.0, value - window.max)
    return below + above


def _cost(entry: Entry, costs: Mapping[str, float]) -> float:
    return entry.core_seconds + sum(costs.get(element, 0.0) for element in set(entry.elements))


def worth(
    probability: float, core_seconds: float, known_formula: bool, settings: VerifySettings
) -> float:
    """Return the expected hits of a call for its cost, p exp(-w known) / t^k.

    Args:
        probability: p, that the candidate is a hit.
        core_seconds: Estimated cost, in which t is given in core-hours; at least one second.
        known_formula: Whether a training crystal has its formula.
        settings: ``novelty_weight`` w and ``cost_exponent`` k: with 1, hits per core-hour; with 0,
            hits per call.
    """
    hours = max(core_seconds, 1.0) / 3600
    novelty = math.exp(-settings.novelty_weight * known_formula)
    return probability * novelty / hours**settings.cost_exponent


@dataclass(frozen=True)
class _View:
    """What the predictions say of a candidate, which no other candidate changes."""

    inside: bool
    distance: float
    hit: HitProbability


def _view(entry: Entry, windows: Sequence[Window], settings: VerifySettings) -> _View:
    rule = (settings.consensus, settings.ignored_levels, settings.counted_out_of_domain)
    return _View(
        *judge(entry.predictions, windows, *rule),
        hit_probability(
            counted(entry.predictions, *rule),
            windows,
            unpredicted=settings.unpredicted_probability,
            given=settings.error_widths,
        ),
    )


def _rank(
    entry: Entry, view: _View, costs: Mapping[str, float], settings: VerifySettings
) -> tuple[float, float, str]:
    cost = _cost(entry, costs)
    first = {
        "cheapest": float(not view.inside),
        "window": view.distance,
        "probability": -worth(view.hit.value, cost, entry.known_formula, settings),
    }[settings.acquisition]
    return first, cost, entry.id
