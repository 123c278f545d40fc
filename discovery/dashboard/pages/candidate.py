"""One candidate: its crystal, every number with its source, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dash import html
from dash.development.base_component import Component

from db.crystals import record_to_structure
from discovery.dashboard import markup
from discovery.dashboard.candidate_numbers import Number, numbers
from discovery.dashboard.later import answer_later, later, text_of
from discovery.dashboard.links import CANDIDATE, candidate_link, candidates_address
from discovery.dashboard.page import Address, Page, address_of
from discovery.dashboard.pattern import (
    WAVELENGTH,
    NoPattern,
    draw_pattern,
    powder_pattern,
    strongest,
)
from discovery.dashboard.pictures import cell_table, crystals, described, picture
from discovery.dashboard.warming import warm
from discovery.export.candidates import best_structure, full_record
from discovery.figures.symmetry import SYMPREC, space_group
from discovery.lineage.tracing import trace
from discovery.lineage.view import sections

if TYPE_CHECKING:
    from dash import Dash
    from pymatgen.core import Structure

Record = Mapping[str, Any]

DUPLICATES = "/candidate/{candidate}/duplicates"
FAMILY = "candidate-family"
LISTED_LINES = 20
#: Parts of `sections` that have no form of their own here, and their headings.
WRITTEN = {
    "hull": "Convex hull",
    "calculations": "Calculations",
    "follow-up": "Follow-up",
    "history": "History",
}


def layout(address: Address) -> list[Component]:
    """Show a candidate."""
    record = full_record(address.values["candidate"])
    written = sections(record)
    shapes = structures(record)
    return [
        markup.heading(markup.formula(record.get("formula") or "No crystal"), " ", _state(record)),
        _facts(record),
        _crystal(shapes),
        _numbers(record),
        _duplicates(record),
        _pattern(shapes),
        markup.section(
            "Where it comes from",
            later(FAMILY, record["id"], "Reading its base crystal and its models …"),
            name="origin",
        ),
        *(
            markup.section(title, described(written[part]), name=part)
            for part, title in WRITTEN.items()
            if part in written
        ),
    ]


def structures(record: Record) -> dict[str, Structure]:
    """Return the crystals of a candidate, as decoded and as relaxed, where there are any."""
    found = {
        "decoded": record.get("structure"),
        "relaxed": (record.get("relaxation") or {}).get("structure"),
    }
    return {name: record_to_structure(one) for name, one in found.items() if one is not None}


def _state(record: Record) -> Component:
    hit = (record.get("verification") or {}).get("hit")
    words = {True: ", a hit", False: ", a miss", None: ""}[hit]
    return html.Span(f"{record['state']}{words}", className="state")


def _facts(record: Record) -> Component:
    campaign = str(record["campaign"])
    rejection = record.get("rejection") or {}
    found = record.get("duplicates") or {}
    values: dict[str, Any] = {
        "Candidate": html.Code(record["id"]),
        "Campaign": markup.link(
            campaign, address_of("/campaign/{campaign}", {"campaign": campaign})
        ),
        "Proposed by": record.get("proposer"),
        "Atoms in the cell": markup.number(record.get("n_atoms")),
        "Space group": _space_group(record),
        "Rejected because": rejection.get("reason"),
        "Detail": _plain(rejection.get("detail")),
        "Failed because": record.get("error"),
    }
    known = {name: value for name, value in values.items() if value is not None}
    same = candidates_address(campaign, where=f'formula = "{record.get("formula")}"')
    links = [
        *([markup.link("All of this formula", same)] if record.get("formula") else []),
        *([markup.link("Duplicates side by side", _duplicates_address(record))] if found else []),
    ]
    return html.Div([markup.facts(known), html.P(html.Span(links, className="links"))])


def _plain(detail: Any) -> str | None:
    if detail is None or isinstance(detail, str):
        return detail
    return str(detail)


def _space_group(record: Record) -> str | None:
    """Name the space group, and of which crystal it is."""
    from pymatgen.symmetry.groups import sg_symbol_from_int_number

    by_dft = (record.get("verification") or {}).get("space_group")
    if by_dft is not None:
        return f"{sg_symbol_from_int_number(by_dft)} ({by_dft}), of the crystal DFT computed"
    crystal = best_structure(record)
    number = None if crystal is None else space_group(crystal)
    if number is None:
        return None
    which = "decoded" if crystal is record.get("structure") else "relaxed"
    return f"{sg_symbol_from_int_number(number)} ({number}), {which}, within {SYMPREC} Å"


def _crystal(shapes: Mapping[str, Structure]) -> Component:
    if not shapes:
        text = "Its codes decode to no crystal."
        return markup.section("Crystal", markup.message(text), name="crystal")
    caption = "Cell as " + " and as ".join(shapes)
    return markup.section(
        "Crystal",
        crystals({name.capitalize(): one for name, one in shapes.items()}, name="crystal-view"),
        cell_table(shapes, caption, name="cell"),
        html.Details([html.Summary("Positions of the atoms"), *map(_sites, *zip(*shapes.items()))]),
        name="crystal",
    )


def _sites(name: str, structure: Structure) -> Component:
    rows = [
        [str(place), site.specie.symbol, *(markup.number(float(x), 4) for x in site.frac_coords)]
        for place, site in enumerate(structure, start=1)
    ]
    columns = ["Atom", "Element", "x", "y", "z"]
    caption = f"{name.capitalize()}: fractional coordinates"
    return markup.table(caption, columns, rows, numeric=[0, 2, 3, 4])


def _numbers(record: Record) -> Component:
    found = numbers(record)
    if not found:
        text = "No model has judged it yet."
        return markup.section("Numbers", markup.message(text), name="numbers-part")
    columns = ["Quantity", "Value", "Unit", "Source", "Crystal", "Remark"]
    table = markup.table(
        "Every number, and what gave it on which crystal",
        columns,
        [_number_row(one) for one in found],
        numeric=[1],
        name="numbers",
    )
    return markup.section("Numbers", table, name="numbers-part")


def _number_row(one: Number) -> list[Any]:
    value = markup.number(float(one.value), one.digits)
    if one.spread is not None:
        value += f" ± {one.spread:.3f}"
    unit = "" if one.unit == "1" else one.unit
    source = [one.source, *([html.Br(), one.level] if one.level else [])]
    remark = html.Span(one.note, className="remark") if one.note else ""
    return [markup.name(one.property), value, unit, source, one.crystal, remark]


def _duplicates_address(record: Record) -> str:
    return address_of(DUPLICATES, {"candidate": record["id"]})


def comparisons(record: Record) -> Iterator[tuple[str, Record]]:
    """List what a candidate was compared with: the kind, and the comparison."""
    found = record.get("duplicates") or {}
    for kind in ("training", "campaign"):
        if kind in found:
            yield kind, found[kind]
    for one in found.get("references", []):
        yield "known", one


def _duplicates(record: Record) -> Component:
    rows = [
        [
            candidate_link(match["id"]) if kind == "campaign" else match["id"],
            one["reference"],
            markup.number(match["rms"], 4),
            markup.number(match.get("rms_angstrom"), 4),
            match.get("label"),
        ]
        for kind, one in comparisons(record)
        for match in one["matches"]
    ]
    compared = [
        f"{markup.number(one['compared'])} of {one['reference']}" for _, one in comparisons(record)
    ]
    title, name = "Duplicates", "duplicates"
    if not compared:
        return markup.section(
            title, markup.message("It was compared with no other crystal."), name=name
        )
    said = markup.message(f"Compared by StructureMatcher with {', '.join(compared)}.")
    if not rows:
        return markup.section(title, said, markup.message("It equals none of them."), name=name)
    table = markup.table(
        "Crystals that it equals; RMS in units of (V/N)^(1/3), and in Å",
        ["Crystal", "Of", "RMS", "RMS (Å)", "What it is"],
        rows,
        numeric=[2, 3],
        name="matches",
    )
    aside = html.P(markup.link("Side by side", _duplicates_address(record)))
    return markup.section(title, said, table, aside, name=name)


def _pattern(shapes: Mapping[str, Structure]) -> Component:
    title, name = "X-ray powder pattern", "pattern"
    if not shapes:
        return markup.section(title, markup.message("There is no crystal."), name=name)
    which, structure = list(shapes.items())[-1]
    try:
        lines = powder_pattern(structure)
    except NoPattern as error:
        return markup.section(title, markup.message(f"None: {error}."), name=name)
    caption = (
        f"Of the {which} crystal: Cu Kα, {WAVELENGTH} Å, kinematic, no thermal motion (pymatgen). "
        "Points carry indices; the strongest are written."
    )
    top = strongest(lines, 3)
    alt = f"Powder pattern with {len(lines)} lines; the strongest at " + ", ".join(
        f"{line.two_theta:.2f}°" for line in top
    )
    rows = [
        [
            f"{line.two_theta:.2f}",
            f"{line.intensity:.1f}",
            f"{line.spacing:.4f}",
            " ".join(line.indices),
        ]
        for line in sorted(strongest(lines, LISTED_LINES), key=lambda line: line.two_theta)
    ]
    columns = ["2θ (°)", "Intensity", "d (Å)", "Indices"]
    table = markup.table(
        f"The strongest {len(rows)} of {len(lines)} lines", columns, rows, numeric=[0, 1, 2]
    )
    return markup.section(
        title,
        picture(draw_pattern(lines), caption, alt, name="pattern-view", height="22rem"),
        html.Details([html.Summary("Lines as a table"), table]),
        name=name,
    )


def family(about: Any) -> list[Component]:
    """Show base, parents, codes and models of a candidate."""
    record = trace(text_of(about))
    written = sections(record)
    parts: list[Component] = [described(written["origin"])]
    parents = record["lineage"]["parents"]
    if parents:
        rows = [
            [
                candidate_link(one["id"]),
                markup.formula(one["formula"]),
                one["state"],
                markup.number(one["evaluation"].get("formation_energy_per_atom")),
            ]
            for one in parents
        ]
        columns = ["Parent", "Formula", "State", "E_f of the decoded crystal (eV/atom)"]
        parts.append(
            markup.table(
                "Candidates whose codes it inherits", columns, rows, numeric=[3], name="parents"
            )
        )
    if "models" in written:
        parts += [html.H3("Models"), described(written["models"])]
    return parts


def callbacks(app: Dash) -> None:
    """Fill in what takes longer: the generator is read for the base crystal."""
    answer_later(app, FAMILY, family)
    warm()


PAGE = Page(
    path=CANDIDATE,
    title=lambda address: address.values["candidate"],
    layout=layout,
    callbacks=callbacks,
)
