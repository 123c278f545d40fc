"""The user's own POTCARs, found through pymatgen's setting; none is shipped or downloaded."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.verify.vasp.settings import VASPSettings, potcar_symbols

SETTING = "PMG_VASP_PSP_DIR"


class MissingPotcar(ValueError):
    """A POTCAR that a calculation needs is not on this machine."""


@dataclass(frozen=True)
class Potcar:
    """One element's pseudopotential.

    Attributes:
        symbol: Its name in the library, for instance ``Na_pv``.
        title: Its ``TITEL``, which VASP prints into its outputs.
        sha256: Of the file's text.
        electrons: Valence electrons it treats.
    """

    symbol: str
    title: str
    sha256: str
    electrons: float

    def record(self) -> dict[str, Any]:
        """Return what identifies it, as plain JSON values."""
        return {"symbol": self.symbol, "title": self.title, "sha256": self.sha256}


def library() -> Path:
    """Return the folder of the POTCARs.

    Raises:
        MissingPotcar: The setting is missing or names no folder.
    """
    from pymatgen.core import SETTINGS

    folder = SETTINGS.get(SETTING)
    if not folder:
        raise MissingPotcar(
            f"{SETTING} is not set: VASP's POTCARs are licensed, so name the folder of yours by "
            f"the variable {SETTING} or by `pmg config --add {SETTING} FOLDER`"
        )
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise MissingPotcar(f"{SETTING} names {path}, which is no folder")
    return path


def potcars(elements: Iterable[str], settings: VASPSettings) -> dict[str, Potcar]:
    """Look up the POTCAR of each element that the input set takes.

    Raises:
        MissingPotcar: The set has none for an element, or the file is not there; the message
            names the folder and the setting.
    """
    folder = library()
    table = potcar_symbols(settings)
    found = {}
    for element in sorted(set(elements)):
        if element not in table:
            raise MissingPotcar(f"{settings.input_set} has no POTCAR for {element}")
        found[element] = _read(table[element], settings.potcar_functional, str(folder))
    return found


@lru_cache(maxsize=256)
def _read(symbol: str, functional: str, folder: str) -> Potcar:
    from pymatgen.io.vasp.inputs import PotcarSingle

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that pymatgen's table of checksums lacks
        try:
            single = PotcarSingle.from_symbol_and_functional(symbol, functional)
        except FileNotFoundError as error:
            paths = [line[2:] for line in str(error).splitlines() if line.startswith("- ")]
            raise MissingPotcar(
                f"there is no POTCAR of {symbol} ({functional}) in {folder}, where {SETTING} "
                f"points: looked for {' and '.join(paths)} (also compressed)"
            ) from error
        except (ValueError, LookupError, OSError, UnicodeDecodeError) as error:
            raise MissingPotcar(
                f"the POTCAR of {symbol} ({functional}) in {folder} cannot be read: "
                f"{type(error).__name__}: {error}"
            ) from error
        return Potcar(
            symbol=symbol,
            title=str(single.keywords["TITEL"]),
            sha256=hashlib.sha256(single.data.encode()).hexdigest(),
            electrons=float(single.keywords["ZVAL"]),
        )
