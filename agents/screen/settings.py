"""What a campaign may say about its screens."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agents.extensions import SCREENS, extensions
from agents.prediction import OutOfDomain
from agents.screen.element_groups import ACTINIDES, LANTHANIDES, Group, elements_of
from agents.targets import OTHER_REFERENCES

KNOWN_MODELS = ("megnet", "alignn", "head")
"""Property models that can be named in `ScreenSettings.models`, all asked with ``auto``."""
ALIGNN_JARVIS = "alignn-jarvis"
"""Models published by JARVIS, which a person downloads; asked only where they are named."""
MATGL_PREFIX = "matgl:"
"""``matgl:NAME`` names a property model of matgl's hub; asked only where it is named."""

_SYMBOLS = frozenset(
    re.findall(
        "[A-Z][a-z]?",
        "HHeLiBeBCNOFNeNaMgAlSiPSClArKCaScTiVCrMnFeCoNiCuZnGaGeAsSeBrKrRbSrYZrNbMoTcRuRhPdAgCdInSn"
        "SbTeIXeCsBaLaCePrNdPmSmEuGdTbDyHoErTmYbLuHfTaWReOsIrPtAuHgTlPbBiPoAtRnFrRaAcThPaUNpPuAmCm"
        "BkCfEsFmMdNoLrRfDbSgBhHsMtDsRgCnNhFlMcLvTsOg",
    )
)


class MatcherSettings(BaseModel):
    """Tolerances of pymatgen's StructureMatcher; two crystals within them are the same one.

    Args:
        ltol: Relative tolerance of the cell lengths.
        stol: Tolerance of the sites, in units of (V/N)^(1/3).
        angle_tol: Tolerance of the cell angles, degrees.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    ltol: float = Field(default=0.3, gt=0.0, lt=1.0)
    stol: float = Field(default=0.5, gt=0.0, lt=2.0)
    angle_tol: float = Field(default=10.0, gt=0.0, lt=90.0)


class ScreenSettings(BaseModel):
    """Rules, models and tolerances of the screens.

    Args:
        min_distance: Smallest accepted distance between two atoms, periodic images included (Å).
        smact: The SMACT rule that rejects: CDVAE's (SMACT14 oxidation states), the current strict
            default of smact, or none. Both verdicts are stored whichever is chosen.
        allowed_elements: If given, only these elements may occur.
        forbidden_elements: Elements that may not occur.
        exclude_lanthanides: Reject La to Lu.
        exclude_actinides: Reject Ac to Lr.
        exclude: Groups of elements to reject: ``toxic``, ``radioactive``, ``scarce``; the lists and
            their sources are in `agents.screen.element_groups`. Which of them occur is stored
            whether or not they are rejected.
        max_atoms: Most atoms in the cell.
        dimensionality: 2 rejects whatever is not one layer with its vacuum along c
            (`agents.screen.dimensionality`), before relaxation and after; a campaign file says so
            once, at its top.
        min_layer_score: Smallest score of one layer, for ``dimensionality`` 2.
        min_elements: Fewest distinct elements.
        max_elements: Most distinct elements.
        models: Property models to ask: ``megnet``, ``alignn``, ``head``, ``alignn-jarvis``,
            ``matgl:NAME``, or what an installed package brings; ``auto`` takes those of the first
            three that are found, and says which are not.
        consensus: ``gate`` rejects a crystal when any model of a property puts it outside a target
            window, or when no model that counts says anything on a window (``unjudged``: without
            MEGNet that is every crystal until the head has learned); ``rank`` only records the
            verdicts. The potential's own formation energy never stands in for a screen.
        agreement: How many models must put a crystal inside each window: ``all`` that say something
            counted of it (at least one), or a number; with fewer counted words than that number the
            window is ``unjudged``.
        min_models: With fewer counted words than this a window is ``unjudged``, whatever they say.
            The paper's rule is agreement ``all`` and min_models 2 of MEGNet and ALIGNN.
        classifier: Where a gap is wanted: ``required``, some classifier must say that there is one
            (the paper's rule); ``if_present``, only where one says something; ``off``.
        min_p_gap: With ``gate`` and a gap window above zero: smallest accepted probability that the
            gap is not zero, where a classifier gives one.
        gate_ignores_levels: Levels of theory whose numbers do not mean what the windows mean.
            Perov-5's own formation energies are relative to a pool of compounds, not to elements.
        counted_out_of_domain: Reasons out of domain (`agents.screen.domain`: ``elements``,
            ``size``, ``vacuum``, ``composition``) that do not silence a model: its number stays
            flagged and counts. The paper's 2D funnel counts MEGNet and ALIGNN, which learned from
            bulk crystals (``vacuum``).
        matcher: When two crystals count as the same.
        references: Collections of the database (docs/reference-data.md) with which every relaxed
            candidate is compared, besides the training set and the campaign; ``auto``: those of
            ``mp`` and ``c2db`` that are imported. One that is named has to be.
        reject_training_duplicates: Reject what matches a training crystal; False only records it.
        reject_reference_duplicates: Reject what matches a crystal of ``references``. False records
            it: a known crystal outside the training set is a rediscovery, and counted as such.
        reject_campaign_duplicates: Reject what matches a candidate of the campaign that passed the
            screens.
        megnet_batch: Crystals in one pass through MEGNet or another model that takes structures.
        batch: Candidates leased at once.
        lease_seconds: How long a lease lasts without renewal (s).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_distance: float = Field(default=0.5, ge=0.0, le=5.0)
    smact: Literal["cdvae", "strict", "off"] = "cdvae"
    allowed_elements: tuple[str, ...] | None = None
    forbidden_elements: tuple[str, ...] = ()
    exclude_lanthanides: bool = False
    exclude_actinides: bool = False
    exclude: tuple[Group, ...] = ()
    max_atoms: int = Field(default=64, ge=1)
    dimensionality: Literal[2, 3] = 3
    min_layer_score: float = Field(default=0.1, gt=0.0, lt=1.0)
    min_elements: int = Field(default=1, ge=1)
    max_elements: int = Field(default=8, ge=1)
    models: Literal["auto"] | tuple[str, ...] = "auto"
    consensus: Literal["rank", "gate"] = "rank"
    agreement: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    min_models: int = Field(default=1, ge=1)
    classifier: Literal["required", "if_present", "off"] = "if_present"
    min_p_gap: float = Field(default=0.5, ge=0.0, le=1.0)
    gate_ignores_levels: tuple[str, ...] = OTHER_REFERENCES
    counted_out_of_domain: tuple[OutOfDomain, ...] = ()
    matcher: MatcherSettings = MatcherSettings()
    references: Literal["auto"] | tuple[str, ...] = "auto"
    reject_training_duplicates: bool = True
    reject_reference_duplicates: bool = False
    reject_campaign_duplicates: bool = True
    megnet_batch: int = Field(default=64, ge=1)
    batch: int = Field(default=32, ge=1, le=1024)
    lease_seconds: int = Field(default=120, ge=3)

    @field_validator("allowed_elements", "forbidden_elements")
    @classmethod
    def _refuse_unknown_elements(cls, symbols: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = sorted(set(symbols or ()) - _SYMBOLS)
        if unknown:
            raise ValueError(f"not chemical symbols: {', '.join(unknown)}")
        return symbols

    @field_validator("models")
    @classmethod
    def _refuse_unknown_or_repeated_models(
        cls, models: Literal["auto"] | tuple[str, ...]
    ) -> Literal["auto"] | tuple[str, ...]:
        if models == "auto":
            return models
        for name in models:
            if name not in (*KNOWN_MODELS, ALIGNN_JARVIS) and not re.fullmatch(
                f"{MATGL_PREFIX}[A-Za-z0-9][\\w.-]*", name
            ):
                brought = extensions(SCREENS)
                if name in brought:
                    continue
                known = ", ".join((*KNOWN_MODELS, *brought))
                raise ValueError(
                    f"unknown model {name!r}: use auto, or name {known}, {ALIGNN_JARVIS} and "
                    "matgl:NAME"
                )
        if len(set(models)) != len(models):
            raise ValueError(f"a model is named twice in models: {', '.join(models)}")
        return models

    @field_validator("references")
    @classmethod
    def _refuse_repeated_references(
        cls, names: Literal["auto"] | tuple[str, ...]
    ) -> Literal["auto"] | tuple[str, ...]:
        if names != "auto" and len(set(names)) != len(names):
            raise ValueError(f"a collection is named twice in references: {', '.join(names)}")
        return names

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.min_elements > self.max_elements:
            raise ValueError(
                f"min_elements {self.min_elements} is above max_elements {self.max_elements}"
            )
        if self.allowed_elements is not None:
            left = set(self.allowed_elements) - self.excluded_elements
            if len(left) < self.min_elements:
                raise ValueError(
                    f"only {len(left)} elements are allowed and not forbidden, but min_elements is "
                    f"{self.min_elements}: widen allowed_elements, shorten exclude or "
                    "forbidden_elements, or lower min_elements"
                )
        wanted = max(self.min_models, 1 if self.agreement == "all" else self.agreement)
        if self.models != "auto" and wanted > max(1, len(self.models)):
            raise ValueError(
                f"agreement and min_models ask for {wanted} models, but models names "
                f"{len(self.models)}"
            )
        return self

    @property
    def excluded_elements(self) -> set[str]:
        """All elements that may not occur, by name, as a group, or as lanthanide or actinide."""
        excluded = set(self.forbidden_elements) | elements_of(self.exclude)
        excluded |= LANTHANIDES if self.exclude_lanthanides else set()
        return excluded | (ACTINIDES if self.exclude_actinides else set())

    def rules(self) -> dict[str, Any]:
        """Return the settings that decide about validity, as plain JSON."""
        names = (
            "min_distance",
            "smact",
            "allowed_elements",
            "forbidden_elements",
            "exclude_lanthanides",
            "exclude_actinides",
            "exclude",
            "max_atoms",
            "dimensionality",
            "min_layer_score",
            "min_elements",
            "max_elements",
        )
        return self.model_dump(mode="json", include=set(names))
