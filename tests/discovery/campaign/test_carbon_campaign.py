"""The carbon campaign: one element, its own window of energies, pressure without a hull."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from agents.propose.episodes import ask_round
from agents.screen.validity import excludes, judge
from db import campaigns, candidates
from db.connection import Session
from db.documents import Candidate
from discovery.campaign.config import CampaignConfig, ConfigError, load_campaign
from discovery.campaign.overrides import apply_overrides
from model.generator import Generator


@pytest.fixture(scope="module")
def carbon() -> CampaignConfig:
    return load_campaign("carbon")


def test_pressure_is_a_setting_and_has_no_hull(carbon: CampaignConfig) -> None:
    pressed = apply_overrides(carbon, {"relax.pressure": 10})
    assert (pressed.relax.pressure, pressed.hull.reference) == (10.0, None)
    for hull in ({"hull.reference": "auto"}, {"follow_up.hull": True}, {"follow_up.hull": "auto"}):
        with pytest.raises(ConfigError, match=r"zero pressure and relax\.pressure is 10 GPa"):
            apply_overrides(carbon, {"relax.pressure": 10, **hull})


def test_its_rules_let_carbon_pass_and_nothing_else(carbon: CampaignConfig) -> None:
    diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]])
    assert judge(diamond, carbon.screen).valid
    assert not excludes(carbon.screen, "C")
    assert excludes(carbon.screen, "SiC")
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    assert "elements" in judge(silicon, carbon.screen).failed


def test_no_screen_of_gaps_and_no_funnel_of_the_paper(carbon: CampaignConfig) -> None:
    assert [window.property for window in carbon.targets] == ["formation_energy_per_atom"]
    assert carbon.targets[0].max is not None
    assert carbon.targets[0].max <= carbon.relax.elemental_max_above_reference == 0.5
    assert (carbon.screen.models, carbon.screen.consensus) == (("head",), "rank")
    assert carbon.paper_funnel is None


def test_two_rounds_propose_different_crystals_of_carbon(
    carbon: CampaignConfig, database: Session
) -> None:
    generator = Generator.load("carbon24")
    campaigns.create("carbon", config=carbon.record(), seed=carbon.seed)
    reports = []
    for number in range(2):
        asked = (carbon.seed, generator, generator.head, carbon.propose, number)
        reports.append(ask_round("carbon", *asked, targets=carbon.targets))
        for one in Candidate.objects(campaign="carbon", state="proposed"):
            candidates.transition(
                one.id,
                source="proposed",
                to="rejected",
                token=one.token,
                agent="test",
                reason="test",
            )
    proposed = list(Candidate.objects(campaign="carbon"))
    assert {one.formula for one in proposed if one.formula} == {"C"}
    assert len(proposed) == sum(report.new for report in reports) >= 80
    single = [g for report in reports for g in report.generations if g.proposer == "donor"]
    assert len({generation.base_id for generation in single}) == 4
    assert max(one.n_atoms for one in proposed if one.n_atoms) <= carbon.screen.max_atoms
