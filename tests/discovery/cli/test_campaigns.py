"""``discovery campaigns``: what is shipped, for people and for programs."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from discovery.campaign.config import load_campaign, shipped_campaigns
from discovery.cli import app


def test_every_shipped_campaign_is_listed_with_what_it_takes() -> None:
    shown = CliRunner().invoke(app, ["campaigns"]).stdout
    listed = json.loads(CliRunner().invoke(app, ["campaigns", "--json"]).stdout)
    assert [one["campaign"] for one in listed] == shipped_campaigns()
    for one in listed:
        config = load_campaign(one["campaign"])
        assert one["targets"] == config.record()["targets"]
        assert one["paper_funnel"] == config.paper_funnel
        for text in (f"{config.name}: {config.description}", config.expected, config.generator):
            assert text in shown
    assert "0.5 <= band_gap <= 2.5 eV" in shown
