"""Which property models a campaign asks: decided once at its start, loaded once in every worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.extensions import SCREENS, extensions, package_of
from agents.screen.screen import MissingModel, Screen, UnsoundModel
from agents.screen.settings import (
    ALIGNN_JARVIS,
    KNOWN_MODELS,
    MATGL_PREFIX,
    ScreenSettings,
)

Choice = dict[str, Any]
"""Plain JSON: ``name``, ``used``, ``version``, ``reason`` (why it is absent, else None), and for a
model that takes structures ``files`` (what to sha256) and ``batch``; ``package`` (name and version)
where an installed package brings it."""

HEAD = "head"
"""The property head is loaded with the generator, not here."""


@dataclass(frozen=True)
class ScreenModels:
    """The models of one campaign in one process.

    Attributes:
        screens: Loaded models that take structures.
        head: True if the property head is asked too; it is loaded with the generator.
        absent: Name to the reason why a model is not asked.
    """

    screens: tuple[Screen, ...] = ()
    head: bool = True
    absent: dict[str, str] = field(default_factory=dict)


def load_screen(name: str, *, batch: int = 64, device: str = "cpu") -> Screen:
    """Load a property model that takes structures, past its sanity gate.

    Args:
        name: ``megnet``, ``alignn``, ``alignn-jarvis``, ``matgl:NAME``, or what an installed
            package brings (`agents.extensions`).
        batch: Crystals in one pass.
        device: Where to compute.

    Returns:
        The model.

    Raises:
        MissingModel: Its weights are not there.
        UnsoundModel: They do not reproduce known values.
        ValueError: There is no such model.
    """
    if name == "megnet":
        from agents.screen.megnet import MEGNet

        return MEGNet.load(batch=batch, device=device)
    if name == "alignn":
        from agents.screen.alignn import ALIGNN

        return ALIGNN.load(batch=batch, device=device)
    if name == ALIGNN_JARVIS:
        from agents.screen.alignn_jarvis import ALIGNNJarvis

        return ALIGNNJarvis.load(batch=batch, device=device)
    if name.startswith(MATGL_PREFIX):
        from agents.screen.matgl import MatglScreen

        return MatglScreen.load(name.removeprefix(MATGL_PREFIX), device=device)
    from agents.screen.brought import load_brought

    brought = load_brought(name, batch=batch, device=device)
    if brought is not None:
        return brought
    known = ", ".join([*known_screens(), ALIGNN_JARVIS, *extensions(SCREENS)])
    raise ValueError(f"unknown screen {name!r}: known are {known} and matgl:NAME")


def known_screens() -> list[str]:
    """Return the names of the models that take structures and need no name of a file."""
    return [name for name in KNOWN_MODELS if name != HEAD]


def resolve_models(settings: ScreenSettings) -> list[Choice]:
    """Decide which models are used; every one is loaded, so a broken one stops the campaign here.

    Args:
        settings: With ``models`` either ``auto`` or a list of names.

    Returns:
        One choice for each known model, used or not, and each that is named; plain JSON for the
        campaign's record.

    Raises:
        MissingModel: A model is named in ``models`` and its weights are not there.
        UnsoundModel: Weights are there and do not reproduce their known values.
    """
    named = () if settings.models == "auto" else settings.models
    return [_resolve(name, settings) for name in dict.fromkeys([*KNOWN_MODELS, *named])]


def load_models(choices: Sequence[Choice], *, device: str = "cpu") -> ScreenModels:
    """Load the models that a campaign was started with.

    Args:
        choices: What `resolve_models` returned, from the campaign's record.
        device: Where to compute.

    Returns:
        The loaded models.

    Raises:
        MissingModel: A model that the campaign uses is not on this machine.
        UnsoundModel: It is another one than at the start, or fails its gate.
    """
    screens: list[Screen] = []
    used = {choice["name"]: choice for choice in choices if choice["used"]}
    for name, choice in used.items():
        if name == HEAD:
            continue
        screen = load_screen(name, batch=choice["batch"], device=device)
        if (screen.version, dict(screen.digests)) != (choice["version"], choice["files"]):
            raise UnsoundModel(
                f"{name} {screen.version} on this machine is not the {choice['version']} that the "
                "campaign was started with, file by file: use the same one or start a campaign "
                "with another name"
            )
        screens.append(screen)
    absent = {choice["name"]: choice["reason"] for choice in choices if not choice["used"]}
    return ScreenModels(tuple(screens), HEAD in used, absent)


def _resolve(name: str, settings: ScreenSettings) -> Choice:
    if settings.models != "auto" and name not in settings.models:
        return _absent(name, "not among the models of this campaign")
    if name == HEAD:
        return {"name": name, "used": True, "version": "the campaign's live head", "reason": None}
    try:
        screen = load_screen(name, batch=settings.megnet_batch)
    except MissingModel as error:
        if settings.models != "auto":
            raise
        return _absent(name, str(error))
    return {
        "name": name,
        "used": True,
        "version": screen.version,
        "reason": None,
        "files": dict(screen.digests),
        "batch": settings.megnet_batch,
        **_package(name),
    }


def _package(name: str) -> dict[str, str]:
    """Name the package of a model that is not the product's own."""
    brought = name not in (*KNOWN_MODELS, ALIGNN_JARVIS) and name in extensions(SCREENS)
    return {"package": package_of(SCREENS, name)} if brought else {}


def _absent(name: str, reason: str) -> Choice:
    return {"name": name, "used": False, "version": None, "reason": reason}
