"""Elemental reference energies, and formation energies measured from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.paths import MissingFile, models_path
from db.crystals import record_to_structure

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

    from agents.relax.potential import Potential

DATA = Path(__file__).parent / "data"


#: Folder of tables computed by a person, in `$DISCOVERY_MODELS` or in the cache.
COMPUTED = "references"


class ReferenceMismatch(ValueError):
    """A reference table belongs to another potential or another version of it."""


class MissingReference(ValueError):
    """There is no reference table, or no reference for an element."""


@dataclass(frozen=True)
class ElementalReference:
    """One element's reference phase.

    Attributes:
        element: symbol.
        energy_per_atom: lowest energy found with the potential, eV/atom.
        source_id: Materials Project id of the crystal the energy belongs to.
        structure: that crystal, relaxed (crystal record).
        n_atoms: atoms in `structure`.
        criterion: how it was chosen.
    """

    element: str
    energy_per_atom: float
    source_id: str
    structure: dict[str, Any]
    n_atoms: int
    criterion: str


class ElementalReferences:
    """The elemental energies of one version of one potential.

    E_f = (E_total - sum_i n_i mu_i) / N with mu_i from the same potential; energies of two
    potentials, or of two versions, are never mixed.

    Attributes:
        level: the potential's level, "chgnet-0.3.0".
        digest: sha256 of the table, stored with every formation energy made from it.
        header: potential, version, settings, date and data of the computation.
    """

    def __init__(
        self,
        header: Mapping[str, Any],
        elements: Mapping[str, ElementalReference],
        digest: str,
    ) -> None:
        self.header = dict(header)
        self.level = f"{header['potential']}-{header['version']}"
        self.digest = digest
        self._elements = dict(elements)

    @classmethod
    def load(cls, potential: Potential | str, path: Path | None = None) -> ElementalReferences:
        """Load the table of a potential.

        Args:
            potential: the potential, or its level.
            path: a table written by `recompute`; default: the one shipped with the product, else
                the one in `$DISCOVERY_MODELS/references` or in the cache.

        Raises:
            MissingReference: there is no table for this potential.
            ReferenceMismatch: the table was computed with another potential or version.
        """
        level = potential if isinstance(potential, str) else potential.level
        path = path or table_path(level)
        content = path.read_bytes()
        table = json.loads(content)
        found = f"{table['header']['potential']}-{table['header']['version']}"
        if found != level:
            raise ReferenceMismatch(
                f"{path} holds the reference energies of {found}, but the potential is {level}: "
                f"compute its own with `discovery models references --potential {level}`"
            )
        elements = {
            symbol: ElementalReference(element=symbol, **record)
            for symbol, record in table["elements"].items()
        }
        return cls(table["header"], elements, hashlib.sha256(content).hexdigest())

    def require(self, potential: Potential) -> None:
        """Raise `ReferenceMismatch` unless these are the energies of a potential's own level."""
        if self.level != potential.level:
            raise ReferenceMismatch(
                f"references of {self.level} cannot be used with {potential.level}"
            )

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements in the table."""
        return frozenset(self._elements)

    def __getitem__(self, element: str) -> ElementalReference:
        if element not in self._elements:
            raise MissingReference(
                f"{self.level} has no reference energy for {element}; "
                f"it has {len(self._elements)} elements"
            )
        return self._elements[element]

    def structure(self, element: str) -> Structure:
        """Return the relaxed crystal the reference energy belongs to."""
        return record_to_structure(self[element].structure)

    def formation_energy_per_atom(
        self, composition: Composition | Mapping[str, float] | str, energy: float
    ) -> float:
        """Return the formation energy in eV/atom.

        Args:
            composition: atoms in the cell (a pymatgen composition, {"Na": 4, "Cl": 4} or "Na4Cl4"),
                *not* the reduced formula of a larger cell.
            energy: total energy of that cell with the table's potential, eV.

        Raises:
            MissingReference: an element is not in the table.
        """
        from pymatgen.core import Composition

        amounts = Composition(composition).get_el_amt_dict()
        reference = sum(n * self[symbol].energy_per_atom for symbol, n in amounts.items())
        return float((energy - reference) / sum(amounts.values()))


def table_path(level: str) -> Path:
    """Find the table of a potential: the one shipped with the product, else a computed one.

    Args:
        level: of the potential.

    Raises:
        MissingReference: there is none.
    """
    shipped = DATA / f"{level}.json"
    if shipped.is_file():
        return shipped
    try:
        return models_path(f"{COMPUTED}/{level}.json")
    except MissingFile as error:
        raise MissingReference(
            f"no elemental reference energies for {level} ({error}): compute them once with "
            "`discovery models references --potential NAME`, NAME as in relax.potential"
        ) from error
