"""Calculations that a laboratory has already: what is read from a file, and its level of theory.

A level is what makes energies comparable: code, version, functional, cut-off, U and the like, read
from the file itself. The data sets of the elements (POTCAR titles, PAW setups) belong to it, too,
element by element: a reference counts for a compound only with the same set of its element.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.identity import rounded_cell
from agents.verify.setup.cost import is_in_vacuum
from db.crystals import structure_to_record
from db.plain import plain

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_BYTES = 1 << 30
"""Files above this are refused, 1 GiB: an output of that size is a molecular dynamics run."""

ENERGY_DECIMALS = 5
CHUNK = 1 << 20


DAMAGE = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
    *(RuntimeError, OSError, EOFError, MemoryError, zlib.error),
)
"""What parsers of other people's files raise where these are damaged; `MemoryError`: a file may say
that it holds more numbers than any memory does."""


class NotImported(ValueError):
    """A file or calculation that cannot become a label; the message says why."""


class Foreign(NotImported):
    """A file of a kind that is read, but with something else in it; nothing to tell a person."""


@dataclass(frozen=True)
class Found:
    """One calculation that was read from a file.

    Attributes:
        source: Path relative to the folder, with the number of the frame where there are several.
        sha256: Digest of the file's content.
        code: Name of the DFT code.
        version: Its version.
        theory: What its level of theory is made of, plain JSON; ``xc`` at least.
        data_sets: Element to the name of its POTCAR or PAW setup; empty where the file cannot say.
        structure: The crystal that the energy belongs to.
        result: The numbers, under the names of our own results.
        task: ``static`` or ``relax``.
        k_density: Smallest number of k-points per Å^-1 (2π included); None where there is no mesh.
        name: Name of the level, where a person gave one.
    """

    source: str
    sha256: str
    code: str
    version: str
    theory: dict[str, Any]
    data_sets: dict[str, str]
    structure: Structure
    result: dict[str, Any]
    task: str = "static"
    k_density: float | None = None
    name: str | None = None

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements, sorted."""
        return sorted(element.symbol for element in self.structure.composition.elements)

    @property
    def level(self) -> str:
        """Name of the level of theory."""
        return level_name(self.code, self.version, self.theory, self.name)

    @property
    def base_level(self) -> str:
        """Name of the same level without U: that of the elements' references."""
        return level_name(self.code, self.version, without_u(self.theory), self.name)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings as recorded with the calculation, plain JSON."""
        return {"imported": True, **self.theory, "data_sets": dict(self.data_sets)}

    def identity(self) -> str:
        """Hash what makes two of them the same calculation; the energy tells magnetic orders apart.

        Returns:
            64 hexadecimal digits (sha256).
        """
        identity = {
            "code": self.code,
            "version": self.version,
            "level": self.level,
            "settings": self.settings,
            "task": self.task,
            "cell": rounded_cell(self.structure),
            "k_points": self.result.get("k_points"),
            "energy": round(self.result["energy_per_atom"], ENERGY_DECIMALS),
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def spec(self, kind: str, info: dict[str, Any]) -> dict[str, Any]:
        """Describe the calculation as it is recorded.

        Args:
            kind: ``compound`` or ``reference``.
            info: What else to record.
        """
        origin = {
            "path": self.source,
            "sha256": self.sha256,
            "k_density": self.k_density,
            "base_level": self.base_level,
        }
        return {
            "hash": self.identity(),
            "kind": kind,
            "task": self.task,
            "code": self.code,
            "version": self.version,
            "level": self.level,
            "settings": self.settings,
            "structure": structure_to_record(self.structure),
            "formula": self.structure.composition.reduced_formula,
            "info": {"molecule": is_in_vacuum(self.structure), **info, "imported": origin},
        }


def level_name(code: str, version: str, theory: dict[str, Any], name: str | None = None) -> str:
    """Name a level of theory, for instance ``vasp-6.4.2-pbe-imported-1a2b3c4d``.

    Args:
        code: Name of the code.
        version: Its version.
        theory: What the level is made of.
        name: What a person calls it; stands instead of everything else.
    """
    if name is not None:
        return name
    digits = hashlib.sha256(json.dumps(theory, sort_keys=True).encode()).hexdigest()[:8]
    plus = "+u" if theory.get("hubbard_u") else ""
    return f"{code}-{version}-{str(theory['xc']).lower()}{plus}-imported-{digits}"


def without_u(theory: dict[str, Any]) -> dict[str, Any]:
    """Return a level of theory without U."""
    return {**theory, "hubbard_u": {}} if "hubbard_u" in theory else dict(theory)


def k_density_of(structure: Structure, size: list[int] | None) -> float | None:
    """Return the smallest number of k-points per Å^-1 (2π included) of a mesh."""
    if size is None:
        return None
    lengths = structure.lattice.reciprocal_lattice.abc
    return min(n / length for n, length in zip(size, lengths, strict=True))


def check_mesh(structure: Structure, density: float | None, least: float) -> None:
    """Refuse energies of meshes that are too coarse to compare.

    Args:
        structure: The crystal.
        density: From `k_density_of`.
        least: Smallest density that is taken, k-points per Å^-1.

    Raises:
        NotImported: There is no mesh, or it is too coarse; molecules in a box need none.
    """
    if is_in_vacuum(structure):
        return
    if density is None:
        raise NotImported("its k-points are a list and no mesh, so nothing says how dense they are")
    if density < least:
        raise NotImported(
            f"its mesh has {density:.2f} k-points per Å^-1, fewer than --min-k-density {least:g}"
        )


def check_energy(result: dict[str, Any]) -> None:
    """Refuse what is no energy.

    Raises:
        NotImported: It is not finite.
    """
    if not math.isfinite(result["energy"]):
        raise NotImported("its energy is not a finite number")


@contextmanager
def refusing_damage(what: str) -> Iterator[None]:
    """Turn what parsers raise on a damaged file into a refusal.

    Args:
        what: Beginning of the sentence.

    Raises:
        NotImported: Instead of everything in `DAMAGE`.
    """
    try:
        yield
    except NotImported:
        raise
    except DAMAGE as error:
        raise NotImported(f"{what}: {type(error).__name__}: {error!s:.300}") from error


def storable(found: Found) -> Found:
    """Return a calculation whose record the database takes.

    Raises:
        NotImported: It holds a number that is not finite, or a value that is none.
    """
    with refusing_damage("its numbers cannot be used"):
        plain(found.spec("compound", {}), "calculation")
        plain(found.result, "result")
    return found


def digest(path: Path) -> str:
    """Return the sha256 of a file's content.

    Raises:
        NotImported: It is too large.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise NotImported(f"it has {size / 2**30:.1f} GiB, more than {MAX_BYTES / 2**30:.0f}")
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and those below, sorted; links out of it are not followed."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path
