"""Space groups of crystals as they are stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from discovery.figures.source import CampaignData

#: Å; decoded coordinates are not exact. The same as for `discovery evaluate latent`.
SYMPREC = 0.1


def space_groups(data: CampaignData, ids: Iterable[str], kind: str) -> dict[str, int]:
    """Find the space groups (1 to 230) of some of a campaign's crystals.

    Args:
        data: The campaign.
        ids: Candidates; those without such a crystal, or where spglib finds no group, are left out.
        kind: "structure" (decoded) or "relaxed".
    """
    found = {}
    for one in ids:
        crystal = data.crystals.get(one, {}).get(kind)
        number = None if crystal is None else space_group(crystal)
        if number is not None:
            found[one] = number
    return found


def space_group(crystal: Mapping[str, Any]) -> int | None:
    """Return the space group of a stored crystal by spglib, None where it finds none."""
    import spglib
    from pymatgen.core import Element

    numbers = [Element(species).Z for species in crystal["species"]]
    cell = (crystal["lattice"], crystal["frac_coords"], numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    return None if dataset is None else int(dataset.number)


@cache
def symbol(number: int) -> str:
    """Return the short Hermann-Mauguin symbol of a space group, as matplotlib sets it.

    >>> symbol(221), symbol(62), symbol(36)
    ('Pm$\\\\overline{3}$m', 'Pnma', 'Cmc$2_1$')
    """
    import spglib

    types = (spglib.get_spacegroup_type(hall) for hall in range(1, 531))  # every Hall number
    plain = next(one.international_short for one in types if one and one.number == number)
    barred = re.sub(r"-(\d)", r"$\\overline{\1}$", plain)
    return re.sub(r"(\d_\d)", r"$\1$", barred)
