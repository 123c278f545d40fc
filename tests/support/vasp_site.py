"""A site with a program named vasp_std on PATH and made-up POTCARs, for tests."""

from __future__ import annotations

import sys
from pathlib import Path

import fake_vasp
import pytest

POTCARS = {"Na": "Na_pv", "Cl": "Cl", "O": "O", "Fe": "Fe_pv", "Si": "Si"}


def install(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Put the program and the POTCARs where the environment then points.

    Returns:
        The folder of the POTCARs.
    """
    from pymatgen.core import SETTINGS

    program = folder / "bin" / "vasp_std"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake_vasp.__file__}"\n')
    program.chmod(0o755)
    library = fake_vasp.write_potcars(folder / "potcars", POTCARS)
    patch.setenv("DISCOVERY_VASP_COMMAND", str(program))
    patch.setenv("DISCOVERY_VASP_VERSION", "6.4.2")
    patch.setenv("PMG_VASP_PSP_DIR", str(library))
    patch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(library))
    return library
