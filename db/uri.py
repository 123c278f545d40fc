"""Reading, rewriting and redacting MongoDB addresses."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

OPERATION_TIMEOUT_MS = 30_000


class DatabaseUnavailable(RuntimeError):
    """The database cannot be reached or cannot be used."""


class InvalidURI(DatabaseUnavailable, ValueError):
    """A MongoDB address that cannot be read."""

    exit_code = 2  # the command was called in a way that cannot work


def redact(uri: str) -> str:
    """Strip credentials and options from an address, however malformed it is.

    Args:
        uri: The address.

    Returns:
        ``scheme://***@hosts/database``: safe to print and to store.

    >>> redact("mongodb://ann:se@cret@db.example:27017/x?authSource=admin")
    'mongodb://***@db.example:27017/x'
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return "***" if "@" in uri else uri.partition("?")[0]
    credentials, at, address = rest.rpartition("@")
    hidden = "***@" if at and credentials else ""
    return f"{scheme}://{hidden}{address.partition('?')[0]}"


def database_of(uri: str) -> str | None:
    """Read the name of the database out of an address.

    Raises:
        InvalidURI: The address is malformed; the message never repeats its credentials.
    """
    try:
        return parse_uri(uri, connect_timeout=5.0)["database"]
    except (PyMongoError, ValueError) as error:
        hint = "it must look like mongodb://user:password@host:27017/?replicaSet=rs0"
        if "escaped" in str(error):
            hint = "user name and password must be percent-encoded (urllib.parse.quote_plus)"
        elif "dnspython" in str(error) or "DNS" in str(error):
            hint = "mongodb+srv:// needs a DNS answer for that host"
        raise InvalidURI(f"{redact(uri)} is not a usable MongoDB address: {hint}") from None


def normalised(uri: str, database: str) -> str:
    """Write the database, majority and journaled writes and a time limit into an address.

    With a time limit the driver repeats an operation until the limit, not just once, so that a
    restart of the server is waited for.

    Args:
        uri: A valid address.
        database: Name of the database to use.

    Returns:
        The address that every client uses (FireWorks' too), credentials included. They are still
        checked against the database they were checked against before.
    """
    base, _, query = uri.partition("?")
    scheme, _, rest = base.partition("://")
    credentials, at, address = rest.rpartition("@")
    hosts, _, named = address.partition("/")
    options = [
        (key, value)
        for key, value in parse_qsl(query, keep_blank_values=True)
        if key.lower() not in ("w", "journal", "j", "wtimeoutms")
    ]
    if at and not any(key.lower() == "authsource" for key, _ in options):
        options.append(("authSource", named or "admin"))
    if not any(key.lower() == "timeoutms" for key, _ in options):
        options.append(("timeoutMS", str(OPERATION_TIMEOUT_MS)))
    options += [("w", "majority"), ("journal", "true")]
    return f"{scheme}://{credentials}{at}{hosts}/{database}?{urlencode(options)}"
