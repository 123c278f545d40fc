"""Parts that other packages bring: an entry point names them, and only its name loads them.

A package on this machine adds a potential or a DFT code by an entry point of its own, for instance
in its ``pyproject.toml``::

    [project.entry-points."discovery.potentials"]
    mymodel = "mypackage.potential:load"        # load(device) -> agents.relax.potential.Potential

    [project.entry-points."discovery.dft"]
    mycode = "mypackage.dft:MyBackend"          # a class, agents.verify.backend.DFTBackend

A campaign then names it (``relax.potential: mymodel``, ``verify.backend: mycode``). It is judged
like a part of ours: a potential passes the sanity gate or is refused.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

POTENTIALS = "discovery.potentials"
DFT_CODES = "discovery.dft"


def extensions(group: str) -> list[str]:
    """Return the names that installed packages bring for a group, sorted."""
    return sorted({one.name for one in entry_points(group=group)})


def load_extension(group: str, name: str) -> Any:
    """Import what an installed package brings under a name.

    Args:
        group: `POTENTIALS` or `DFT_CODES`.
        name: Of the entry point.

    Returns:
        What the entry point names; None where there is none of this name.

    Raises:
        ValueError: Two packages bring the name: which one is meant, nobody can say.
    """
    found = {one.value: one for one in entry_points(group=group, name=name)}
    if len(found) > 1:
        raise ValueError(
            f"{len(found)} installed packages bring {name!r} for {group} "
            f"({', '.join(sorted(found))}): remove all but one"
        )
    return next((one.load() for one in found.values()), None)
