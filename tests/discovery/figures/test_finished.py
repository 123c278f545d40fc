"""A campaign that really ran: every figure is drawn or says why not, and its numbers are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas
import pytest
from layout import faults

from db.connection import connect
from discovery.figures import FIGURES, NothingToShow, read_campaign

if TYPE_CHECKING:
    from workplace import Workplace

pytestmark = pytest.mark.campaign

ENERGY = "formation_energy_per_atom"


def test_figures_of_a_finished_campaign(finished: Workplace):
    rows = finished.json("query", "tiny", "--format", "json")
    with connect(home=finished.folder / ".discovery", create=False):
        data = read_campaign("tiny")
    stored = pandas.DataFrame(
        {
            "id": one["id"],
            "decoded": (one.get("evaluation") or {}).get(ENERGY),
            "relaxed": (one.get("relaxation") or {}).get(ENERGY),
            "judged": (one.get("verification") or {}).get(f"{ENERGY}_judged"),
        }
        for one in rows
    ).set_index("id")
    shown, reasons = {}, {}
    for name, figure in FIGURES.items():
        try:
            content = figure.content(data)
        except NothingToShow as nothing:
            reasons[name] = nothing.reason
            continue
        assert faults(content.draw()) == [], name
        shown[name] = content.table
    assert all(len(reason) > 20 for reason in reasons.values()), reasons
    assert {"code-map", "code-hulls", "generations", "distributions", "parity"} <= set(shown)

    places = shown["code-map"].set_index("id")
    for kind, column in (("proposed", "decoded"), ("relaxed", "relaxed")):
        own = places[places["codes"] == kind]["formation_energy_eV_per_atom"]
        assert own.to_dict() == stored.loc[own.index, column].to_dict()
    decoded = shown["generations"].set_index("id")["formation_energy_decoded_eV_per_atom"]
    assert decoded.to_dict() == stored["decoded"].dropna().to_dict()
    computed = shown["parity"].query("property == @ENERGY").set_index("id")["dft"]
    assert computed.to_dict() == stored["judged"].dropna().to_dict() != {}
