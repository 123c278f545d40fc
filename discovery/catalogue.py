"""Models by name: what there is, and whether it passes its sanity gate."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from discovery.config import ConfigError

POTENTIALS = ("chgnet",)
SCREENS = ("megnet",)
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
    from agents.paths import MissingFile, models_path

    entries = [{"kind": "potential", "name": "chgnet", "note": "CHGNet, weights in its package"}]
    try:
        note = str(models_path(MEGNET_FOLDER))
    except MissingFile as error:
        note = f"not found: {error}"
    entries.append({"kind": "screen", "name": "megnet", "note": note})
    entries += [
        {"kind": "generator", "name": name, "note": "shipped checkpoint with its code bank"}
        for name in shipped_generators()
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
    if name in POTENTIALS or Path(name).is_dir():
        return _check_potential(name)
    if name in SCREENS:
        return _check_megnet()
    if name in shipped_generators():
        return _check_generator(name)
    known = ", ".join([*POTENTIALS, *SCREENS, *shipped_generators()])
    raise ConfigError(f"unknown model {name!r}: known are {known}, or give a potential's folder")


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


def _check_megnet() -> dict[str, Any]:
    from agents.screen.megnet import MEGNet
    from agents.screen.screen import UnsoundModel

    try:
        model = MEGNet.load()
    except UnsoundModel as failure:
        return _report("megnet", "", failure, [])
    return _report("megnet", model.version, None, ["golden values of mp-2018.6.1 are met"])


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
