"""A small campaign in the database whose candidates went every way there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from db import campaigns
from db.connection import current_database
from db.property_table import table_fields
from db.states import FUNNEL, State
from discovery.campaign.config import load_campaign

Record = dict[str, Any]

START = datetime(2026, 1, 1, tzinfo=UTC)
POTENTIAL = "chgnet-0.3.0"
HEAD = "000000000000"
RESOLVED: Record = {
    "discovery": "0.1.0",
    "environment": {"python": "3.11.7", "platform": "Linux", "packages": {"torch": "2.13.0"}},
    "generator": {"name": "perov5", "version": "372e8f85ca77", "head": HEAD},
    "potential": {"name": "chgnet", "level": POTENTIAL, "references": "a" * 64, "device": "cpu"},
    "hull": {"used": False, "reason": "the reference collection mp was not imported"},
    "screens": [{"name": "megnet", "used": True, "version": "mp-2018.6.1", "reason": None}],
    "references": [{"name": "mp", "used": False, "reason": "not imported"}],
    "dft": {"level": "gpaw-pbe", "settings": {}},
}


def store_campaign(name: str = "made", documents: list[Record] | None = None) -> None:
    """Store a campaign with the settings of quickstart and some candidates."""
    config = load_campaign("quickstart").record() | {"name": name}
    campaigns.create(name, config=config, seed=1, resolved=RESOLVED)
    if documents:
        current_database()["candidates"].insert_many(
            [{**one, "campaign": name, "_id": f"{name}-{one['seq']:06d}"} for one in documents]
        )


def path_to(state: State, left: State | None = None) -> list[State]:
    """Return the states that a candidate went through, the last one being its own."""
    if left is None:
        return list(FUNNEL[: FUNNEL.index(state) + 1])
    return [*path_to(left), state]


def candidate(
    number: int,
    state: State,
    left: State | None = None,
    *,
    reason: str | None = None,
    formula: str = "ScNO2",
    energy: float = -1.0,
    smact: bool | None = True,
    proposer: str = "genetic",
    predicted: tuple[float, float, str] | None = None,
    hit: bool | None = None,
    **more: Any,
) -> Record:
    """Make a candidate as the agents leave it.

    Args:
        number: Order of proposal.
        state: Its state.
        left: The state it was in before, where that is not the one before in the funnel.
        reason: Why it was rejected.
        formula: Reduced formula.
        energy: Formation energy of the decoded crystal, eV/atom; relaxing gains 0.5.
        smact: SMACT's verdict; None: the rules were not applied.
        proposer: Who asked for it.
        predicted: The head's formation energy, its standard deviation, and the head's version.
        hit: DFT's verdict.
        more: Further fields.
    """
    from pymatgen.core import Composition

    path = path_to(state, left)
    elements = sorted(element.symbol for element in Composition(formula).elements)
    found: Record = {
        "seq": number,
        "generator_version": "372e8f85ca77",
        "codes_hash": str(number),
        "codes": {"species": [[number]], "crystal": [number], "local": [[0]]},
        "base_id": "1",
        "proposer": proposer,
        "episode": 0,
        "generation": number // 8,
        "state": str(state),
        "formula": formula,
        "elements": elements,
        "chemical_system": "-".join(elements),
        "n_atoms": 5,
        "history": [
            {"from": before, "to": str(after), "at": START + timedelta(seconds=number)}
            for before, after in zip([None, *map(str, path)], path)
        ],
        "created_at": START + timedelta(seconds=number),
        "predictions": [],
    }
    if State.EVALUATED in path:
        found["evaluation"] = {
            "energy": 5 * energy,
            "formation_energy_per_atom": energy,
            "level": POTENTIAL,
        }
        if predicted:
            found["predictions"].append(_by_head(*predicted, on="decoded"))
    if smact is not None and State.EVALUATED in path:
        found["screening"] = {"prescreen": {"smact_cdvae": smact}}
    if State.RELAXED in path:
        found["relaxation"] = {
            "formation_energy_per_atom": energy - 0.5,
            "max_force": 0.02,
            "level": POTENTIAL,
        }
        found["relaxed_codes"] = found["codes"]
        if predicted:
            found["predictions"].append(_by_head(*predicted, on="relaxed"))
    if State.SELECTED in path:
        found["selection"] = {"position": number, "control": False}
    if state is State.VERIFIED:
        found["verification"] = {
            "formation_energy_per_atom": energy - 0.4,
            "band_gap": 1.25,
            "level": "gpaw-pbe",
            "hit": hit,
            "targets": {"formation_energy_per_atom": bool(hit), "band_gap": bool(hit)},
            "calculations": {},
        }
    if reason:
        found["rejection"] = {"reason": reason, "detail": {}, "stage": "test"}
    found |= more
    return {**found, **table_fields(found)}


def _by_head(value: float, std: float, version: str, *, on: str) -> Record:
    return {
        "property": "formation_energy_per_atom",
        "value": value,
        "std": std,
        "unit": "eV/atom",
        "model": "head",
        "version": version,
        "level": POTENTIAL,
        "on": on,
        "in_domain": True,
    }


def every_way() -> list[Record]:
    """Make one candidate, or more, for every way through the funnel."""
    made = [
        (State.PROPOSED, None, {}),
        (State.REJECTED, State.PROPOSED, {"reason": "invalid_decode", "formula": "SrTiO3"}),
        (State.REJECTED, State.EVALUATED, {"reason": "smact", "smact": False, "energy": -3.0}),
        (State.REJECTED, State.EVALUATED, {"reason": "smact", "smact": False}),
        (State.EVALUATED, None, {"energy": 0.3}),
        (State.REJECTED, State.PRESCREENED, {"reason": "relaxation_budget"}),
        (State.RELAXING, None, {"formula": "GaN"}),
        (State.REJECTED, State.RELAXING, {"reason": "max_force"}),
        (State.FAILED, State.RELAXED, {"error": "it broke"}),
        (State.SCREENED, None, {"formula": "GaN", "proposer": "donor"}),
        (State.VERIFYING, None, {"formula": "InN"}),
        (State.FAILED, State.VERIFYING, {"error": "did not converge"}),
        (State.VERIFIED, None, {"hit": True, "formula": "GaInN2", "energy": -2.0}),
        (State.VERIFIED, None, {"hit": False, "formula": "LiF"}),
        (State.VERIFIED, None, {"hit": None, "formula": "NaF"}),
    ]
    return [
        candidate(number, state, left, predicted=(-0.9, 0.2, HEAD), **more)
        for number, (state, left, more) in enumerate(made)
    ]
