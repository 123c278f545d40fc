"""A candidate beside the crystals that it equals: both cells, turned together, atom by atom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dash import html
from dash.development.base_component import Component

from db import campaigns, queries
from db.crystals import record_to_structure
from discovery.dashboard import markup
from discovery.dashboard.later import answer_later, later, text_of
from discovery.dashboard.links import candidate_link
from discovery.dashboard.page import Address, Page
from discovery.dashboard.pages.candidate import DUPLICATES, comparisons
from discovery.dashboard.pictures import cell_table, crystals
from discovery.lineage.known_crystals import link_known

if TYPE_CHECKING:
    from dash import Dash
    from pymatgen.core import Structure

Record = Mapping[str, Any]

MATCHES = "duplicates-matches"
TITLES = {"campaign": "In this campaign", "training": "In the training set of the generator"}


def layout(address: Address) -> list[Component]:
    """Show the closest match of a candidate in every collection."""
    record = queries.get(address.values["candidate"])
    title = ["Duplicates of ", markup.formula(record.get("formula") or "no crystal")]
    back = html.P(["Candidate ", candidate_link(record["id"])])
    if not list(comparisons(record)):
        text = "It was compared with no other crystal."
        return [markup.heading(*title), back, markup.message(text)]
    if not any(one["matches"] for _, one in comparisons(record)):
        text = "It equals none of the crystals that it was compared with."
        return [markup.heading(*title), back, markup.message(text)]
    return [
        markup.heading(*title),
        back,
        later(MATCHES, record["id"], "Laying the crystals upon one another …"),
    ]


def matches(about: Any) -> list[Component]:
    """Show the matches of a candidate, one part for each collection."""
    record = queries.get(text_of(about))
    generator = campaigns.load(record["campaign"]).resolved["generator"]
    kinds = {one["reference"]: kind for kind, one in comparisons(record)}
    return [
        _match(place, kinds[one["reference"]], one)
        for place, one in enumerate(link_known(record, generator))
    ]


def _match(place: int, kind: str, one: Record) -> Component:
    identifier = one["id"]
    shown = candidate_link(identifier) if kind == "campaign" else html.Code(identifier)
    title = TITLES.get(kind) or f"In the collection {one['reference']}"
    values: dict[str, Any] = {
        "Equals": shown,
        "Of": one["reference"],
        "RMS": markup.number(one["rms"], 4),
        "RMS (Å)": markup.number(one["rms_angstrom"], 4),
        "What it is": one["label"],
        "Further matches there": markup.number(one["others"]) if one["others"] else None,
        "Page": one["url"] and html.A(one["url"], href=one["url"], rel="noreferrer"),
    }
    known = {name: value for name, value in values.items() if value}
    name = f"match-{place}"
    parts: list[Component] = [markup.facts(known)]
    if "unknown" in one:
        parts.append(markup.message(f"Not side by side: {one['unknown']}."))
        return markup.section(title, *parts, name=name)
    both = {
        "This crystal": record_to_structure(dict(one["candidate"])),
        identifier: record_to_structure(dict(one["known"])),
    }
    parts += [
        crystals(both, name=f"{name}-view"),
        cell_table(both, "Primitive cells", name=f"{name}-cells"),
        _pairs(both, one["distances"], name=f"{name}-atoms"),
    ]
    return markup.section(title, *parts, name=name)


def _pairs(both: Mapping[str, Structure], distances: list[float], *, name: str) -> Component:
    ours, theirs = both.values()
    rows = [
        [
            site.specie.symbol,
            _place(site),
            _place(other),
            markup.number(apart, 4),
        ]
        for site, other, apart in zip(ours, theirs, distances, strict=True)
    ]
    caption = "Atoms in pairs, fractional coordinates; apart as measured in the mean of both cells"
    columns = ["Atom", *both, "Apart (Å)"]
    return markup.table(caption, columns, rows, numeric=[3], name=name)


def _place(site: Any) -> str:
    return "  ".join(markup.number(float(value), 4) for value in site.frac_coords)


def callbacks(app: Dash) -> None:
    """Fill in the matches: a training crystal is decoded for them."""
    answer_later(app, MATCHES, matches)


PAGE = Page(
    path=DUPLICATES,
    title=lambda address: f"Duplicates of {address.values['candidate']}",
    layout=layout,
    callbacks=callbacks,
)
