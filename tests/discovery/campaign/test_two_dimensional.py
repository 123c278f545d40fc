"""The stages of the two-dimensional campaign, with real models, on layers and on what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from agents.slab import MATCHING_VACUUM, vacuum, with_vacuum
from agents.stage import work
from db import campaigns, candidates
from db.connection import Session
from db.crystals import crystal_fields, record_to_structure
from db.documents import Candidate
from db.queries import find
from db.states import State
from discovery.campaign.config import load_campaign
from discovery.campaign.resolution import resolve
from discovery.references.importing import ensure_imported
from discovery.workers.runtime import Runtime

NAME = "flat"


def iodide(metal: str, edge: float, tilt: float = 0.0, gap: float = 20.0) -> Structure:
    """A 1T layer MI2, off its minimum, c tilted."""
    height = 3.4 + gap
    cell = Lattice.hexagonal(edge, height).matrix.copy()
    cell[2, 0] += tilt
    z = 0.5 + np.array([0.0, 1.7, -1.7]) / height
    sites = [[0, 0, z[0]], [1 / 3, 2 / 3, z[1]], [2 / 3, 1 / 3, z[2]]]
    flat = Structure(Lattice.hexagonal(edge, height), [metal, "I", "I"], sites)
    return Structure(Lattice(cell), flat.species, flat.cart_coords, coords_are_cartesian=True)


def crystals() -> dict[str, Structure]:
    """One of each kind."""
    layer = iodide("Cd", 4.1, tilt=0.02)
    double = layer.cart_coords + np.array([0, 0, 7.4])
    pair = Structure(
        Lattice.hexagonal(4.1, 35.0),
        layer.species * 2,
        np.vstack([layer.cart_coords, double]),
        coords_are_cartesian=True,
    )
    chain = Structure(
        Lattice.orthorhombic(3.8, 12.0, 20.0),
        ["Zn", "Cl", "Cl"],
        [[0, 0.5, 0.5], [0.5, 0.61, 0.5], [0.5, 0.39, 0.5]],
    )
    return {
        "known": layer,
        "new": iodide("Sr", 4.6),
        "lanthanide": iodide("Eu", 4.6),
        "pair": pair,
        "bulk": with_vacuum(layer, 20.0).apply_strain([0, 0, -0.69]),
        "chain": chain,
    }


def move(name: str, source: State, to: State, **updates: Any) -> None:
    token = candidates.load(name).token
    candidates.transition(name, source=source, to=to, token=token, agent="test", updates=updates)


@pytest.mark.models
@pytest.mark.data
def test_only_single_layers_are_relaxed_in_their_plane_and_judged_by_flagged_models(
    database: Session, models_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(models_dir))
    monkeypatch.setenv("DISCOVERY_DATA", str(data_dir))
    ensure_imported("c2db")
    config = load_campaign("c2db-2d")
    config = config.model_copy(
        update={
            "name": NAME,
            "screen": config.screen.model_copy(update={"references": ("c2db",)}),
            "verify": config.verify.model_copy(update={"backend": "none"}),
        }
    )
    campaigns.create(NAME, config=config.record(), seed=1, resolved=resolve(config))
    here = Runtime(NAME)
    given = crystals()
    proposals = [
        {
            "generator_version": "g",
            "codes_hash": f"{number:064d}",
            "codes": {"n": number},
            **crystal_fields(structure),
        }
        for number, structure in enumerate(given.values())
    ]
    ids = dict(zip(given, candidates.insert_proposals(NAME, proposals), strict=True))
    work(here.stage("evaluate"), NAME, here.owner)
    work(here.stage("prescreen"), NAME, here.owner)
    found = {kind: Candidate.objects(id=name).get() for kind, name in ids.items()}
    why = {kind: one.history[-1].get("reason") for kind, one in found.items()}
    assert why == {
        "known": None,
        "new": None,
        "lanthanide": "lanthanide",
        "pair": "dimensionality",
        "bulk": "dimensionality",
        "chain": "dimensionality",
    }
    layers = {kind: one.screening["prescreen"]["layer"] for kind, one in found.items()}
    assert layers["pair"]["components"] == [0, 0, 2, 0]
    assert layers["bulk"]["reason"].startswith("no vacuum")
    assert "chains" in layers["chain"]["reason"]
    assert layers["new"]["score"] > 0.3

    for kind in ("known", "new"):
        move(ids[kind], State.PRESCREENED, State.RELAXING)
    assert work(here.stage("relax"), NAME, here.owner) == 2
    assert work(here.stage("screen"), NAME, here.owner) == 2
    for kind in ("known", "new"):
        one = Candidate.objects(id=ids[kind]).get()
        relaxed = record_to_structure(one.relaxation["structure"])
        assert vacuum(relaxed) == pytest.approx(MATCHING_VACUUM)
        assert relaxed.lattice.angles[:2] == pytest.approx((90.0, 90.0))
        assert one.relaxation["converged"]
        assert one.relaxation["settings"]["in_plane"]
        assert one.screening["relaxed"]["layer"]["reason"] is None
        by_model = {p["model"]: p for p in one.predictions if p["on"] == "relaxed"}
        assert set(by_model) == {"chgnet", "megnet", "alignn", "head"}
        for model in ("chgnet", "megnet", "alignn"):
            assert not by_model[model]["in_domain"]
            assert any(reason.startswith("vacuum:") for reason in by_model[model]["out_of_domain"])
        counted = {v["model"] for v in one.screening["consensus"]["verdicts"] if v["counted"]}
        assert {"megnet", "alignn"} <= counted
    states = {row["id"]: row["state"] for row in find(NAME)}
    known = Candidate.objects(id=ids["known"]).get()
    matches = [*known.duplicates["training"]["matches"]]
    matches += [m for one in known.duplicates["references"] for m in one["matches"]]
    assert matches  # CdI2 is in C2DB, whatever the vacuum was
    assert known.history[-1]["reason"] == "duplicate_training"
    assert states[ids["new"]] in ("screened", "rejected")
