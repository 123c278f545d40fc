"""A web server on this machine that serves data, and fails as servers do."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

HTML = b"<!DOCTYPE html><html><body>Checking your browser</body></html>"
ENDLESS_BLOCK = b"x" * (1 << 16)
Answer = dict[str, Any] | tuple[int, dict[str, str], bytes]


@dataclass
class Asked:
    """One request."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class DataServer:
    """Files, and functions that answer with JSON; faults come first, in their order.

    Faults of a path: ``500``, ``503``, ``429``, ``429 for 7`` (Retry-After), ``cut`` (half of the
    answer, then the connection ends), ``longer`` and ``shorter`` (lies about Content-Length),
    ``html`` (a web page with status 200), ``endless``, ``drip`` (slowly), ``half`` (half of it,
    as if it were all), ``moved URL`` (redirect), ``whole`` (no fault).
    """

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Callable[[Asked], Answer]] = field(default_factory=dict)
    faults: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    def fail(self, path: str, *faults: str) -> None:
        """Fail so at the next requests of a path."""
        self.faults[path].extend(faults)

    def paths(self) -> list[str]:
        """Return the paths of all requests."""
        return [one.path for one in self.asked]


def _content(server: DataServer, asked: Asked) -> tuple[int, dict[str, str], bytes]:
    """Return the answer that no fault spoils."""
    if asked.path in server.answers:
        answer = server.answers[asked.path](asked)
        if isinstance(answer, tuple):
            return answer
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()
    if asked.path not in server.files:
        return 404, {"Content-Type": "text/plain"}, b"404: Not Found"
    whole = server.files[asked.path]
    tag = f'"{hash(whole) & 0xFFFFFFFF:x}"'
    headers = {"Content-Type": "application/octet-stream", "ETag": tag}
    wanted = asked.headers.get("range")
    if wanted is None or asked.headers.get("if-range", tag) != tag:
        return 200, headers, whole
    start = int(wanted.removeprefix("bytes=").rstrip("-"))
    if start >= len(whole):
        return 416, {"Content-Range": f"bytes */{len(whole)}"}, b""
    place = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
    return 206, {**headers, "Content-Range": place}, whole[start:]


def _handler(server: DataServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(parts.path, dict(parse_qsl(parts.query)), headers)
            server.asked.append(asked)
            waiting = server.faults[parts.path]
            fault = waiting.popleft() if waiting else server.always.get(parts.path, "whole")
            kind, _, rest = fault.partition(" ")
            if kind.isdecimal():
                retry = {"Retry-After": rest.removeprefix("for ")} if rest else {}
                return self.answer(int(kind), retry, b"busy")
            if kind == "moved":
                return self.answer(302, {"Location": rest}, b"")
            if kind == "html":
                return self.answer(200, {"Content-Type": "text/html"}, HTML)
            status, sent, body = _content(server, asked)
            if kind == "endless":
                return self.endless(sent)
            if kind == "drip":
                return self.endless(sent, b"x", 0.02)
            if kind == "half":
                body = body[: len(body) // 2]
            length = len(body) + {"longer": 1000, "shorter": -min(10, len(body))}.get(kind, 0)
            self.answer(status, sent, body[: len(body) // 2] if kind == "cut" else body, length)

        def answer(
            self, status: int, headers: dict[str, str], body: bytes, length: int | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def endless(
            self, headers: dict[str, str], block: bytes = ENDLESS_BLOCK, seconds: float = 0.0
        ) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for _ in range(10_000):
                    self.wfile.write(block)
                    time.sleep(seconds)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


@contextmanager
def running() -> Iterator[DataServer]:
    """Run a server while the block runs."""
    server = DataServer()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as listening:
        listening.daemon_threads = True
        server.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
