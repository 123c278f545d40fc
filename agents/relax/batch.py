"""Relaxation of many crystals at once.

Every round asks the potential once for all crystals in flight. A crystal that is finished leaves
and the next one takes its place, so that the batch stays full until the queue is empty. Each
crystal follows the course it would follow alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agents.relax.relaxation import OPTIMIZERS, Answer, Ask, Clock, Relaxation, course

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential
    from agents.relax.settings import RelaxSettings

#: What a potential's library raises on a crystal it cannot handle; anything else is a bug of ours.
CRYSTAL_ERRORS = (ArithmeticError, LookupError, RuntimeError, ValueError)


def relax(structure: Structure, potential: Potential, settings: RelaxSettings) -> Relaxation:
    """Relax one crystal; see `agents.relax.relaxation.course`.

    Raises:
        UnsupportedElements: the potential does not know an element.
        ValueError: the optimiser is unknown.
    """
    (relaxation,) = relax_many([structure], potential, settings)
    return relaxation


def relax_many(
    structures: Sequence[Structure],
    potential: Potential,
    settings: RelaxSettings,
    progress: Callable[[int], None] | None = None,
) -> list[Relaxation]:
    """Relax crystals together, each as it would be relaxed alone.

    Args:
        structures: ordered crystals; left unchanged.
        potential: gives energies, forces and stresses.
        settings: optimiser, criteria, pressure and guards.
        progress: is told after every round how many crystals are finished.

    Returns:
        One relaxation per crystal, in the order given.

    Raises:
        UnsupportedElements: the potential does not know an element of a crystal.
        ValueError: the optimiser is unknown.
        RuntimeError: the potential failed on a crystal; `relaxations` keeps such an error to the
            crystal that caused it.
    """
    found: dict[int, Relaxation] = {}
    for index, relaxation in relaxations(structures, potential, settings):
        if isinstance(relaxation, Exception):
            raise relaxation
        found[index] = relaxation
        if progress:
            progress(len(found))
    return [found[index] for index in range(len(structures))]


@dataclass
class _Flight:
    """A crystal in flight."""

    course: Generator[Ask, Answer, Relaxation]
    ask: Ask
    clock: Clock


def relaxations(
    structures: Sequence[Structure],
    potential: Potential,
    settings: RelaxSettings,
    in_flight: int | None = None,
) -> Iterator[tuple[int, Relaxation | Exception]]:
    """Relax crystals together and yield each as soon as it is finished.

    Args:
        structures: ordered crystals; left unchanged.
        potential: gives energies, forces and stresses.
        settings: optimiser, criteria, pressure and guards.
        in_flight: crystals relaxed at once; None: what suits the potential and its device.

    Yields:
        The crystal's place in `structures`, and its relaxation or the error that the potential
        raised on it.

    Raises:
        ValueError: the optimiser is unknown.
    """
    if settings.optimizer not in OPTIMIZERS:
        raise ValueError(
            f"unknown optimizer {settings.optimizer!r}; known are {', '.join(OPTIMIZERS)}"
        )
    if in_flight is None:
        in_flight = potential.in_flight(structures)
    waiting = iter(enumerate(structures))
    flights: dict[int, _Flight] = {}
    while True:
        while len(flights) < in_flight and (entry := next(waiting, None)) is not None:
            index, structure = entry
            clock = Clock()
            new = course(structure, settings, clock)
            try:
                flights[index] = _Flight(new, next(new), clock)
            except CRYSTAL_ERRORS as error:
                yield index, error
        if not flights:
            return
        started = time.monotonic()
        answers = _answers(potential, [flight.ask for flight in flights.values()])
        share = (time.monotonic() - started) / len(flights)
        finished: list[tuple[int, Relaxation | Exception]] = []
        for (index, flight), answer in zip(flights.items(), answers):
            flight.clock.seconds += share
            outcome = _advance(flight, answer)
            if outcome is not None:
                finished.append((index, outcome))
        for index, _ in finished:
            del flights[index]
        yield from finished


def _advance(flight: _Flight, answer: Answer | Exception) -> Relaxation | Exception | None:
    """Tell a course the answer; return what it ends with, or None while it goes on."""
    if isinstance(answer, Exception):
        flight.course.close()
        return answer
    try:
        flight.ask = flight.course.send(answer)
    except StopIteration as end:
        return end.value
    except CRYSTAL_ERRORS as error:
        return error
    return None


def _answers(potential: Potential, asks: Sequence[Ask]) -> list[Answer | Exception]:
    """Ask the potential about all crystals together, or about each course alone if that fails."""
    try:
        return _ask(potential, asks)
    except CRYSTAL_ERRORS as error:
        if len(asks) == 1:
            return [error]
    return [_answers(potential, [ask])[0] for ask in asks]


def _ask(potential: Potential, asks: Sequence[Ask]) -> list[Answer | Exception]:
    """Ask once for all energies and once for all forces."""
    found: dict[int, Answer | Exception] = {}
    for energies_only in (True, False):
        chosen = [i for i, ask in enumerate(asks) if ask.energies_only is energies_only]
        structures = [s for i in chosen for s in asks[i].structures]
        if not structures:
            continue
        results = [] if energies_only else potential.evaluate(structures)
        energies = (
            potential.energies(structures)
            if energies_only
            else np.array([result.energy for result in results])
        )
        start = 0
        for i in chosen:
            stop = start + len(asks[i].structures)
            found[i] = Answer(energies[start:stop], results[start:stop])
            start = stop
    return [found[i] for i in range(len(asks))]
