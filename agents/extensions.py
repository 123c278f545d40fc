"""Parts that other packages bring: an entry point names them, and only its name loads them.

A package on this machine adds a potential, a property model, a proposer or a DFT code by an entry
point of its own, for instance in its ``pyproject.toml``::

    [project.entry-points."discovery.potentials"]
    mymodel = "mypackage.potential:load"      # load(device) -> agents.relax.potential.Potential

    [project.entry-points."discovery.screens"]
    mymodel = "mypackage.screen:load"         # load(batch=, device=) -> agents.screen.screen.Screen

    [project.entry-points."discovery.proposers"]
    mymethod = "mypackage.search:MySettings"  # a class, agents.propose.brought.BroughtSettings

    [project.entry-points."discovery.dft"]
    mycode = "mypackage.dft:MyBackend"        # a class, agents.verify.backend.DFTBackend

A campaign then names it (``relax.potential: mymodel``, ``screen.models: [mymodel]``,
``propose.proposers: [{kind: mymethod}]``, ``verify.backend: mycode``). It is judged like a part of
ours: a model passes the sanity gate or is refused.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

POTENTIALS = "discovery.potentials"
SCREENS = "discovery.screens"
PROPOSERS = "discovery.proposers"
DFT_CODES = "discovery.dft"


def extensions(group: str) -> list[str]:
    """Return the names that installed packages bring for a group, sorted."""
    return sorted({one.name for one in entry_points(group=group)})


def load_extension(group: str, name: str) -> Any:
    """Import what an installed package brings under a name.

    Args:
        group: `POTENTIALS`, `SCREENS`, `PROPOSERS` or `DFT_CODES`.
        name: Of the entry point.

    Returns:
        What the entry point names; None where there is none of this name.

    Raises:
        ValueError: Two packages bring the name: which one is meant, nobody can say. Or what it
            names cannot be imported.
    """
    found = _find(group, name)
    if found is None:
        return None
    try:
        return found.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{name!r} of {package_of(group, name)} cannot be imported from {found.value}: "
            f"{type(error).__name__}: {error}"
        ) from error


def package_of(group: str, name: str) -> str:
    """Return name and version of the installed package that brings a part: ``mypackage 1.0``.

    Raises:
        ValueError: None brings it, or two do.
    """
    found = _find(group, name)
    if found is None or found.dist is None:
        raise ValueError(f"no installed package brings {name!r} for {group}")
    return f"{found.dist.name} {found.dist.version}"


def _find(group: str, name: str) -> EntryPoint | None:
    found = {one.value: one for one in entry_points(group=group, name=name)}
    if len(found) > 1:
        raise ValueError(
            f"{len(found)} installed packages bring {name!r} for {group} "
            f"({', '.join(sorted(found))}): remove all but one"
        )
    return next(iter(found.values()), None)
