"""Seeds of every random draw of the search, derived from the campaign's seed alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BASE, _GENERATION = 0, 1


@dataclass(frozen=True)
class EpisodeSeed:
    """Where an episode's random numbers come from.

    The streams are numpy `SeedSequence` children: equal keys give equal numbers on every machine
    and in every process, and different keys give independent ones.

    Attributes:
        campaign: The campaign's seed.
        episode: Number of the episode in the campaign; it names the proposer too.
    """

    campaign: int
    episode: int

    def base(self) -> np.random.Generator:
        """Return the stream that draws the base crystal."""
        return self._stream([self.episode, _BASE])

    def generation(self, generation: int) -> np.random.Generator:
        """Return the stream of one generation."""
        return self._stream(self.key(generation))

    def key(self, generation: int) -> list[int]:
        """Return the spawn key of one generation, for the record."""
        return [self.episode, _GENERATION, generation]

    def _stream(self, key: list[int]) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.campaign, spawn_key=tuple(key)))
