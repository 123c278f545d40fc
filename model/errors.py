"""What can go wrong with a generator, as errors that say what to do."""

from __future__ import annotations


class UnencodableCrystal(ValueError):
    """A crystal the generator cannot turn into codes (size, number of species, element)."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded."""


class MissingCheckpoint(CheckpointError):
    """A checkpoint name or path that does not exist."""


class CorruptCheckpoint(CheckpointError):
    """A checkpoint whose files do not belong together or are damaged."""


class MissingDataset(ValueError):
    """A data set file that is not there."""


class InvalidConfig(ValueError):
    """A training configuration that cannot be used."""
