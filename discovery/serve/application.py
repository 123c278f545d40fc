"""The server: the package's application with our candidates as its structures."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from db.paths import home_directory
from discovery.serve.names import PROVIDER, own_properties

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

#: Largest page; each entry holds a crystal.
PAGE_LIMIT_MAX = 500


class CannotServe(ValueError):
    """The server cannot be started as asked."""

    exit_code = 2


def make_application(*, everything: bool) -> FastAPI:
    """Make the application; the process must be connected to the database.

    Args:
        everything: Serve every candidate with a crystal, not the verified ones alone.
    """
    # Its log is made while it is imported, by its own settings, in /var/log.
    logs = home_directory() / "logs"
    os.environ |= {"OPTIMADE_LOG_LEVEL": "warning", "OPTIMADE_LOG_DIR": str(logs)}
    from fastapi.exceptions import RequestValidationError
    from optimade.server.config import ServerConfig, SupportedBackend
    from optimade.server.create_app import create_app
    from optimade.server.mappers import BaseResourceMapper
    from starlette.middleware.cors import CORSMiddleware

    from discovery.serve.collection import CandidateCollection

    config = ServerConfig(
        # For the endpoints that we have nothing for (links, references): in memory, and empty.
        database_backend=SupportedBackend.MONGOMOCK,
        insert_test_data=False,
        insert_from_jsonl=None,
        debug=False,
        is_index=False,
        root_path=None,
        log_level="warning",
        log_dir=logs,
        page_limit_max=PAGE_LIMIT_MAX,
        validate_api_response=True,
        provider={
            "prefix": PROVIDER,
            "name": "discovery",
            "description": "Crystals proposed, relaxed and verified by a discovery database",
        },
        implementation={"name": "discovery", "version": version("discovery")},
        provider_fields={"structures": own_properties()},
        aliases={},
        length_aliases={},
    )
    app = create_app(config)
    app.state.entry_collections["structures"] = CandidateCollection(config, everything=everything)
    app.state.base_resource_mapper = BaseResourceMapper(config)
    # The package answers a parameter that is no number with 500 and the place in its source.
    app.add_exception_handler(RequestValidationError, _refuse_parameter)
    # The package lets the scripts of any web page read what it serves; on this machine's own
    # address that would open unpublished results to every page its browser visits.
    app.user_middleware = [one for one in app.user_middleware if one.cls is not CORSMiddleware]
    return app


def _refuse_parameter(request: Request, error: Exception) -> Response:
    """Answer a request whose parameters are not what they should be."""
    from fastapi.exceptions import RequestValidationError
    from optimade.exceptions import BadRequest
    from optimade.server.exception_handlers import general_exception

    assert isinstance(error, RequestValidationError)  # registered for it alone
    wrong = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
    return general_exception(request, BadRequest(wrong))


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


def serve(host: str, port: int, *, everything: bool, announce: Callable[[str], None]) -> None:
    """Answer requests until interrupted; the process must be connected to the database.

    Args:
        host: A loopback address.
        port: Its port; 0: any free one.
        everything: Serve every candidate with a crystal, not the verified ones alone.
        announce: Called with the address once it is open.

    Raises:
        CannotServe: The address is not loopback or not free, or the packages are missing.
    """
    require_loopback(host)
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise CannotServe("the server's packages are missing: pip install 'discovery[serve]'")
    import uvicorn

    app = make_application(everything=everything)
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
