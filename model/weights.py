"""Reading tensors that somebody else saved, without running anything that is in the file."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import torch

FAULTS = (
    *(
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        RuntimeError,
        ValueError,
    ),
    *(LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, ImportError),
    *(OSError, EOFError, RecursionError, MemoryError),
)
"""What torch's restricted unpickler raises on damaged files; it says so of no single one."""


class DamagedWeights(ValueError):
    """A file that cannot be read as weights."""


def read_weights(source: Path | IO[bytes]) -> Any:
    """Read a file that `torch.save` wrote.

    Only tensors and plain values are made (``weights_only``): a file with anything else is refused
    before it is run.

    Args:
        source: The file; old and new formats.

    Returns:
        What was saved, on the CPU.

    Raises:
        DamagedWeights: It is damaged, holds other things, or is no such file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are old but sound
            return torch.load(source, map_location="cpu", weights_only=True)
    except FAULTS as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DamagedWeights(f"corrupt or of another kind: {reason:.300}") from error
