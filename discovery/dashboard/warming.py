"""What the first page of a crystal would wait for, imported while nobody waits."""

from __future__ import annotations

from importlib import import_module
from threading import Thread

HEAVY = (
    "plotly.graph_objects",
    "pymatgen.analysis.local_env",
    "pymatgen.analysis.diffraction.xrd",
    "pymatgen.analysis.structure_matcher",
    "pymatgen.symmetry.groups",
    "ase.data.colors",
    "scipy.spatial",
)


def warm() -> Thread:
    """Import heavy packages in the background; whoever needs one before waits for it alone."""
    thread = Thread(target=lambda: [import_module(name) for name in HEAVY], daemon=True)
    thread.start()
    return thread
