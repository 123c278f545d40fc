"""The part of a campaign's page that is read once: choice for DFT, best, learning, settings."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from agents.verify.choice.arms import ALL_WINDOWS, CHOICE, CONTROL
from db.documents import Campaign
from discovery.dashboard import markup
from discovery.dashboard.links import candidate_link
from discovery.reports.status import arms, best, learning_events

ARMS = {CHOICE: "chosen", CONTROL: "drawn at random (control)"}


def chosen(record: Campaign) -> Component:
    """Show what DFT said of the chosen candidates, and of those drawn at random."""
    rows = []
    for arm in arms(record):
        for window, share in arm["windows"].items():
            rows.append(
                [
                    ARMS[arm["arm"]],
                    "every window" if window == ALL_WINDOWS else markup.name(window),
                    f"{share['inside']} of {share['of']}",
                    f"{share['low']:.2f} to {share['high']:.2f}",
                    markup.number(arm["failed"]),
                ]
            )
    if not rows:
        return markup.section(
            "Chosen for DFT", markup.message("DFT was asked for no candidate yet."), name="dft"
        )
    table = markup.table(
        "What DFT says of the candidates that were chosen, and of those drawn at random",
        ["Candidates", "Target", "Inside", "Share, 95 % interval", "Failed"],
        rows,
        numeric=[2, 3, 4],
    )
    return markup.section("Chosen for DFT", table, name="dft")


def most_advanced(campaign: str) -> Component:
    """Show the candidates that came furthest."""
    found = best(campaign)
    if not found:
        return markup.section(
            "Most advanced", markup.message("No candidate was screened yet."), name="best"
        )
    rows = [
        [
            candidate_link(one["id"]),
            markup.formula(one["formula"]),
            one["state"],
            markup.number(one["formation_energy_per_atom_potential"]),
            markup.number(one["energy_above_hull_potential"]),
            markup.number(one["formation_energy_per_atom"]),
            markup.number(one["band_gap"]),
            {True: "hit", False: "no hit", None: None}[one["hit"]],
        ]
        for one in found
    ]
    columns = [
        *("Candidate", "Formula", "State", "E_f, potential (eV/atom)"),
        *("Above hull, potential (eV/atom)", "E_f, DFT (eV/atom)", "Gap, DFT (eV)", "DFT says"),
    ]
    table = markup.table(
        "Verified hits first, then the lowest energies by the potential",
        columns,
        rows,
        numeric=[3, 4, 5, 6],
        name="best-candidates",
    )
    return markup.section("Most advanced", table, name="best")


def learning(campaign: str) -> Component:
    """Show every training of the property head, and what became of it."""
    events = learning_events(campaign)
    if not events:
        return markup.section(
            "Learning", markup.message("The property head did not learn yet."), name="learning"
        )
    rows = [
        [
            markup.when(one["at"]),
            one["decision"],
            one["version"],
            markup.number((one.get("seen") or {}).get("potential")),
            markup.number((one.get("seen") or {}).get("dft")),
            html.Span(one["reason"], className="prose"),
        ]
        for one in events
    ]
    columns = ["When", "Decision", "Version", "Labels of the potential", "Labels of DFT", "Why"]
    table = markup.table(
        "What became of each training of the property head",
        columns,
        rows,
        numeric=[3, 4],
        name="learning-events",
    )
    return markup.section("Learning", table, name="learning")


def settings(record: Campaign) -> Component:
    """Show what the campaign was asked for, and what `auto` became."""
    config, resolved = record.config, record.resolved or {}
    generator, potential = resolved.get("generator") or {}, resolved.get("potential") or {}
    verify = config.get("verify") or {}
    screens = [one["name"] for one in resolved.get("screens") or [] if one.get("used")]
    values: dict[str, Any] = {
        "Targets": [html.Div(_target(one)) for one in config.get("targets") or []] or None,
        "Generator": _versioned(generator),
        "Head": record.live_model or generator.get("head"),
        "Potential": _versioned(potential),
        "Models of the screens": ", ".join(screens) or None,
        "DFT": " ".join(str(verify[key]) for key in ("backend", "preset") if key in verify) or None,
        "Proposers": ", ".join(
            str(one.get("kind")) for one in (config.get("propose") or {}).get("proposers") or []
        )
        or None,
        "Seed": str(record.seed),
        "Started": markup.when(record.created_at),
        "Last change": markup.when(record.updated_at),
    }
    return markup.section("Settings", markup.facts(values), name="settings")


def _versioned(model: dict[str, Any]) -> str | None:
    parts = [str(model[key]) for key in ("name", "version", "level") if model.get(key)]
    return " ".join(parts) or None


def _target(target: dict[str, Any]) -> list[Any]:
    unit = {"band_gap": "eV"}.get(target["property"], "eV/atom")
    low, high = target.get("min"), target.get("max")
    if low is not None and high is not None:
        window = f" {low:g} to {high:g} {unit}"
    elif low is not None:
        window = f" at least {low:g} {unit}"
    else:
        window = f" at most {high:g} {unit}"
    return [markup.name(target["property"]), window.replace("-", markup.MINUS)]
