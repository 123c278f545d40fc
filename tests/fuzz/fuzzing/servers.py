"""Target: requests to the OPTIMADE server and for figures, with a database behind them."""

from __future__ import annotations

import atexit
import os
import random
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fuzzing.guard import scratch
from fuzzing.target import Refused, Target

REQUESTS = (
    '/v1/structures?filter=elements HAS "Ga" AND nelements=2&page_limit=3',
    '/v1/structures?filter=chemical_formula_reduced="GaN"&response_fields=elements,nsites',
    "/v1/structures?sort=-nsites&page_offset=2&response_format=json",
    "/v1/structures/fuzz-1?response_fields=lattice_vectors",
    "/v1/info/structures",
    "/v1/links?page_limit=1",
    '/v1/references?filter=id="x"',
    '/optimade/v1.2/structures?filter=last_modified>"2026-01-01T00:00:00Z"',
    "/versions",
    "/metrics?name[]=x",
    "/health",
)

OTHER_VERSION = 553
"""OPTIMADE's own answer to a request for a version of the interface that is not spoken here."""


@cache
def _client() -> Any:
    """A client of the servers, in this process, with a real database behind them."""
    from filter_cases import make_candidate
    from starlette.testclient import TestClient

    from db import campaigns
    from db.connection import DatabaseUnavailable, connect, current_database
    from db.crystals import crystal_fields
    from discovery.metrics import routes
    from discovery.serve.application import make_application

    try:
        database = current_database()  # that of the tests, where they have one
    except DatabaseUnavailable:
        home = scratch()
        os.environ.pop("MONGODB_URI", None)
        os.environ["DISCOVERY_HOME"] = str(home)
        session = connect(home=home, database="fuzz")
        atexit.register(session.close)
        database = session.database
    campaigns.create("fuzz", config={}, seed=0)
    source = random.Random(1)
    database["candidates"].delete_many({"campaign": "fuzz"})
    database["candidates"].insert_many(
        [_crystal(make_candidate(number, source), number, crystal_fields) for number in range(8)]
    )
    app = make_application(everything=True)
    app.router.routes[:0] = routes.routes()
    return TestClient(app, raise_server_exceptions=False)


def _crystal(record: dict[str, Any], number: int, crystal_fields: Any) -> dict[str, Any]:
    from pymatgen.core import Lattice, Structure

    cell = Structure(Lattice.cubic(4 + number / 9), ["Ga", "N"], [[0] * 3, [0.5] * 3])
    own = {"_id": f"fuzz-{number}", "campaign": "fuzz", "n_elements": 2}
    return record | crystal_fields(cell) | own


def _requests() -> list[bytes]:
    _client()
    return [one.encode() for one in REQUESTS]


def _ask(data: bytes, folder: Path) -> object:
    """Ask for what the input says; a line break makes it a request of another method."""
    text = data.decode("utf-8", "replace")
    address, _, rest = text.partition("\n")
    method = {"": "GET", "h": "HEAD", "p": "POST", "d": "DELETE", "o": "OPTIONS"}.get(
        rest[:1], "GET"
    )
    address = "/" + quote(address.lstrip("/"), safe="/?&=%+,:;@!$'()*~")
    answer = _client().request(method, address)
    if answer.status_code >= 500 and answer.status_code != OTHER_VERSION:
        raise RuntimeError(f"{method} {address}: {answer.status_code} {answer.text:.1500}")
    if answer.status_code >= 400:
        detail = (
            str(answer.json()["errors"][0]["detail"])
            if answer.text[:1] == "{" and ("errors" in answer.json())
            else answer.text or "refused"
        )
        raise Refused(f"{answer.status_code}: {detail[:2000]}")
    return answer.status_code


TARGETS = (
    Target(
        "server-request",
        _requests,
        _ask,
        (Refused,),
        tokens=(
            *(b"&page_limit=", b"&page_offset=-1", b"&sort=", b"&response_fields=", b"&filter="),
            *(b"&api_hint=v9", b"&response_format=xml", b"&include=", b"%00", b"%2e%2e/", b"\np"),
            *(
                b"&page_number=1",
                b"&page_cursor=x",
                b"&page_above=1",
                b" HAS ",
                b" LENGTH ",
                b"$gt",
            ),
        ),
        packages=("lark", "discovery.serve", "db.filters"),
        connections=True,
        largest=3000,
        seconds=20.0,
        weight=0.5,
    ),
)
