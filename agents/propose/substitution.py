"""Data-mined ionic substitution with predicted volumes: what an expert would do without us.

Source: Hautier et al., Inorg. Chem. 50, 656 (2011), doi 10.1021/ic102031h (the probabilities), and
Chu et al., Comput. Mater. Sci. 146, 184 (2018), doi 10.1016/j.commatsci.2018.01.040 (the volumes);
both as implemented in pymatgen.
"""

from __future__ import annotations

import heapq
import itertools
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from agents.propose.chemistry import balanced
from agents.propose.proposer import Draft, Proposer
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import SubstitutionSettings
from agents.propose.space import SearchSpace
from model.codes import CrystalCodes

if TYPE_CHECKING:
    from pymatgen.analysis.structure_prediction.substitution_probability import (
        SubstitutionProbability,
    )
    from pymatgen.core import Species, Structure

    from model.generator import Generator

_MOST_COMBINATIONS = 1_000_000
"""Combinations of species looked at before a base crystal counts as used up."""


class UndecodableBase(ValueError):
    """The base crystal's own codes decode to no crystal, so nothing can be substituted in it."""


@dataclass(frozen=True)
class Substitution:
    """Which element takes the sites of which, and how likely.

    Attributes:
        elements: Symbol of the base crystal's element to symbol of the new one.
        probability: Product of the conditional probabilities of all substitutions.
    """

    elements: dict[str, str]
    probability: float


class SubstitutionProposer(Proposer):
    """Substitutes ions in the base crystal, the most probable combinations first; learns nothing.

    The base crystal is what its codes decode to. Each of its elements is exchanged for another one
    by the conditional probabilities of Hautier et al., combinations in the order of the product of
    probabilities; those that are not charge balanced or fail the SMACT rule are left out, as are
    the base crystal itself, a formula already made, and elements outside the generator's domain.
    Oxidation states are guessed by pymatgen; where none balances the base (alloys), an element is
    exchanged for ones of the same oxidation state, whichever state makes that likeliest. The cell
    is scaled to the volume that data-mined bond lengths predict.

    It proposes crystals, not codes: what is evaluated is the substituted crystal itself, and the
    codes it encodes to are only its name. Nothing is drawn at random.
    """

    kind = "substitution"

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: SubstitutionSettings,
        generator: Generator,
    ) -> None:
        """Start an episode.

        Raises:
            UndecodableBase: The base crystal's codes decode to no crystal.
        """
        super().__init__(space, seed, generations=settings.generations, max_redraws=0)
        self.settings = settings
        self.generator = generator
        base = generator.decode([space.base])[0]
        if base.structure is None:
            raise UndecodableBase(f"{space.base_id} of {generator.name}: {base.error}")
        self.base = base.structure
        self._stream = self._formulas()
        self._known: list[Substitution] = []

    def _draw(self, generation: int, rng: np.random.Generator) -> list[Draft]:
        first, last = (self.settings.batch * (generation + i) for i in (0, 1))
        while len(self._known) < last:
            following = next(self._stream, None)
            if following is None:
                break
            self._known.append(following)
        crystals = [self._substitute(s) for s in self._known[first:last]]
        encoded = self.generator.encode(crystals)
        return [
            Draft(codes, structure)
            for codes, structure in zip(encoded, crystals, strict=True)
            if isinstance(codes, CrystalCodes)
        ]

    def _formulas(self) -> Iterator[Substitution]:
        """Yield the substitutions that give a new formula, the most probable first."""
        from pymatgen.core import Composition, Element

        amounts = self.base.composition.get_el_amt_dict()
        known = {self.base.composition.reduced_formula}
        domain = {Element.from_Z(z).symbol for z in self.generator.elements}
        for substitution in substitutions(self.base, domain):
            cell: Counter[str] = Counter()
            for old, new in substitution.elements.items():
                cell[new] += round(amounts[old])
            formula = Composition(cell).reduced_formula
            if formula not in known and balanced(formula, self.settings.charge):
                known.add(formula)
                yield substitution

    def _substitute(self, substitution: Substitution) -> Structure:
        structure = self.base.copy()
        structure.replace_species(substitution.elements)
        return with_predicted_volume(structure) if self.settings.volume else structure


def substitutions(base: Structure, domain: set[str]) -> Iterator[Substitution]:
    """Yield ionic substitutions of a crystal that keep it neutral, the most probable first.

    Args:
        base: The crystal; not changed.
        domain: Symbols of the elements that may be put in.
    """
    amounts = base.composition.get_el_amt_dict()
    choices = _choices(amounts, domain)
    ordered = [sorted(c, key=lambda choice: (-choice.probability, choice.name)) for c in choices]
    if not all(ordered):
        return
    for places in itertools.islice(_best_first(ordered), _MOST_COMBINATIONS):
        chosen = [options[i] for options, i in zip(ordered, places, strict=True)]
        charge = sum(n * c.charge for n, c in zip(amounts.values(), chosen, strict=True))
        if abs(charge) < 1e-8 and len({c.name for c in chosen}) == len(chosen):
            yield Substitution(
                dict(zip(amounts, (c.symbol for c in chosen), strict=True)),
                float(np.prod([c.probability for c in chosen])),
            )


def with_predicted_volume(structure: Structure) -> Structure:
    """Return a crystal scaled to the volume that data-mined bond lengths predict for it.

    A crystal for which pymatgen predicts none (noble gases, atoms out of each other's reach) keeps
    its cell.

    Args:
        structure: The substituted crystal, in the cell of the base.
    """
    from pymatgen.analysis.structure_prediction.volume_predictor import DLSVolumePredictor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bond lengths of some elements come from their radii
        try:
            return DLSVolumePredictor().get_predicted_structure(structure)
        except ValueError:
            return structure


@dataclass(frozen=True)
class _Choice:
    """One species that may take an element's sites.

    Attributes:
        symbol: Its element.
        charge: What it adds to the charge of the cell, per atom.
        probability: Conditional probability of the substitution.
        name: Species as text, "Ti4+".
    """

    symbol: str
    charge: float
    probability: float
    name: str


def _choices(amounts: dict[str, float], domain: set[str]) -> list[list[_Choice]]:
    """Return what may take the sites of each element."""
    model = _probabilities()
    allowed = sorted((s for s in model.species if s.symbol in domain), key=str)
    states = _guessed_states(amounts)
    if states is None:
        return [_isovalent(symbol, allowed) for symbol in amounts]
    return [
        [_Choice(new.symbol, new.oxi_state, model.cond_prob(new, old), str(new)) for new in allowed]
        for old in states
    ]


def _isovalent(symbol: str, allowed: Sequence[Species]) -> list[_Choice]:
    """Return elements that take a site in one of its oxidation states, however the cell's balance.

    An element without data stays where it is.
    """
    model = _probabilities()
    own = [s for s in sorted(model.species, key=str) if s.symbol == symbol]
    best: dict[str, float] = {} if own else {symbol: 1.0}
    for old, new in itertools.product(own, allowed):
        if old.oxi_state == new.oxi_state:
            best[new.symbol] = max(best.get(new.symbol, 0.0), model.cond_prob(new, old))
    return [_Choice(name, 0.0, probability, name) for name, probability in best.items()]


def _guessed_states(amounts: dict[str, float]) -> list[Species] | None:
    """Return pymatgen's first guess of oxidation states that the probabilities know, or None."""
    from pymatgen.core import Composition, Species

    known = _probabilities().species
    for guess in Composition(amounts).oxi_state_guesses():
        if all(float(q).is_integer() for q in guess.values()):
            species = [Species(symbol, int(guess[symbol])) for symbol in amounts]
            if known.issuperset(species):
                return species
    return None


@lru_cache(maxsize=1)
def _probabilities() -> SubstitutionProbability:
    """Return the probabilities mined by Hautier et al. (pymatgen's table)."""
    from pymatgen.analysis.structure_prediction.substitution_probability import (
        SubstitutionProbability,
    )

    return SubstitutionProbability()


def _best_first(ordered: Sequence[Sequence[_Choice]]) -> Iterator[tuple[int, ...]]:
    """Yield one place in each list, by falling product of the probabilities.

    Each list falls in probability. Equal products come in the order of the places.
    """
    logs = [np.log([choice.probability for choice in options]) for options in ordered]
    start = (0,) * len(ordered)
    heap = [(-float(sum(log[0] for log in logs)), start)]
    seen = {start}
    while heap:
        _, places = heapq.heappop(heap)
        yield places
        for slot, place in enumerate(places):
            following = (*places[:slot], place + 1, *places[slot + 1 :])
            if place + 1 < len(ordered[slot]) and following not in seen:
                seen.add(following)
                worth = sum(log[i] for log, i in zip(logs, following, strict=True))
                heapq.heappush(heap, (-float(worth), following))
