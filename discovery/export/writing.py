"""Writing candidates in the form that was asked for: to a file, a folder, or stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from discovery.export import crystals, text
from discovery.export.formats import Format
from discovery.export.output_files import new_file, new_folder, require_free

Record = dict[str, Any]


def require_output(form: Format, out: Path | None, *, overwrite: bool) -> None:
    """Refuse what cannot be written, before anything is read.

    Raises:
        OutputExists: There is something already.
    """
    if out is not None:
        endings = (".cif", ".csv") if form is Format.CIF else ()
        require_free(out, folder_of=endings, overwrite=overwrite)


def write(
    found: Iterator[Record], form: Format, out: Path | None, *, overwrite: bool = False
) -> tuple[int, int]:
    """Write records to a file, a folder, or stdout, in the order in which they come.

    Args:
        found: As from `discovery.export.candidates.records`.
        form: The form; of those with crystals, only extended XYZ goes to stdout.
        out: File or, for CIF, folder; None for stdout.
        overwrite: Whether what is there may be replaced.

    Returns:
        How many were written, and how many left out for want of a crystal.

    Raises:
        OutputError: The file or folder cannot be written.
    """
    if form is Format.CIF:
        assert out is not None
        with new_folder(out, (".cif", ".csv"), overwrite=overwrite) as folder:
            return crystals.write_cifs(found, folder)
    if form is Format.ASE_DB:
        assert out is not None
        with new_file(out, overwrite=overwrite) as part:
            return crystals.write_ase_db(found, part)
    if out is None:
        return _write_text(found, form, sys.stdout)
    with new_file(out, overwrite=overwrite) as part, part.open("w", encoding="utf-8") as file:
        return _write_text(found, form, file)


def _write_text(found: Iterator[Record], form: Format, file: TextIO) -> tuple[int, int]:
    if form is Format.EXTXYZ:
        return crystals.write_extxyz(found, file)
    if form is Format.PYMATGEN:
        return crystals.write_pymatgen(found, file)
    return text.WRITERS[form](found, file), 0
