"""Models by name: what there is, and whether it passes its sanity gate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from db.suggestion import did_you_mean
from discovery.campaign.config import ConfigError

SCREENS = ("megnet", "alignn", "alignn-jarvis")
MEGNET_FOLDER = "megnet-mp-2018.6.1"


def shipped_generators() -> list[str]:
    """Return the names of the checkpoints that come with the package."""
    folder = resources.files("model") / "checkpoints"
    return sorted(entry.name for entry in folder.iterdir() if (entry / "card.json").is_file())


def catalogue() -> list[dict[str, str]]:
    """List what a campaign file may name.

    Returns:
        ``kind`` (potential, screen, generator), ``name`` and a ``note`` each.
    """
    from agents.extensions import POTENTIALS, SCREENS, extensions, package_of
    from agents.paths import MissingFile, models_path
    from agents.relax.potential import OPENLAM_MODELS, OPENLAM_TEST

    entries = [{"kind": "potential", "name": "chgnet", "note": "CHGNet, weights in its package"}]
    entries += [
        {"kind": "potential", "name": name, "note": _openlam_note(name)} for name in OPENLAM_MODELS
    ]
    entries.append(
        {"kind": "potential", "name": OPENLAM_TEST, "note": "test model; no campaign may use it"}
    )
    try:
        note = str(models_path(MEGNET_FOLDER))
    except MissingFile as error:
        note = f"not found: {error}"
    entries.append({"kind": "screen", "name": "megnet", "note": note})
    entries.append({"kind": "screen", "name": "alignn", "note": _alignn_note()})
    note = "ALIGNN models published by JARVIS, in $DISCOVERY_MODELS/alignn-jarvis"
    entries.append({"kind": "screen", "name": "alignn-jarvis", "note": note})
    entries += [
        {"kind": kind, "name": name, "note": f"brought by {package_of(group, name)}"}
        for kind, group in (("potential", POTENTIALS), ("screen", SCREENS))
        for name in extensions(group)
    ]
    entries += [
        {"kind": "generator", "name": name, "note": "shipped checkpoint with its code bank"}
        for name in shipped_generators()
    ]
    return entries


def check(name: str) -> dict[str, Any]:
    """Run the sanity gate of one model.

    Args:
        name: A name of the catalogue, or a file or folder of a potential.

    Returns:
        ``name``, ``version``, ``verdict`` (accepted or refused) and ``checks`` in words.

    Raises:
        ConfigError: There is no such model.
    """
    from agents.extensions import POTENTIALS as BROUGHT_POTENTIALS
    from agents.extensions import SCREENS as BROUGHT_SCREENS
    from agents.extensions import extensions
    from agents.screen.settings import MATGL_PREFIX

    if name in SCREENS:
        return _check_screen(name)
    if name.startswith(MATGL_PREFIX) and _is_property_model(name):
        return _check_screen(name)
    if name in shipped_generators():
        return _check_generator(name)
    if _names_potential(name) or name in extensions(BROUGHT_POTENTIALS):
        return _check_potential(name)
    if name in extensions(BROUGHT_SCREENS):
        return _check_screen(name)
    from agents.relax.potential import POTENTIALS

    brought = (*extensions(BROUGHT_POTENTIALS), *extensions(BROUGHT_SCREENS))
    known = [*POTENTIALS, *SCREENS, *brought, *shipped_generators()]
    raise ConfigError(
        f"unknown model {name!r}.{did_you_mean(name, known)} Known are {', '.join(known)} and "
        "matgl:NAME, or give a potential's file or folder"
    )


def fetch(name: str, progress: Callable[[int, int | None], None]) -> Path:
    """Download the weights of a potential.

    Args:
        name: A model of OpenLAM, or ``matgl:NAME``.
        progress: Told the bytes there are and the bytes there will be (None: unknown).

    Returns:
        The file or folder.

    Raises:
        ConfigError: Nothing is published under this name.
        DownloadFailed: No source delivered it.
    """
    from agents.relax import matgl, openlam_weights
    from agents.relax.potential import MATGL_PREFIX, OPENLAM_MODELS

    if name.startswith(MATGL_PREFIX):
        return matgl.fetch(name.removeprefix(MATGL_PREFIX))
    weights = openlam_weights.parse_name(name)
    if weights is None or weights.model not in OPENLAM_MODELS:
        raise ConfigError(
            f"no weights are published as {name!r}: known are {', '.join(OPENLAM_MODELS)} and "
            "matgl:NAME"
        )
    return openlam_weights.fetch(name, progress)


def _openlam_note(name: str) -> str:
    """Say whether the weights of a model of OpenLAM are here."""
    from agents.paths import MissingFile
    from agents.relax.openlam_weights import WeightsName, locate
    from agents.relax.potential import MissingPackage

    try:
        return f"OpenLAM, {locate(WeightsName(name, None, None))}"
    except MissingFile:
        return f"OpenLAM, not here: discovery models fetch {name}"
    except MissingPackage:
        return "OpenLAM, needs deepmd-kit (docs/potentials.md)"


def _alignn_note() -> str:
    """Say which ALIGNN comes with the package."""
    from agents.screen.alignn_checkpoint import SHIPPED

    return f"trained here, {SHIPPED}" if SHIPPED.is_dir() else f"not found: no folder {SHIPPED}"


def fetched_openlam() -> list[str]:
    """Return the models of OpenLAM whose weights are on this machine."""
    from agents.paths import MissingFile
    from agents.relax.openlam_weights import WeightsName, locate
    from agents.relax.potential import OPENLAM_MODELS

    found = []
    for name in OPENLAM_MODELS:
        with suppress(MissingFile):
            locate(WeightsName(name, None, None))
            found.append(name)
    return found


def _names_potential(name: str) -> bool:
    from agents.relax.openlam_weights import parse_name
    from agents.relax.potential import CHGNET, MATGL_PREFIX

    return (
        name in CHGNET
        or name.startswith(MATGL_PREFIX)
        or parse_name(name) is not None
        or Path(name).exists()
    )


def _report(
    name: str, version: str, problem: Exception | None, checks: list[str]
) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "verdict": "accepted" if problem is None else "refused",
        "checks": checks if problem is None else [*checks, str(problem)],
    }


def _check_potential(name: str) -> dict[str, Any]:
    from agents.relax.gate import GateFailure, check
    from agents.relax.potential import load_potential

    try:
        potential = load_potential(name)
    except GateFailure as failure:
        return _report(name, failure.potential, failure, [str(one) for one in failure.checks])
    return _report(name, potential.version, None, [str(one) for one in check(potential)])


def _is_property_model(name: str) -> bool:
    """Say whether the name of a matgl model is that of a screen, not of a potential."""
    from agents.screen.matgl import named_property

    return named_property(name) is not None


def _check_screen(name: str) -> dict[str, Any]:
    """Load a property model, which runs its gate."""
    from agents.extensions import SCREENS as BROUGHT_SCREENS
    from agents.extensions import extensions
    from agents.screen.brought import check as check_brought
    from agents.screen.models import load_screen
    from agents.screen.screen import UnsoundModel

    try:
        model = load_screen(name)
    except UnsoundModel as failure:
        return _report(name, "", failure, [])
    if name in extensions(BROUGHT_SCREENS):
        return _report(name, model.version, None, check_brought(model))
    golden = name in ("megnet", "alignn")
    gate = f"golden values of {model.version}" if golden else "known values"
    return _report(name, model.version, None, [f"{gate} of NaCl, Si, SrTiO3, GaAs, TiO2 are met"])


def _check_generator(name: str) -> dict[str, Any]:
    """Encode and decode part of the code bank's own crystals: their formulas must come back."""
    from model.generator import Generator

    generator = Generator.load(name)
    numbers = range(0, len(generator.bank), max(1, len(generator.bank) // 256))
    decoded = generator.decode([generator.bank.codes(number) for number in numbers])
    right = sum(
        one.structure is not None
        and one.structure.composition.reduced_formula == generator.bank.formulas[number]
        for number, one in zip(numbers, decoded, strict=True)
    )
    line = f"{right} of {len(decoded)} crystals of the code bank decode to their formula"
    problem = None if right >= 0.95 * len(decoded) else UnsoundGenerator(line)
    return _report(name, generator.version, problem, [line])


class UnsoundGenerator(RuntimeError):
    """A checkpoint does not decode its own code bank."""
