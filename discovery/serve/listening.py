"""Listening on this machine's own address, until interrupted."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

PACKAGES = ("starlette", "uvicorn", "prometheus_client", "dash", "a2wsgi")


class CannotServe(ValueError):
    """The server cannot be started as asked."""

    exit_code = 2


def require_loopback(host: str) -> None:
    """Refuse to listen where others could read without authentication.

    Raises:
        CannotServe: The address is not this machine's own.
    """
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise CannotServe(
            f"--host {host} is open to others and this server asks nobody who they are: keep "
            "127.0.0.1 and put a reverse proxy with authentication in front (docs/optimade.md)"
        )


def require_packages() -> None:
    """Refuse to start without the packages of the extra ``serve``.

    Raises:
        CannotServe: One is missing.
    """
    if any(find_spec(name) is None for name in PACKAGES):
        raise CannotServe("the server's packages are missing: pip install 'discovery[serve]'")


def listen(app: ASGIApp, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Answer requests until interrupted.

    Args:
        app: What answers; any ASGI application.
        host: A loopback address.
        port: Its port; 0: any free one.
        announce: Called with the address once it is open.

    Raises:
        CannotServe: The address is not loopback or not free, or the packages are missing.
    """
    require_loopback(host)
    require_packages()
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise CannotServe(f"{host} port {port} cannot be used: {error.strerror}") from None
        listening.listen()
        name = f"[{host}]" if family == socket.AF_INET6 else host
        announce(f"http://{name}:{listening.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        server.run(sockets=[listening])
