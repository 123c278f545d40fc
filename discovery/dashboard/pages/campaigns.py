"""All campaigns of the database."""

from __future__ import annotations

from dash.development.base_component import Component

from db.campaigns import listed
from discovery.dashboard import markup
from discovery.dashboard.page import Address, Page, address_of


def layout(address: Address) -> list[Component]:
    """List the campaigns, the one changed last first."""
    found = listed()
    if not found:
        return [
            markup.heading("Campaigns"),
            markup.message("No campaigns yet: start one with discovery run --campaign quickstart."),
        ]
    rows = [
        [
            markup.link(
                one["campaign"], address_of("/campaign/{campaign}", {"campaign": one["campaign"]})
            ),
            one["state"],
            markup.number(one["candidates"]),
            markup.when(one["created_at"]),
            markup.when(one["updated_at"]),
        ]
        for one in found
    ]
    columns = ["Campaign", "State", "Candidates", "Started", "Last change"]
    return [
        markup.heading("Campaigns"),
        markup.table("Campaigns of this database", columns, rows, numeric=[2], name="campaigns"),
    ]


PAGE = Page(path="/", title=lambda address: "Campaigns", layout=layout)
