"""Which property models a campaign asks: decided once at its start, loaded once in every worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.screen.screen import MissingModel, Screen, UnsoundModel
from agents.screen.settings import KNOWN_MODELS, ScreenSettings

Choice = dict[str, Any]
"""Plain JSON: ``name``, ``used``, ``version``, ``reason`` (why it is absent, else None), and for
MEGNet ``files`` (property to sha256) and ``batch``."""


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


def resolve_models(settings: ScreenSettings) -> list[Choice]:
    """Decide which models are used; every one is loaded, so a broken one stops the campaign here.

    Args:
        settings: With ``models`` either ``auto`` or a list of names.

    Returns:
        One choice for each known model, used or not; plain JSON for the campaign's record.

    Raises:
        MissingModel: A model is named in ``models`` and its weights are not there.
        UnsoundModel: Weights are there and do not reproduce their known values.
    """
    return [_resolve(name, settings) for name in KNOWN_MODELS]


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
    if "megnet" in used:
        from agents.screen.megnet import MEGNet

        megnet = MEGNet.load(batch=used["megnet"]["batch"], device=device)
        if megnet.digests != used["megnet"]["files"]:
            raise UnsoundModel(
                "MEGNet's files on this machine are not those the campaign was started with: "
                "use the same ones or start a campaign with another name"
            )
        screens.append(megnet)
    absent = {choice["name"]: choice["reason"] for choice in choices if not choice["used"]}
    return ScreenModels(tuple(screens), "head" in used, absent)


def _resolve(name: str, settings: ScreenSettings) -> Choice:
    if settings.models != "auto" and name not in settings.models:
        return _absent(name, "not among the models of this campaign")
    if name == "head":
        return {"name": name, "used": True, "version": "the campaign's live head", "reason": None}
    from agents.screen.megnet import MEGNet

    try:
        megnet = MEGNet.load(batch=settings.megnet_batch)
    except MissingModel as error:
        if settings.models != "auto":
            raise
        return _absent(name, str(error))
    return {
        "name": name,
        "used": True,
        "version": megnet.version,
        "reason": None,
        "files": megnet.digests,
        "batch": megnet.batch,
    }


def _absent(name: str, reason: str) -> Choice:
    return {"name": name, "used": False, "version": None, "reason": reason}
