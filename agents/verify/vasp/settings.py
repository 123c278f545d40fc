"""Named levels of theory for VASP: input sets of the Materials Project through pymatgen."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pymatgen.io.vasp.sets import VaspInputSet

SetName = Literal["MPStaticSet", "MP24StaticSet"]


class InputSets(NamedTuple):
    """The sets of one protocol and what they are called with.

    Attributes:
        static: Class of a single-point calculation.
        relax: Class of a relaxation.
        options: Arguments of both.
    """

    static: type[VaspInputSet]
    relax: type[VaspInputSet]
    options: dict[str, Any]


class VASPSettings(BaseModel):
    """Everything besides the crystal that changes the result of a calculation with VASP.

    Units: eV, Å, Å^3 of reciprocal volume (``reciprocal_density``) and Å^-1 (``KSPACING``), both as
    pymatgen and VASP define them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str
    input_set: SetName = Field(description="pymatgen's set; relaxations use its relaxing sibling")
    xc: str = Field(description="functional, PBE or r2SCAN")
    cutoff: float = Field(gt=0, description="ENCUT of the set, eV")
    k_points: dict[str, float] = Field(description="reciprocal_density or KSPACING")
    gap_k_points: dict[str, float] = Field(description="the denser mesh that confirms a gap")
    potcar_functional: str = Field(description="family of POTCARs, as pymatgen names it")
    data_sets: str = Field(
        description="the set's own table of INCAR, U, moments and POTCARs, with its digest"
    )
    symprec: float = Field(default=0.01, gt=0, description="tolerance of the input cell, Å")
    max_displacement: float = Field(
        default=0.1, gt=0, description="symmetrising moves no atom further than this, Å"
    )
    version: str | None = Field(
        default=None, description="version of VASP; only in the settings of one calculation"
    )
    potcars: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="symbol, title and sha256 of each element's POTCAR; only in the settings of "
        "one calculation, for a level of theory holds for all elements",
    )

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as hashed and stored."""
        return self.model_dump(mode="json")


_PRESETS: dict[str, dict[str, Any]] = {
    "fast": {
        "input_set": "MPStaticSet",
        "xc": "PBE",
        "k_points": {"reciprocal_density": 64},  # that of MPRelaxSet
        "gap_k_points": {"reciprocal_density": 150},
    },
    "standard": {
        "input_set": "MPStaticSet",
        "xc": "PBE",
        "k_points": {"reciprocal_density": 100},  # the set's own
        "gap_k_points": {"reciprocal_density": 300},
    },
    "mp24": {
        "input_set": "MP24StaticSet",
        "xc": "r2SCAN",
        "k_points": {"KSPACING": 0.22},  # the set's own for what may be a metal
        "gap_k_points": {"KSPACING": 0.15},
    },
    "mp24-pbe": {
        "input_set": "MP24StaticSet",
        "xc": "PBE",
        "k_points": {"KSPACING": 0.22},
        "gap_k_points": {"KSPACING": 0.15},
    },
}

PRESETS = tuple(_PRESETS)


@cache
def preset(name: str) -> VASPSettings:
    """Look a preset up, with what the installed pymatgen's set says filled in.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in _PRESETS:
        raise ValueError(f"no VASP preset named {name!r}: choose one of {', '.join(PRESETS)}")
    chosen = _PRESETS[name]
    sets = input_sets(chosen["input_set"], chosen["xc"])
    config = sets.static.CONFIG
    return VASPSettings(
        preset=name,
        **chosen,
        cutoff=config["INCAR"]["ENCUT"],
        potcar_functional=config.get("POTCAR_FUNCTIONAL", "PBE"),
        data_sets=f"pymatgen-{chosen['input_set']}-{_digest(config)}",
    )


def input_sets(name: SetName, xc: str) -> InputSets:
    """Return pymatgen's sets of a protocol."""
    from pymatgen.io.vasp import sets

    if name == "MPStaticSet":
        return InputSets(sets.MPStaticSet, sets.MPRelaxSet, {})
    return InputSets(sets.MP24StaticSet, sets.MP24RelaxSet, {"xc_functional": xc})


def potcar_symbols(settings: VASPSettings) -> dict[str, str]:
    """Return which POTCAR the set takes for each element, for instance Na: Na_pv."""
    sets = input_sets(settings.input_set, settings.xc)
    return dict(sets.static.CONFIG["POTCAR"])


def _digest(config: dict[str, Any]) -> str:
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
