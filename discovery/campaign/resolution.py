"""What ``auto`` means for one campaign, decided once at its start and written into its record."""

from __future__ import annotations

import os
from typing import Any

from agents.follow_up.settings import FollowUpSettings
from agents.relax.hull_settings import HullSettings
from agents.screen.settings import ScreenSettings
from discovery.campaign.config import CampaignConfig
from discovery.campaign.overrides import as_options
from discovery.structures.files import read_bases

#: What `hull.reference: auto` looks for.
AUTOMATIC_REFERENCE = "mp"

#: What `screen.references: auto` looks for: collections of known crystals, not of training ones.
AUTOMATIC_REFERENCES = ("mp", "c2db")

WITHOUT_IT = (
    "To do without, and have the record say so: --set screen.models=auto --set screen.min_models=1 "
    "--set screen.classifier=if_present"
)
"""What a person may do whose machine lacks a screen."""

#: The screen that says whether there is a gap at all.
CLASSIFIER = "megnet"


class NothingJudges(RuntimeError):
    """A gate without a screen that could open it."""


class MissingScreen(RuntimeError):
    """The files of a screen that the campaign names are not on this machine."""


class NoHull(ValueError):
    """A campaign minimises the distance to a hull that it does not have."""

    exit_code = 2


class RefusedTestModel(ValueError):
    """A campaign names a potential that exists only to test this product."""


def resolve(config: CampaignConfig) -> dict[str, Any]:
    """Decide every automatic choice; every model passes its sanity gate here.

    Args:
        config: The campaign.

    Returns:
        Plain JSON values: ``generator``, ``potential``, ``second_potential`` (or None),
        ``screens``, ``references``, ``dft``, each with name and version, and with the reason where
        a part is absent; ``bases``, a person's own base crystals with their codes.

    Raises:
        RuntimeError: A part that the campaign needs is missing or unsound (its own error class).
    """
    from agents.paths import MissingFile
    from agents.propose.objectives import Objectives
    from agents.propose.own_bases import encode_bases
    from agents.screen.models import resolve_models
    from agents.verify.backend import resolve_backend
    from discovery import __version__
    from discovery.environment import environment
    from model.generator import Generator

    try:
        screens = resolve_models(config.screen)
    except MissingFile as error:
        raise MissingScreen(f"{error}. {WITHOUT_IT}") from error
    require_judges(config, screens)
    generator = Generator.load(config.generator)
    # Refuses here what no round could compute.
    Objectives(config.propose.fitness.objectives, generator, config.targets)
    return {
        "discovery": __version__,
        "environment": environment(),
        "generator": {
            "name": config.generator,
            "version": generator.version,
            "head": generator.head.version,
        },
        "bases": encode_bases(generator, read_bases(config.propose.base.files)),
        "potential": _resolve_potential(config.relax.potential_name, config.relax.device),
        "second_potential": (
            _resolve_potential(config.relax.second_potential, config.relax.device)
            if config.relax.second_potential
            else None
        ),
        "hull": require_hull(config, resolve_hull(config.hull)),
        "screens": screens,
        "references": resolve_references(config.screen),
        "dft": resolve_backend(config.verify),
        "follow_up": resolve_follow_up(config.follow_up),
        "broker": "redis" if os.environ.get("DISCOVERY_BROKER") else "embedded",
    }


def _resolve_potential(name: str, device: str) -> dict[str, Any]:
    """Load a potential and its references as the workers will.

    Raises:
        RefusedTestModel: it exists to test this product.
    """
    from agents.relax.potential import load_potential
    from agents.relax.references import ElementalReferences

    potential = load_potential(name, device=device)
    if potential.test_model:
        raise RefusedTestModel(
            f"{name} ({potential.level}) is a test model and no potential to discover crystals "
            "with: set relax.potential to chgnet or to a model of OpenLAM (docs/potentials.md)"
        )
    references = ElementalReferences.load(potential)
    return {
        "name": name,
        "level": potential.level,
        "references": references.digest,
        "device": device,
    }


def resolve_hull(settings: HullSettings) -> dict[str, Any]:
    """Decide where competing phases come from.

    Args:
        settings: The campaign's.

    Returns:
        ``used``; then ``name``, ``version``, ``checksum`` and ``n`` of the collection; else the
        ``reason``.

    Raises:
        UnknownCollection: The collection that is named was not imported
            (`db.reference_structures`).
    """
    from db import reference_collections

    if settings.reference is None:
        return {"used": False, "reason": "hull.reference is null"}
    name = AUTOMATIC_REFERENCE if settings.reference == "auto" else settings.reference
    try:
        found = reference_collections.load(name)
    except reference_collections.UnknownCollection as error:
        if settings.reference != "auto":
            raise
        return {"used": False, "reason": str(error)}
    return {"used": True, **{key: found[key] for key in ("name", "version", "checksum", "n")}}


def resolve_references(settings: ScreenSettings) -> list[dict[str, Any]]:
    """Decide with which collections of known crystals every relaxed candidate is compared.

    Returns:
        For each ``name`` and ``used``; then ``version``, ``checksum`` and ``n``, else the
        ``reason``.

    Raises:
        UnknownCollection: A collection that is named was not imported, or by an older version
            (`db.reference_structures`).
    """
    from agents.screen.references_mongo import require_collection
    from db.reference_collections import UnknownCollection

    automatic = settings.references == "auto"
    resolved = []
    for name in AUTOMATIC_REFERENCES if automatic else settings.references:
        try:
            found = require_collection(name)
        except UnknownCollection as error:
            if not automatic:
                raise
            resolved.append({"name": name, "used": False, "reason": str(error)})
            continue
        chosen = {key: found[key] for key in ("name", "version", "checksum", "n")}
        resolved.append({**chosen, "used": True})
    return resolved


def resolve_follow_up(settings: FollowUpSettings) -> dict[str, Any]:
    """Decide where the competing phases of DFT hulls come from.

    Returns:
        ``used``; where a hull is asked for ``name``, ``version``, ``checksum`` and ``n`` of the
        collection, or with ``auto`` the ``reason`` why there is none.

    Raises:
        UnknownCollection: The collection was not imported (`db.reference_structures`).
    """
    from db import reference_collections

    used = {"used": settings.max_hits > 0}
    if not (used["used"] and settings.hull):
        return used
    try:
        found = reference_collections.load(settings.hull_reference)
    except reference_collections.UnknownCollection as error:
        if settings.hull != "auto":
            raise
        return used | {"reason": str(error)}
    return used | {key: found[key] for key in ("name", "version", "checksum", "n")}


def require_hull(config: CampaignConfig, hull: dict[str, Any]) -> dict[str, Any]:
    """Return the hull, or refuse a search that cannot do without one.

    Raises:
        NoHull: ``propose.fitness.kind`` is ``above_hull`` and no collection is used.
    """
    if config.propose.fitness.kind == "above_hull" and not hull["used"]:
        raise NoHull(
            f"propose.fitness.kind is above_hull, but there is no hull ({hull['reason']}): set "
            "hull.reference and import that collection, or minimise formation_energy"
        )
    return hull


def require_judges(config: CampaignConfig, screens: list[dict[str, Any]]) -> None:
    """Refuse a gate that would reject everything, because too few models could judge.

    The untried property head does not count.

    Args:
        config: The campaign.
        screens: The choices of `agents.screen.models.resolve_models`.

    Raises:
        NothingJudges: ``screen.consensus`` is ``gate`` and fewer models are used than have to
            speak, or none that says whether there is a gap where that is required.
    """
    screen = config.screen
    if screen.consensus != "gate":
        return
    judges = [one["name"] for one in screens if one["used"] and one["name"] != "head"]
    reasons = "; ".join(f"{one['name']}: {one['reason']}" for one in screens if one["reason"])
    wanted = max(screen.min_models, 1 if screen.agreement == "all" else screen.agreement)
    if len(judges) < wanted:
        raise NothingJudges(
            f"screen.consensus is gate and {wanted} models must speak, but beside the property "
            f"head there is {', '.join(judges) or 'none'} ({reasons}): provide more, lower "
            f"screen.min_models or screen.agreement, or set screen.consensus to rank. {WITHOUT_IT}"
        )
    wants_a_gap = any(w.property == "band_gap" and not w.contains(0.0) for w in config.targets)
    if wants_a_gap and screen.classifier == "required" and CLASSIFIER not in judges:
        raise NothingJudges(
            f"screen.classifier is required, but {CLASSIFIER}, the only classifier of gaps, is not "
            f"used ({reasons}): provide it, or set screen.classifier to if_present"
        )


def describe(resolved: dict[str, Any]) -> list[str]:
    """Say in words what was chosen, a line each."""
    generator, potential, dft = resolved["generator"], resolved["potential"], resolved["dft"]
    lines = [
        f"generator: {generator['name']} {generator['version']}",
        f"potential: {potential['level']} on {potential['device']}",
    ]
    if overrides := resolved.get("overrides"):
        lines.insert(0, f"set on the command line: {as_options(overrides)}")
    for base in resolved.get("bases", []):
        decoded = "another crystal" if base["rms"] is None else f"it again, rms {base['rms']:.3f}"
        lines.append(f"base: {base['formula']} of {base['id']}; its codes decode to {decoded}")
    if second := resolved.get("second_potential"):
        lines.append(f"second potential: {second['level']} on {second['device']}")
    for screen in resolved["screens"]:
        if screen["used"]:
            brought = f" of {screen['package']}" if "package" in screen else ""
            lines.append(f"screen: {screen['name']} {screen['version']}{brought}")
        else:
            lines.append(f"screen: {screen['name']} is not used ({screen['reason']})")
    for one in resolved.get("references", []):
        if one["used"]:
            lines.append(f"known crystals: {one['n']} of {one['name']} {one['version']}")
        else:
            lines.append(f"known crystals: not compared with {one['name']} ({one['reason']})")
    hull = resolved.get("hull", {"used": False, "reason": "not asked for"})
    if hull["used"]:
        lines.append(f"hull: {hull['n']} crystals of {hull['name']} {hull['version']}")
    else:
        lines.append(f"hull: none ({hull['reason']})")
    if resolved.get("follow_up", {}).get("used"):
        follow_up = resolved["follow_up"]
        hulls = f", DFT hulls from {follow_up['name']}" if "name" in follow_up else ""
        if "reason" in follow_up:
            hulls = f", no DFT hulls ({follow_up['reason']})"
        lines.append(f"follow-up of hits: on{hulls}")
    if dft["name"] == "none":
        lines.append(f"DFT: none ({dft['reason']})")
    else:
        lines.append(f"DFT: {dft['level']}")
    return lines
