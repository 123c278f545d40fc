"""Named lists of elements that a campaign may leave out, each with its source.

What a group means is a statement about elements, not about compounds: a lead halide is toxic and a
lead silicate glass is sold, thallium is rarer in ores than in the crust, chromium is harmless as
Cr(III). Whoever needs a finer line uses ``allowed_elements`` and ``forbidden_elements``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Group = Literal["toxic", "radioactive", "scarce"]

LANTHANIDES = frozenset(
    ["La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu"]
)
ACTINIDES = frozenset(
    ["Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr"]
)

TOXIC = frozenset({"As", "Be", "Cd", "Hg", "Pb", "Tl"})
"""Elements that are restricted or classified in every common compound.

Cd, Hg and Pb: restricted by the EU's RoHS directive (2011/65/EU, annex II). As, Be and Cd with
their compounds: carcinogenic to humans (group 1, IARC monograph 100C, 2012). Tl and its compounds:
fatal if swallowed or inhaled (acute toxicity 2, regulation (EC) 1272/2008, annex VI). Cr and Ni,
whose danger depends on the oxidation state or on solubility, are not in the list."""

RADIOACTIVE = frozenset(
    {"Tc", "Pm", "Po", "At", "Rn", "Fr", "Ra"}
    | ACTINIDES
    | {"Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"}
)
"""Elements without a stable isotope: Tc, Pm and everything from Po (Z = 84) on.

After IUPAC's table of standard atomic weights (doi 10.1515/pac-2019-0603). Bi is not in the list:
its only natural isotope lives 2e19 years (doi 10.1038/nature01541)."""

SCARCE_BELOW = 0.3
"""Crustal abundance (mg/kg, by mass) below which an element counts as scarce."""

CRUSTAL_ABUNDANCE = {
    **{"He": 8e-3, "Ne": 5e-3, "Kr": 1e-4, "Xe": 3e-5},
    **{"Se": 0.05, "Ru": 1e-3, "Rh": 1e-3, "Pd": 0.015, "Ag": 0.075, "Cd": 0.15, "In": 0.25},
    **{"Sb": 0.2, "Te": 1e-3, "Re": 7e-4, "Os": 1.5e-3, "Ir": 1e-3, "Pt": 5e-3, "Au": 4e-3},
    **{"Hg": 0.085, "Bi": 8.5e-3},
    **{"Po": 2e-10, "Rn": 4e-13, "Ra": 9e-7, "Ac": 5.5e-10, "Pa": 1.4e-6},
    **{"I": 0.45, "Tm": 0.52, "Lu": 0.8, "Tl": 0.85},
}
"""mg/kg in the continental crust of the least abundant elements (all below 1), median of reported
values: "Abundance of elements in the Earth's crust and in the sea", CRC Handbook of Chemistry and
Physics, section 14. Copied partly from memory and confirmed only in part: check a value near
`SCARCE_BELOW` (In, Sb, I) before you rely on it. Elements that nature does not hold (Tc, Pm, At,
Fr, beyond U) have no value there."""

SCARCE = frozenset(e for e, ppm in CRUSTAL_ABUNDANCE.items() if ppm < SCARCE_BELOW) | (
    RADIOACTIVE - {"Th", "U"}
)
"""Less than `SCARCE_BELOW` in the continental crust, or hardly in nature at all (all radioactive
elements but Th and U, which have 9.6 and 2.7 mg/kg). Noble gases included: it is
the crust that is asked, not the air."""

GROUPS: dict[Group, frozenset[str]] = {
    "toxic": TOXIC,
    "radioactive": RADIOACTIVE,
    "scarce": SCARCE,
}


def members(symbols: Iterable[str], group: Group) -> tuple[str, ...]:
    """Return the symbols that belong to a group, in their order."""
    return tuple(symbol for symbol in symbols if symbol in GROUPS[group])


def elements_of(groups: Iterable[Group]) -> frozenset[str]:
    """Return all elements of several groups."""
    return frozenset().union(*(GROUPS[group] for group in groups))
