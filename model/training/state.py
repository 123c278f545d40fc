"""The state of an unfinished training, in a folder beside the checkpoint it will become."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from model.settings import TrainConfig
from model.weights import DamagedWeights, read_weights
from model.zip_files import FAULTS, DamagedZip, open_zip

_FORMAT = "discovery-training-1"
_NAMED = 6  # differences named in an error
_STATE, _HISTORY, _LOCK = "state.pt", "history.jsonl", "lock"


class Report(Protocol):
    """What the history has one line of."""

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""


class UnusableState(ValueError):
    """An earlier training's state that cannot be continued."""


class TrainingInProgress(ValueError):
    """Another process trains into the same folder."""


def fingerprint(config: TrainConfig, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return what must be the same for a training to be continued.

    Args:
        config: of the training. Files count by their content, not by where they lie.
        hashes: sha256 of the data files, by what they are.
    """
    places: dict[str, bool | set[str]] = {"extra_labels": True, "data": {"train", "val"}}
    own = config.model_dump(mode="json", exclude=places)
    return {"config": own, "sha256": {name: value[:16] for name, value in hashes.items()}}


class TrainingFolder:
    """`OUT.partial`: the state after the last whole epoch, and the history of all.

    Life: inside `locked`, `load` once; then `begin`, and `save` after every epoch; `clear` when
    the checkpoint is complete, and the folder goes with the lock. A state is replaced in one
    step, so a process killed at any moment leaves either the old one or the new one.
    """

    def __init__(self, out: Path) -> None:
        """Name the folder of the checkpoint `out`; nothing is made yet."""
        self.path = out.with_name(f"{out.name}.partial")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; a folder without a state is removed at the end.

        Raises:
            TrainingInProgress: if another process is in it.
        """
        stream = None
        while stream is None:
            self.path.mkdir(parents=True, exist_ok=True)
            stream = (self.path / _LOCK).open("a")
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                stream.close()
                raise TrainingInProgress(
                    f"another process is training into {self.path}; wait for it or end it"
                ) from error
            if not _same_file(stream.fileno(), self.path / _LOCK):  # its owner just removed it
                stream.close()
                stream = None
        with stream:
            try:
                yield
            finally:
                if not (self.path / _STATE).exists():
                    shutil.rmtree(self.path)

    def load(self, expected: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the state of the training, None if there is none.

        Args:
            expected: `fingerprint` of what is to be trained now.

        Raises:
            UnusableState: if the state is damaged or is that of another training; the message
                names what differs.
        """
        path = self.path / _STATE
        if not path.exists():
            return None
        advice = "restart (--restart) to train anew, or write to another folder"
        try:
            with open_zip(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise DamagedZip(f"{damaged} is damaged")
            content = read_weights(path)
        except (DamagedZip, DamagedWeights, *FAULTS) as error:
            raise UnusableState(f"{path} cannot be read ({error!s:.200}): {advice}") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise UnusableState(f"{path} is no training state of this version: {advice}")
        differing = _differences(content["fingerprint"], expected)
        if differing:
            more = len(differing) - _NAMED
            named = "; ".join(differing[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
            raise UnusableState(
                f"{self.path} holds an unfinished training that was started differently: "
                f"{named}. Undo that to continue it, or {advice}"
            )
        state: dict[str, Any] = content["training"]
        return state

    def begin(self, history: Sequence[Report]) -> None:
        """Write the history up to here, in place of lines whose state was not saved."""
        lines = [json.dumps(report.record()) + "\n" for report in history]
        (self.path / _HISTORY).write_text("".join(lines))

    def save(self, state: Mapping[str, Any], expected: Mapping[str, Any], report: Report) -> None:
        """Replace the state and add to the history.

        Args:
            state: tensors and plain values, as `torch.load(weights_only=True)` accepts.
            expected: `fingerprint` of the training.
            report: of the part that ended.
        """
        content = {"format": _FORMAT, "fingerprint": dict(expected), "training": dict(state)}
        partial = self.path / f"{_STATE}.new"
        with partial.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.path / _STATE)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        with (self.path / _HISTORY).open("a") as lines:
            lines.write(json.dumps(report.record()) + "\n")

    def clear(self) -> None:
        """Forget the state."""
        (self.path / _STATE).unlink(missing_ok=True)


def _same_file(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name every value that differs between two nested mappings."""
    before, after = _flat(old), _flat(new)
    return [
        f"{key} was {before.get(key, 'absent')} and is {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, "absent") != after.get(key, "absent")
    ]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
