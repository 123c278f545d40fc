"""What ``auto`` means for one campaign, decided once at its start and written into its record."""

from __future__ import annotations

import os
from typing import Any

from discovery.config import CampaignConfig


def resolve(config: CampaignConfig) -> dict[str, Any]:
    """Decide every automatic choice before anything is written.

    Args:
        config: The campaign.

    Returns:
        Plain JSON values: ``generator``, ``potential``, ``screens``, ``dft``, each with name and
        version, and with the reason where a part is absent.

    Raises:
        RuntimeError: A part that the campaign needs is missing (the part's own error class).
    """
    from agents.relax.references import ElementalReferences
    from agents.screen.models import resolve_models
    from agents.verify.backend import resolve_backend
    from model.checkpoint import read_card

    from discovery import __version__

    card = read_card(config.generator)
    potential_name = config.relax.potential_name
    references = ElementalReferences.shipped(potential_name)
    return {
        "discovery": __version__,
        "generator": {"name": config.generator, "version": card["version"]},
        "potential": {
            "name": potential_name,
            "level": references.level,
            "references": references.digest,
            "device": config.relax.device,
        },
        "screens": resolve_models(config.screen),
        "dft": resolve_backend(config.verify),
        "broker": "redis" if os.environ.get("DISCOVERY_BROKER") else "embedded",
    }


def describe(resolved: dict[str, Any]) -> list[str]:
    """Say in words what was chosen, a line each."""
    generator, potential, dft = resolved["generator"], resolved["potential"], resolved["dft"]
    lines = [
        f"generator: {generator['name']} {generator['version']}",
        f"potential: {potential['level']} on {potential['device']}",
    ]
    for screen in resolved["screens"]:
        if screen["used"]:
            lines.append(f"screen: {screen['name']} {screen['version']}")
        else:
            lines.append(f"screen: {screen['name']} is not used ({screen['reason']})")
    if dft["name"] == "none":
        lines.append(f"DFT: none ({dft['reason']})")
    else:
        lines.append(f"DFT: {dft['level']}")
    return lines
