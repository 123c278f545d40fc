"""The first contact with a server: is it there, does it let us in, can it do what we need."""

from __future__ import annotations

import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, ConfigurationError, OperationFailure, PyMongoError

from db.retry import PAUSE_SECONDS
from db.uri import DatabaseUnavailable, redact

FIRST_CONTACT_MS = 5_000
OLDEST_WIRE_VERSION = 13  # MongoDB 5.0: dates are computed on the server


def first_contact(uri: str, source: str) -> dict[str, Any]:
    """Check that a usable server answers; the messages never carry credentials.

    Args:
        uri: Its address, which names a database.
        source: Where the address comes from, for the message.

    Returns:
        What the server says of itself (its answer to ``hello``).

    Raises:
        DatabaseUnavailable: It does not answer, refuses, or is not usable.
    """
    where = redact(uri) + ("" if source == "embedded" else f" (from {source})")
    remedy = "start that server or correct the address; without one the embedded server is used"
    try:
        with MongoClient[dict[str, Any]](
            uri, serverSelectionTimeoutMS=FIRST_CONTACT_MS, timeoutMS=FIRST_CONTACT_MS
        ) as client:
            hello = _greet(client)
    except OperationFailure as error:
        reason = (error.details or {}).get("codeName", "OperationFailure")
        raise DatabaseUnavailable(
            f"MongoDB at {where} refused the connection ({reason}): check user, password and "
            "authSource in the address"
        ) from None
    except ConfigurationError:
        raise DatabaseUnavailable(f"MongoDB address {where} has options that clash") from None
    except PyMongoError as error:
        raise DatabaseUnavailable(
            f"no MongoDB answers at {where} within {FIRST_CONTACT_MS // 1000} s "
            f"({type(error).__name__}): {remedy}"
        ) from None
    if not hello.get("setName") and hello.get("msg") != "isdbgrid":
        raise DatabaseUnavailable(
            f"MongoDB at {where} is a standalone server: start it with --replSet and run "
            "rs.initiate()"
        )
    if hello["maxWireVersion"] < OLDEST_WIRE_VERSION:
        raise DatabaseUnavailable(f"MongoDB at {where} is older than 5.0: upgrade it")
    return hello


def _greet(client: MongoClient[dict[str, Any]]) -> dict[str, Any]:
    """Ask who the server is and whether we may read; one that just restarts is asked again."""
    deadline = time.monotonic() + FIRST_CONTACT_MS / 1000
    while True:
        try:
            hello: dict[str, Any] = client.admin.command("hello")
            client.get_default_database().command("listCollections", nameOnly=True)
        except AutoReconnect:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return hello
