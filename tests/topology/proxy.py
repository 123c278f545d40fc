"""A TCP proxy on the loopback address that can be severed, as a network can."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes connections on to a port of this machine until it is severed.

    Severed by ``drop``, nothing arrives any more and nobody is told, as when a cable is pulled.
    Severed by ``reset``, connections are closed and new ones refused, as when a machine is down.

    Args:
        target: The port behind it.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._silent = False
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._closing = False
        self.port = 0
        self.passed = 0
        self.mend()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """Let nothing through, and say nothing."""
        self._silent = True

    def reset(self) -> None:
        """Close every connection, and refuse new ones."""
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
            for one in list(self._pairs):
                self._forget(one)

    def mend(self) -> None:
        """Let everything through; connections that were silent have lost what was sent."""
        with self._lock:
            if self._silent:  # bytes are missing in these: TCP would have given them up, too
                for one in list(self._pairs):
                    self._forget(one)
            self._silent = False
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
                self.port = int(self._listener.getsockname()[1])
                self._selector.register(self._listener, selectors.EVENT_READ)

    def close(self) -> None:
        """End it."""
        self._closing = True
        self._thread.join()
        self.reset()
        self._selector.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.05):
                with self._lock, suppress(OSError):
                    self._serve(key.fileobj)  # type: ignore[arg-type]

    def _serve(self, one: socket.socket) -> None:
        if one is self._listener:
            accepted, _ = one.accept()
            try:
                beyond = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                accepted.close()
                return
            for here, there in ((accepted, beyond), (beyond, accepted)):
                self._pairs[here] = there
                self._selector.register(here, selectors.EVENT_READ)
        elif one in self._pairs:
            data = one.recv(1 << 16)
            if not data:
                self._forget(one)
            elif not self._silent:
                self._pairs[one].sendall(data)
                self.passed += len(data)

    def _forget(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        for end in (one, other):
            if end is not None:
                self._pairs.pop(end, None)
                with suppress(KeyError, ValueError):
                    self._selector.unregister(end)
                end.close()
