"""Single points of codes: what every method spends its budget on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agents.compare.timing import Seconds, Stopwatch
from agents.relax.rules import broken_rule, exploited
from agents.relax.stage import CRYSTAL_ERRORS
from model.metrics.charge_balance import charge_balanced

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.compare.cache import EnergyCache
    from agents.propose.proposer import Proposal
    from agents.relax.potential import Potential
    from agents.relax.references import ElementalReferences
    from agents.relax.settings import RelaxSettings
    from model.codes import CrystalCodes
    from model.generator import Generator


@dataclass(frozen=True)
class Evaluated:
    """What one evaluation found.

    Attributes:
        codes: what was asked for.
        structure: what it decodes to, or None.
        formula: its reduced formula, or None.
        energy: total energy of the cell, eV; None where the crystal was refused.
        formation_energy: eV/atom; None where the crystal was refused.
        refused: why there is no formation energy ("invalid_decode", "min_distance", "volume",
            "unsupported_elements", "failed", "not_finite", "potential_exploited"), or None.
        neutral: SMACT's verdict by CDVAE's rule; False where nothing was decoded.
    """

    codes: CrystalCodes
    structure: Structure | None
    formula: str | None
    energy: float | None
    formation_energy: float | None
    refused: str | None
    neutral: bool

    @property
    def hit(self) -> bool:
        """Whether it is SMACT-valid with a negative formation energy."""
        return self.neutral and self.formation_energy is not None and self.formation_energy < 0


class Evaluator:
    """Decodes codes and asks the potential, with the rules of a campaign's evaluation stage.

    It remembers nothing of what a method asked before: an energy from `cache` costs a method what
    it cost when it was computed.

    Attributes:
        potential_calls: crystals the potential was asked for, those found in the cache included.
        computing: time spent inside the potential.
        remembered: time that energies from the cache took when they were computed.
        judging: time of SMACT's verdicts, which is the judge's and not the method's.
    """

    def __init__(
        self,
        generator: Generator,
        potential: Potential,
        references: ElementalReferences,
        settings: RelaxSettings,
        cache: EnergyCache | None = None,
    ) -> None:
        """Prepare an evaluator.

        Raises:
            ReferenceMismatch: the references belong to another potential or version.
        """
        references.require(potential)
        self.generator, self.potential = generator, potential
        self.references, self.settings, self.cache = references, settings, cache
        self.potential_calls = 0
        self.computing, self.judging, self.remembered = Stopwatch(), Stopwatch(), Seconds()

    def evaluate(self, proposals: Sequence[Proposal]) -> list[Evaluated]:
        """Evaluate proposals in one batch.

        Args:
            proposals: B of them; one that brings its own structure is not decoded.

        Returns:
            One result for each, in the order given.
        """
        structures = self._structures(proposals)
        refused = [self._refusal(structure) for structure in structures]
        asked = [
            (i, structure)
            for i, (structure, reason) in enumerate(zip(structures, refused))
            if structure is not None and reason is None
        ]
        energies = np.full(len(proposals), np.nan)
        names = [_name(proposals[i]) for i, _ in asked] if self.cache else []
        energies[[i for i, _ in asked]] = self._energies(names, [s for _, s in asked])
        codes = [proposal.codes for proposal in proposals]
        return [
            self._result(*item)
            for item in zip(codes, structures, refused, energies.tolist(), strict=True)
        ]

    def _structures(self, proposals: Sequence[Proposal]) -> list[Structure | None]:
        structures = [proposal.structure for proposal in proposals]
        rows = [i for i, structure in enumerate(structures) if structure is None]
        decoded = self.generator.decode([proposals[i].codes for i in rows])
        for i, crystal in zip(rows, decoded, strict=True):
            structures[i] = crystal.structure
        return structures

    def _refusal(self, structure: Structure | None) -> str | None:
        """Return the rule a decoded crystal breaks before the potential sees it."""
        if structure is None:
            return "invalid_decode"
        try:
            verdict = broken_rule(structure, self.potential, self.references, self.settings)
        except CRYSTAL_ERRORS:
            return "invalid_decode"
        return verdict.reason if verdict else None

    def _energies(self, names: list[str], structures: list[Structure]) -> np.ndarray:
        """Return total energies (B,) in eV; infinite where the potential's library gave up."""
        if self.cache is None:
            return self._computed(structures)
        known = self.cache.load(names)
        self.potential_calls += len(known)
        for _, seconds in known.values():
            self.remembered += seconds
        missing = [i for i, name in enumerate(names) if name not in known]
        if missing:
            before = self.computing.total
            energies = self._computed([structures[i] for i in missing])
            share = (self.computing.total - before) / len(missing)
            new = {names[i]: (float(e), share) for i, e in zip(missing, energies, strict=True)}
            self.cache.store(new)
            known |= new
        return np.array([known[name][0] for name in names])

    def _computed(self, structures: list[Structure]) -> np.ndarray:
        if not structures:
            return np.zeros(0)
        self.potential_calls += len(structures)
        with self.computing:
            try:
                return np.asarray(self.potential.energies(structures), dtype=np.float64)
            except CRYSTAL_ERRORS:
                return np.array([self._alone(structure) for structure in structures])

    def _alone(self, structure: Structure) -> float:
        """Return the energy of one crystal of a batch that failed, infinite if it is to blame."""
        try:
            return float(self.potential.energies([structure])[0])
        except CRYSTAL_ERRORS:
            return math.inf

    def _result(
        self, codes: CrystalCodes, structure: Structure | None, refused: str | None, energy: float
    ) -> Evaluated:
        formula, neutral, formation_energy = None, False, None
        if structure is not None:
            formula = structure.composition.reduced_formula
            with self.judging:
                neutral = charge_balanced(formula, "cdvae")
        if structure is not None and refused is None:
            if math.isinf(energy):
                refused = "failed"
            elif math.isnan(energy):
                refused = "not_finite"
            else:
                formation_energy = self.references.formation_energy_per_atom(
                    structure.composition, energy
                )
                verdict = exploited(formation_energy, self.settings)
                if verdict:
                    refused, formation_energy = verdict.reason, None
        return Evaluated(
            codes=codes,
            structure=structure,
            formula=formula,
            energy=None if formation_energy is None else energy,
            formation_energy=formation_energy,
            refused=refused,
            neutral=neutral,
        )


def _name(proposal: Proposal) -> str:
    """Return what an energy is kept under: the codes, or the structure that a proposal brings."""
    if proposal.structure is None:
        return proposal.codes.digest()
    text = proposal.structure.to(fmt="json")
    return "structure " + hashlib.sha256(text.encode()).hexdigest()
