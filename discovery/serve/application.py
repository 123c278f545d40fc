"""The server: the package's application with our candidates as its structures."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING

from db.paths import home_directory
from discovery.serve.names import PROVIDER, own_properties

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

#: Largest page; each entry holds a crystal.
PAGE_LIMIT_MAX = 500


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
