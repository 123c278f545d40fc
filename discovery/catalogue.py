"""Models by name: what there is, and whether it passes its sanity gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from discovery.config import ConfigError

POTENTIALS = ("chgnet",)
SCREENS = ("megnet",)


def catalogue() -> list[dict[str, str]]:
    """List what a campaign file may name.

    Returns:
        ``kind`` (potential, screen, generator), ``name`` and a ``note`` each.
    """
    from agents.paths import MissingFile, models_path
    from agents.screen.megnet import WEIGHTS_FOLDER
    from model.checkpoint import shipped_checkpoints

    entries = [{"kind": "potential", "name": "chgnet", "note": "CHGNet, weights in its package"}]
    try:
        note = str(models_path(WEIGHTS_FOLDER))
    except MissingFile as error:
        note = f"not found: {error}"
    entries.append({"kind": "screen", "name": "megnet", "note": note})
    entries += [
        {"kind": "generator", "name": name, "note": "shipped checkpoint with its code bank"}
        for name in shipped_checkpoints()
    ]
    return entries


def check(name: str) -> dict[str, Any]:
    """Run the sanity gate of one model.

    Args:
        name: A name of the catalogue, or the folder of a potential.

    Returns:
        ``name``, ``version``, ``verdict`` (accepted or refused) and ``checks`` in words.

    Raises:
        ConfigError: There is no such model.
    """
    from model.checkpoint import shipped_checkpoints

    if name in POTENTIALS or Path(name).is_dir():
        return _check_potential(name)
    if name in SCREENS:
        return _check_megnet()
    if name in shipped_checkpoints():
        return _check_generator(name)
    known = ", ".join([*POTENTIALS, *SCREENS, *shipped_checkpoints()])
    raise ConfigError(f"unknown model {name!r}: known are {known}, or give a potential's folder")
