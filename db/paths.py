"""Where the local state of a working directory lives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def home_directory() -> Path:
    """Say where local state lives; nothing is created.

    Returns:
        ``$DISCOVERY_HOME`` made absolute, or ``.discovery`` in the working directory.
    """
    return Path(os.environ.get("DISCOVERY_HOME") or ".discovery").absolute()


def private_folder(path: Path) -> Path:
    """Make a folder, and those above it that are missing, for their owner alone.

    `Path.mkdir` gives its mode to the last folder only. Folders that exist keep theirs: whoever
    made them chose it.

    Args:
        path: Of the folder.

    Returns:
        The path.
    """
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


@dataclass(frozen=True)
class HomeFiles:
    """The files of the embedded database below one home directory.

    Args:
        home: The home directory; links are resolved so that every spelling means the same server.
    """

    home: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", self.home.resolve())

    @property
    def data(self) -> Path:
        """Folder of the database files."""
        return self.home / "mongo"

    @property
    def run(self) -> Path:
        """Folder of locks, the server's record and the supervisor's log."""
        return self.home / "run"

    @property
    def users_lock(self) -> Path:
        """Held shared by everyone who uses the server."""
        return self.run / "users.lock"

    @property
    def owner_lock(self) -> Path:
        """Held by the one supervisor that owns the server."""
        return self.run / "owner.lock"

    @property
    def record(self) -> Path:
        """Address of the server; exists only while it is ready."""
        return self.run / "server.json"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor said last."""
        return self.run / "supervisor.log"

    @property
    def server_log(self) -> Path:
        """The server's own log."""
        return self.data / "mongod.log"

    def create(self) -> None:
        """Create the folders, readable by their owner only."""
        for folder in (self.home, self.data, self.run):
            private_folder(folder)
