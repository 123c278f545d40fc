"""A campaign's funnel in the order of the paper, beside the paper's own numbers.

The paper compares with the training set first and looks at elements late; a campaign applies the
cheap rules first, so what they reject is never relaxed or compared. A row here is therefore counted
among the candidates that no earlier row is known to have lost, and only among those of which the
record can tell: ``passed`` of ``evaluated``. What the record cannot tell is ``not_evaluated``,
never a failure. That a cheap rule came first makes no difference to a row's share as far as the two
conditions are independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agents.targets import Window
from agents.verify.choice.arms import Share
from db import campaigns
from db.funnel import Expression, all_of, known, remembered_verdicts, verdicts_of
from discovery.reports.funnel import (
    Thresholds,
    completed,
    composition,
    decoded,
    models_agree,
    new_to_training,
    own_thresholds,
    relaxed,
    smact,
    verified,
)
from discovery.reports.paper import DOI, FUNNELS, PaperFunnel, Step

WIDTH = 80
"""Of the table."""
ENERGY, GAP = "formation_energy_per_atom", "band_gap"
LOW, LOWER = Window(property=ENERGY, max=-0.5), Window(property=ENERGY, max=-1.0)
"""What the paper counts after the DFT of its slabs, eV/atom."""


def paper_funnel(
    campaign: str, thresholds: Thresholds | None = None, *, name: str | None = None
) -> dict[str, Any] | None:
    """Count a campaign in the rows of the paper's funnel that belongs to it.

    Args:
        campaign: Name of the campaign.
        thresholds: Where to cut; None: the campaign's own.
        name: One of `discovery.reports.paper.FUNNELS`; None: what the campaign's ``paper_funnel``
            says.

    Returns:
        Plain JSON values: ``name``, ``doi``, ``generator`` (of the paper), and ``steps``, each with
        ``key``, ``label``, ``note``, ``passed``, ``failed``, ``not_evaluated``, ``left`` (known to
        pass this row and all it builds on), ``share`` with its 95 % Wilson interval (None where
        nothing was evaluated), and ``paper``: ``count``, ``of`` (key of a row) and ``share``. None
        for a campaign that no funnel of the paper belongs to.

    Raises:
        db.campaigns.UnknownCampaign: There is none of this name.
    """
    chosen = name or campaigns.load(campaign).config.get("paper_funnel")
    if chosen is None:
        return None
    paper = FUNNELS[chosen]
    cut = own_thresholds(campaign) if thresholds is None else thresholds
    conditions = _conditions(cut)
    asked = {step.key: conditions[step.key] for step in paper.steps}
    asked |= {step.needs: _not_in(step.needs) for step in paper.steps if step.needs}
    if thresholds is None and name is None:
        judged = remembered_verdicts(campaign, list(asked.values()), purpose="paper funnel")
    else:
        judged = verdicts_of(campaign, list(asked.values()))
    found = [(dict(zip(asked, verdicts)), n) for verdicts, n in judged]
    return {
        "name": paper.name,
        "doi": DOI,
        "generator": paper.generator,
        "steps": [_count(paper, step, found) for step in paper.steps],
    }


def _conditions(cut: Thresholds) -> dict[str, Expression]:
    """Write every row of both funnels as an expression over a candidate's record."""
    new = new_to_training()
    layer = _one_layer()
    windows = {window.property: window for window in cut.windows}
    wanted = [verified(windows[name]) if name in windows else None for name in (ENERGY, GAP)]
    return {
        "generated": decoded(),
        "new": new,
        "new_mp": all_of([new, _not_in("mp")]),
        "smact": smact(cut.screen),
        "relaxed": relaxed(cut),
        "composition": composition(cut.screen),
        "models": models_agree(cut),
        "dft": completed(),
        "dft_energy": wanted[0],
        "dft_gap": wanted[1],
        "two_dimensional": layer,
        "new_c2db": all_of([layer, new, _not_in("c2db")]),
        "rules": all_of([composition(cut.screen), smact(cut.screen, off=True), relaxed(cut)]),
        "drawn": {"$cond": [{"$gt": ["$selection.position", None]}, True, _screened(False)]},
        "dft_energy_low": verified(LOWER),
    }


def _not_in(collection: str) -> Expression:
    """Say whether no crystal of a reference collection matches; null without a comparison."""
    compared = {
        "$filter": {
            "input": {"$ifNull": ["$duplicates.references", []]},
            "as": "one",
            "cond": {"$eq": ["$$one.reference", collection]},
        }
    }
    free = {"$allElementsTrue": {"$map": {"input": "$$compared", "as": "one", "in": _unmatched()}}}
    verdict = {"$cond": [{"$eq": ["$$compared", []]}, None, free]}
    return {"$let": {"vars": {"compared": compared}, "in": verdict}}


def _unmatched() -> Expression:
    return {"$eq": [{"$ifNull": ["$$one.matches", []]}, []]}


def _one_layer() -> Expression:
    """Say whether the decoded crystal is one layer in a vacuum; null in campaigns of bulk."""
    layer = "$screening.prescreen.layer"
    return known(layer, {"$not": [{"$gt": [f"{layer}.reason", None]}]})


def _screened(value: Expression) -> Expression:
    return known("$screening.models", value)


def _count(
    paper: PaperFunnel, step: Step, found: Sequence[tuple[Mapping[str, bool | None], int]]
) -> dict[str, Any]:
    path = _path(paper, step)
    # What was compared with nothing else is not counted for lack of a layer or by training alone.
    possible = step.needs is None or any(one[step.needs] is not None for one, _ in found)
    passed = failed = unknown = left = 0
    for verdicts, n in found:
        before = [verdicts[key] for key in path]
        if any(verdict is False for verdict in before):
            continue
        verdict = verdicts[step.key] if possible else None
        passed += n * (verdict is True)
        failed += n * (verdict is False)
        unknown += n * (verdict is None)
        left += n * all(one is True for one in [*before, verdict])
    evaluated = passed + failed
    return {
        "key": step.key,
        "label": step.label,
        "note": step.note,
        "passed": passed,
        "failed": failed,
        "not_evaluated": unknown,
        "left": left,
        "share": asdict(Share.of_counts(passed, evaluated)) if evaluated else None,
        "paper": {"count": step.count, "of": step.of, "share": paper.share(step)},
    }


def _path(paper: PaperFunnel, step: Step) -> list[str]:
    """Return the rows that a row builds on, the nearest first."""
    keys = []
    while step.of is not None:
        step = paper.step(step.of)
        keys.append(step.key)
    return keys


def describe(found: dict[str, Any], generator: str, width: int = WIDTH) -> list[str]:
    """Lay the comparison out in lines of at most 80 characters.

    Args:
        found: As from `paper_funnel`.
        generator: What the campaign's candidates come from.
        width: Of the terminal; one that is narrower gets several short lines for each row.
    """
    if width < WIDTH:
        return _narrow(found, generator)
    lines = [
        f"Beside the paper's campaign {found['name']} (doi {found['doi']}):",
        f"{'':34}{'here, ' + generator:<30}{'paper, ' + found['generator']:>16}",
        f"{'':34}{'passed':>6}{'of':>6}{'share, 95 %':>18}{'count':>8}{'share':>8}",
    ]
    for step in found["steps"]:
        paper = step["paper"]
        count = "" if paper["count"] is None else str(paper["count"])
        share = "" if paper["share"] is None else f"{paper['share']:.1%}"
        lines.append(f"{step['label']:<34}{_here(step)}{count:>8}{share:>8}".rstrip())
    return lines


def _narrow(found: dict[str, Any], generator: str) -> list[str]:
    """Lay the comparison out in lines of at most 40 characters."""
    lines = [
        f"Beside the paper's {found['name']}",
        f"(doi {found['doi']}),",
        f"here {generator}, there {found['generator']}:",
    ]
    for step in found["steps"]:
        paper = step["paper"]
        count = "" if paper["count"] is None else f" {paper['count']}"
        share = "" if paper["share"] is None else f" {paper['share']:.1%}"
        lines.append(step["label"])
        here = " ".join(_here(step).split())
        passed, *rest = here.split(" ", 2)
        shown = here if step["share"] is None else f"{passed} of {' '.join(rest)}"
        lines.append(f"  here {shown}")
        if count or share:
            lines.append(f"  paper{count}{share}")
    return lines


def _here(step: Mapping[str, Any]) -> str:
    share = step["share"]
    if share is None:
        return f"{'not evaluated':>30}"
    low, high = (round(100 * share[key]) for key in ("low", "high"))
    interval = f"{share['inside'] / share['of']:.1%} ({low}-{high})"
    return f"{share['inside']:>6}{share['of']:>6}{interval:>18}"
