"""Cheap rules: distances, charge neutrality, elements and sizes. No trained model is asked here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agents.geometry import shortest_distance, too_close
from agents.screen.dimensionality import Layer, judge_layer
from agents.screen.element_groups import ACTINIDES, GROUPS, LANTHANIDES, members
from agents.screen.settings import ScreenSettings
from model.metrics.validity import smact_verdict

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class Validity:
    """All numbers behind the cheap rules, whichever of them a campaign applies.

    Attributes:
        formula: Reduced formula.
        n_atoms: Atoms in the cell.
        n_elements: Distinct elements.
        min_distance: Shortest distance, images included (Å).
        volume_per_atom: Å^3.
        smact_cdvae: Verdict of CDVAE's SMACT rule.
        smact_strict: Verdict of smact's current default.
        smact_applicable: False for one element.
        lanthanides: Those that occur.
        actinides: Those that occur.
        toxic: Elements of this group that occur, see `agents.screen.element_groups`.
        radioactive: Elements of this group that occur.
        scarce: Elements of this group that occur.
        not_allowed: Elements outside the campaign's choice.
        layer: What the crystal looks like as a slab; None in campaigns of bulk crystals.
        failed: Names of the rules that fail, in the order in which they are applied.
    """

    formula: str
    n_atoms: int
    n_elements: int
    min_distance: float
    volume_per_atom: float
    smact_cdvae: bool
    smact_strict: bool
    smact_applicable: bool
    lanthanides: tuple[str, ...]
    actinides: tuple[str, ...]
    toxic: tuple[str, ...]
    radioactive: tuple[str, ...]
    scarce: tuple[str, ...]
    not_allowed: tuple[str, ...]
    layer: Layer | None
    failed: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """True where no rule fails."""
        return not self.failed

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, with ``valid``."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        layer = None if self.layer is None else self.layer.record()
        return {**plain, "layer": layer, "valid": self.valid}


def excludes(settings: ScreenSettings, formula: str) -> bool:
    """Say whether a campaign's rules exclude a formula by its elements or their number.

    Args:
        settings: The campaign's rules.
        formula: Any formula; of an empty one nothing can be said.
    """
    from pymatgen.core import Composition

    if not formula:
        return False
    symbols = {element.symbol for element in Composition(formula).elements}
    allowed = symbols if settings.allowed_elements is None else set(settings.allowed_elements)
    within = settings.min_elements <= len(symbols) <= settings.max_elements
    return not within or bool(symbols & settings.excluded_elements) or not symbols <= allowed


def judge(structure: Structure, settings: ScreenSettings) -> Validity:
    """Apply every cheap rule to a crystal.

    Args:
        structure: Decoded or relaxed crystal.
        settings: Which rules the campaign applies, and their limits.

    Returns:
        The numbers and the names of the rules that fail: ``min_distance``, ``dimensionality``,
        ``n_atoms``, ``n_elements``, ``elements``, ``lanthanide``, ``actinide``, ``toxic``,
        ``radioactive``, ``scarce``, ``smact``.

    Raises:
        ValueError: The cell is degenerate or a coordinate is not finite.
    """
    elements = sorted(structure.composition.elements)
    symbols = [element.symbol for element in elements]
    formula = structure.composition.reduced_formula
    verdict = smact_verdict(formula)
    shortest = shortest_distance(structure)
    lanthanides = tuple(symbol for symbol in symbols if symbol in LANTHANIDES)
    actinides = tuple(symbol for symbol in symbols if symbol in ACTINIDES)
    groups = {group: members(symbols, group) for group in GROUPS}
    allowed = set(symbols if settings.allowed_elements is None else settings.allowed_elements)
    not_allowed = tuple(s for s in symbols if s not in allowed - set(settings.forbidden_elements))
    layer = None
    if settings.dimensionality == 2:
        layer = judge_layer(structure, settings.min_layer_score)
    passes: dict[str, bool] = {
        "min_distance": not too_close(shortest, settings.min_distance),
        "dimensionality": layer is None or layer.reason is None,
        "n_atoms": len(structure) <= settings.max_atoms,
        "n_elements": settings.min_elements <= len(elements) <= settings.max_elements,
        "elements": not not_allowed,
        "lanthanide": not (settings.exclude_lanthanides and lanthanides),
        "actinide": not (settings.exclude_actinides and actinides),
        **{str(g): not (g in settings.exclude and found) for g, found in groups.items()},
        "smact": {"cdvae": verdict.cdvae, "strict": verdict.strict, "off": True}[settings.smact],
    }
    return Validity(
        formula=formula,
        n_atoms=len(structure),
        n_elements=len(elements),
        min_distance=shortest,
        volume_per_atom=float(structure.volume) / len(structure),
        smact_cdvae=verdict.cdvae,
        smact_strict=verdict.strict,
        smact_applicable=verdict.applicable,
        lanthanides=lanthanides,
        actinides=actinides,
        toxic=groups["toxic"],
        radioactive=groups["radioactive"],
        scarce=groups["scarce"],
        not_allowed=not_allowed,
        layer=layer,
        failed=tuple(name for name, passed in passes.items() if not passed),
    )
