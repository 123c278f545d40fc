"""The paper's funnel, cut with any thresholds, from what is stored.

Every candidate keeps the numbers that its rules and models gave, also when it was rejected by an
earlier one. So the funnel of a campaign can be counted again with other windows, another rule of
agreement or other elements: one query of the database, no model is asked. What was never computed
stays unknown and is counted as such: a candidate that was not relaxed has no relaxed energy,
whatever the new thresholds are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents.screen.settings import ScreenSettings
from agents.targets import Window
from db import campaigns, candidates
from db.funnel import Expression, all_of, cascade, known
from discovery.campaign.config import from_record

Order = Literal["campaign", "paper"]

ELEMENTS = {"$ifNull": ["$elements", []]}


@dataclass(frozen=True)
class Thresholds:
    """Where the funnel is cut.

    Attributes:
        windows: What models and DFT are to agree on.
        screen: Rules, elements, sizes and the rule of agreement.
        models: Screens that count; None: all that were asked.
        formation_energy_max: A compound is kept below this energy of the potential, eV/atom.
        elemental_max: One element is kept below this, eV/atom above its reference phase.
        max_force: Kept below this largest force after relaxation, eV/Å.
    """

    windows: tuple[Window, ...]
    screen: ScreenSettings
    models: tuple[str, ...] | None = None
    formation_energy_max: float = 0.0
    elemental_max: float = 0.5
    max_force: float = 0.05

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        screen = self.screen
        return {
            "windows": [str(window) for window in self.windows],
            **screen.rules(),
            "min_p_gap": screen.min_p_gap,
            "agreement": screen.agreement,
            "min_models": screen.min_models,
            "classifier": screen.classifier,
            "ignored_levels": list(screen.gate_ignores_levels),
            "counted_out_of_domain": list(screen.counted_out_of_domain),
            "models": None if self.models is None else list(self.models),
            "formation_energy_max": self.formation_energy_max,
            "elemental_max": self.elemental_max,
            "max_force": self.max_force,
        }


def own_thresholds(campaign: str) -> Thresholds:
    """Return the thresholds that a campaign was run with.

    Raises:
        db.campaigns.UnknownCampaign: There is none of this name.
    """
    config = from_record(campaigns.load(campaign).config, source=campaign)
    return Thresholds(
        windows=config.targets,
        screen=config.screen,
        formation_energy_max=config.relax.formation_energy_max,
        elemental_max=config.relax.elemental_max_above_reference,
        max_force=config.relax.accept_max_force,
    )


def funnel(campaign: str, thresholds: Thresholds, *, order: Order = "campaign") -> dict[str, Any]:
    """Count a campaign's candidates through the paper's conditions.

    Args:
        campaign: Name of the campaign.
        thresholds: Where to cut.
        order: ``campaign``: cheap conditions first, as they are computed, so that little is
            unknown; ``paper``: as the paper prints its funnel, novelty first.

    Returns:
        Plain JSON values: ``campaign``, ``thresholds``, ``order``, ``candidates`` (all of them) and
        ``steps``, each as `db.funnel.Step.record`.
    """
    steps = cascade(campaign, conditions(thresholds, order))
    return {
        "campaign": campaign,
        "order": order,
        "thresholds": thresholds.record(),
        "candidates": sum(candidates.counts(campaign).values()),
        "steps": [step.record() for step in steps],
    }


def conditions(thresholds: Thresholds, order: Order = "campaign") -> list[tuple[str, Expression]]:
    """Write the paper's conditions as expressions over a candidate's record."""
    screen = thresholds.screen
    begun = ("decoded", decoded())
    sizes = ("composition", composition(screen))
    neutral = [] if screen.smact == "off" else [(f"SMACT ({screen.smact})", smact(screen))]
    low = ("relaxed", relaxed(thresholds))
    new = ("not in training data", new_to_training())
    cheap = {
        "campaign": [begun, sizes, *neutral, low, new],
        "paper": [begun, new, *neutral, low, sizes],
    }[order]
    dft = [
        ("DFT completed", completed()),
        *((f"DFT: {window}", verified(window)) for window in thresholds.windows),
    ]
    return [*cheap, *_screens(thresholds), *dft]


def decoded() -> Expression:
    """Say whether a proposal is a crystal."""
    return {"$gt": ["$structure", None]}


def models_agree(thresholds: Thresholds) -> Expression:
    """Say whether the models agree on every window, and the classifier where it is asked."""
    return all_of([expression for _, expression in _screens(thresholds)])


def _screens(thresholds: Thresholds) -> list[tuple[str, Expression]]:
    screens = [
        (f"models: {window}", _agreement(window, thresholds)) for window in thresholds.windows
    ]
    if any(w.property == "band_gap" and not w.contains(0.0) for w in thresholds.windows):
        screens += _classifier(thresholds)
    return screens


def composition(screen: ScreenSettings) -> Expression:
    """Say whether sizes and elements are allowed."""
    allowed = (
        []
        if screen.allowed_elements is None
        else [{"$setIsSubset": [ELEMENTS, list(screen.allowed_elements)]}]
    )
    excluded = sorted(screen.excluded_elements)
    count = {"$size": ELEMENTS}
    met = {
        "$and": [
            {"$lte": ["$n_atoms", screen.max_atoms]},
            {"$lte": [count, screen.max_elements]},
            {"$gte": [count, screen.min_elements]},
            {"$eq": [{"$setIntersection": [ELEMENTS, excluded]}, []]},
            *allowed,
        ]
    }
    return known("$n_atoms", met)


def smact(screen: ScreenSettings, *, off: bool | None = None) -> Expression:
    """Return the verdict of the campaign's SMACT rule.

    Args:
        screen: The campaign's rules.
        off: The verdict where the campaign has no such rule.
    """
    if screen.smact == "off":
        return off
    field = f"$screening.prescreen.smact_{screen.smact}"
    return known(field, {"$eq": [field, True]})


def relaxed(thresholds: Thresholds) -> Expression:
    """Say whether the relaxed crystal has a low energy and small forces."""
    energy, force = "$relaxation.formation_energy_per_atom", "$relaxation.max_force"
    limit = {
        "$cond": [
            {"$eq": [{"$size": ELEMENTS}, 1]},
            thresholds.elemental_max,
            thresholds.formation_energy_max,
        ]
    }
    low = {"$and": [{"$lt": [energy, limit]}, {"$lt": [force, thresholds.max_force]}]}
    return known(energy, known(force, low))


def new_to_training() -> Expression:
    """Say whether no training crystal matches; held-out ones of the bank are rediscoveries."""
    matches = "$duplicates.training.matches"
    known_ones = {"$filter": {"input": matches, "as": "m", "cond": {"$ne": ["$$m.label", "val"]}}}
    return known(matches, {"$eq": [known_ones, []]})


def _words(thresholds: Thresholds, property_name: str) -> Expression:
    """Return the counted predictions of a property, as `agents.screen.consensus` counts them.

    Only the screens are heard: the potential's own formation energy is stored beside theirs.
    """
    asked: Expression = {"$ifNull": ["$screening.models.name", []]}
    if thresholds.models is not None:
        asked = {"$setIntersection": [asked, list(thresholds.models)]}
    counted = [
        {"$eq": ["$$p.property", property_name]},
        {"$eq": ["$$p.on", "relaxed"]},
        _in_domain(thresholds.screen.counted_out_of_domain),
        {"$in": ["$$p.model", asked]},
        {"$not": [{"$in": ["$$p.level", list(thresholds.screen.gate_ignores_levels)]}]},
    ]
    predictions = {"$ifNull": ["$predictions", []]}
    return {"$filter": {"input": predictions, "as": "p", "cond": {"$and": counted}}}


def _in_domain(allowed: Sequence[str]) -> Expression:
    """Say whether a prediction counts, as `agents.prediction.counts` does."""
    reasons = {"$ifNull": ["$$p.out_of_domain", []]}
    kind = {"$arrayElemAt": [{"$split": ["$$reason", ":"]}, 0]}
    kinds = {"$map": {"input": reasons, "as": "reason", "in": kind}}
    minded = {"$setDifference": [kinds, list(allowed)]}
    excused = {"$and": [{"$ne": [reasons, []]}, {"$eq": [minded, []]}]}
    return {"$or": [{"$eq": ["$$p.in_domain", True]}, excused]}


def _agreement(window: Window, thresholds: Thresholds) -> Expression:
    value: Expression = "$$p.value"
    if window.property == "band_gap":
        value = {"$max": [0.0, value]}
    outside = {
        "$filter": {"input": "$$words", "as": "p", "cond": {"$not": [_inside(window, value)]}}
    }
    models = {"$setUnion": [{"$map": {"input": "$$words", "as": "p", "in": "$$p.model"}}, []]}
    against = {"$setUnion": [{"$map": {"input": outside, "as": "p", "in": "$$p.model"}}, []]}
    heard, inside = {"$size": models}, {"$size": {"$setDifference": [models, against]}}
    agreement = thresholds.screen.agreement
    needed: Expression = heard if agreement == "all" else agreement
    outside_it = {"$and": [{"$gte": [heard, needed]}, {"$lt": [inside, needed]}]}
    least = {"$max": [thresholds.screen.min_models, needed]}
    judged = {"$cond": [{"$gte": [heard, least]}, True, None]}
    verdict = {"$cond": [outside_it, False, judged]}
    return {"$let": {"vars": {"words": _words(thresholds, window.property)}, "in": verdict}}


def _classifier(thresholds: Thresholds) -> list[tuple[str, Expression]]:
    screen = thresholds.screen
    if screen.classifier == "off":
        return []
    low = {"$lt": ["$$p.value", screen.min_p_gap]}
    against = {"$filter": {"input": "$$words", "as": "p", "cond": low}}
    spoken: Expression = {"$eq": [against, []]}
    silent = None if screen.classifier == "required" else _screened(True)
    verdict = {"$cond": [{"$eq": ["$$words", []]}, silent, spoken]}
    words = {"words": _words(thresholds, "p_gap")}
    name = f"models: P(gap) >= {screen.min_p_gap:g}"
    return [(name, {"$let": {"vars": words, "in": verdict}})]


def _screened(value: Expression) -> Expression:
    """Return a value where the screens were asked, else null."""
    return known("$screening.models", value)


def completed() -> Expression:
    """Say whether DFT came to an end; null for what was not chosen or is not there yet."""
    chosen = {"$gt": ["$selection.position", None]}
    ended = {"$in": ["$state", ["failed", "rejected"]]}
    lost = {"$cond": [{"$and": [chosen, ended]}, False, None]}
    return {"$cond": [{"$eq": ["$state", "verified"]}, True, lost]}


def verified(window: Window) -> Expression:
    """Say whether DFT puts a candidate inside a window; null where it gave no result."""
    field: Expression = f"$verification.{window.property}"
    if window.property == "formation_energy_per_atom":
        field = {"$ifNull": ["$verification.formation_energy_per_atom_judged", field]}
    return known(field, _inside(window, field))


def _inside(window: Window, value: Expression) -> Expression:
    bounds = [
        *([] if window.min is None else [{"$gte": [value, window.min]}]),
        *([] if window.max is None else [{"$lte": [value, window.max]}]),
    ]
    return {"$and": bounds}


def describe(found: dict[str, Any]) -> list[Sequence[str]]:
    """Return the rows of a table: condition, left, failed, unknown; the first row is all."""
    rows: list[Sequence[str]] = [("proposed", str(found["candidates"]), "", "")]
    for step in found["steps"]:
        rows.append((step["name"], *(str(step[key]) for key in ("left", "failed", "unknown"))))
    return rows
