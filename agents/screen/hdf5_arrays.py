"""Reads the arrays and Keras' description out of an HDF5 file, in a process with limits.

The library's parser is C: in a damaged file it may go round for ever, or ask for all memory, where
nothing in Python can stop it. So this file is also a program, which knows nothing of ours:
``python -I hdf5_arrays.py FILE`` writes an npz archive to its standard output.
"""

from __future__ import annotations

import io
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

SECONDS = 5
"""Processor time that reading may take; the published files take a tenth of it."""
MEMORY_BYTES = 4 << 30
DESCRIPTION = "model_config"
"""Name of the description among the arrays; its bytes are text."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read a file.

    Returns:
        Arrays by their short name (``dense_1/kernel``), and `DESCRIPTION` as bytes.

    Raises:
        ValueError: It is no such file, or takes too long.
    """
    done = subprocess.run(
        [sys.executable, "-I", __file__, str(path)], capture_output=True, check=False
    )
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ValueError(f"reading it takes more than {SECONDS} s of processor time")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(said[-1][:500] if said else f"reading it ended with {done.returncode}")
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def main(path: str) -> None:
    """Read a file under limits, and write what was read."""
    import h5py

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes to a pipe alone
    arrays = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            parts = name.split("/")
            arrays[f"{parts[0]}/{parts[-1].removesuffix(':0')}"] = item[()]

    with h5py.File(path, "r") as file:
        file["model_weights"].visititems(visit)
        said = file.attrs[DESCRIPTION]
        text = said if isinstance(said, bytes) else str(said).encode()
        arrays[DESCRIPTION] = np.frombuffer(text, dtype=np.uint8)
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    sys.stdout.buffer.write(packed.getvalue())


if __name__ == "__main__":
    main(sys.argv[1])
