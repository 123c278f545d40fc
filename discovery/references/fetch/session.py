"""A web session that waits where it is told to, and believes nothing it is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

ATTEMPTS = 5
TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect, and between two pieces of an answer."""
LARGEST_PAGE = 256 << 20
"""Bytes of one answer, unpacked."""
LONGEST_ANSWER_SECONDS = 900.0
LONGEST_WAIT_SECONDS = 120.0
REDIRECTS = 3
BLOCK = 1 << 16
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class FetchFailed(RuntimeError):
    """A source did not deliver; what it delivered before is kept, and the next try continues."""


class PatientSession(requests.Session):
    """Repeats what may be repeated, within limits of time and size; stays on one server.

    An answer is read whole before it is returned. Busy servers and broken connections are tried
    again; a server that asks to wait (``Retry-After``) gets the time it asks for. Redirects are
    followed only on the same server, since a key in the headers is for that server alone. No
    header ever appears in an error.

    Attributes:
        pause: Waits so many seconds; tests replace it.
        largest: Bytes of one answer that are accepted, unpacked.
    """

    pause: Callable[[float], None] = staticmethod(time.sleep)
    largest: int = LARGEST_PAGE

    def __init__(self, secrets: Mapping[str, str] | None = None) -> None:
        """Make a session.

        Args:
            secrets: Headers whose values are nobody else's business.
        """
        super().__init__()
        self.headers["User-Agent"] = f"discovery/{metadata.version('discovery')}"
        self.headers.update(secrets or {})
        self._secrets = [value.encode() for value in (secrets or {}).values()]

    def get(self, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Get an answer, whatever its status, after the attempts that its status calls for.

        Args:
            url: The address.
            args: Parameters of the query, as in `requests.Session.get`.
            kwargs: The same by name; everything else is the session's own.

        Raises:
            FetchFailed: No answer came, or one that is too long, too slow or leads elsewhere.
        """
        address = url.decode() if isinstance(url, bytes) else url
        params = args[0] if args else kwargs.get("params")
        problem = ""
        for attempt in range(ATTEMPTS):
            wait = min(2.0**attempt, LONGEST_WAIT_SECONDS)
            try:
                answer = self._get_whole(address, params)
            except (requests.ConnectionError, requests.Timeout) as error:
                problem = f"no answer ({_kind(error)})"
            except requests.exceptions.ChunkedEncodingError:
                problem = "the connection broke off"
            except requests.RequestException as error:
                raise FetchFailed(f"{place(address)}: {_kind(error)}") from None
            else:
                if answer.status_code not in RETRIED:
                    return answer
                problem = f"HTTP {answer.status_code}"
                asked = _retry_after(answer.headers)
                if asked is not None and asked > LONGEST_WAIT_SECONDS:
                    raise FetchFailed(
                        f"{place(address)} asks to wait {asked:.0f} s: try again after that"
                    )
                wait = wait if asked is None else asked
            if attempt + 1 < ATTEMPTS:
                self.pause(wait)
        raise FetchFailed(f"{place(address)}: {problem}, {ATTEMPTS} times")

    def _get_whole(self, address: str, params: Any) -> requests.Response:
        for _ in range(REDIRECTS + 1):
            answer = super().get(
                address, params, stream=True, allow_redirects=False, timeout=TIMEOUT_SECONDS
            )
            target = answer.headers.get("Location") if answer.is_redirect else None
            if target is None:
                _read_whole(answer, address, self.largest)
                return answer
            answer.close()
            address, params = same_server(address, target), None
        raise FetchFailed(f"{place(address)}: more than {REDIRECTS} redirects")

    def get_json(self, address: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Get a JSON object.

        Raises:
            FetchFailed: The answer is an error, or no JSON object.
        """
        answer = self.get(address, params=params)
        if any(secret in answer.content for secret in self._secrets):
            raise FetchFailed(f"{place(address)} answered with the key it was sent")
        if self._secrets and answer.status_code in (401, 403):
            raise FetchFailed(f"{place(address)}: HTTP {answer.status_code}: the key is refused")
        if answer.status_code != requests.codes.ok:
            raise FetchFailed(f"{place(address)}: HTTP {answer.status_code}{_excerpt(answer)}")
        try:
            found = json.loads(answer.content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise FetchFailed(f"{place(address)} answered with no JSON object{_excerpt(answer)}")
        return found


def same_server(address: str, target: str) -> str:
    """Return the address a link leads to.

    Raises:
        FetchFailed: It is on another server, or less safe than the one before.
    """
    found = urljoin(address, target)
    before, after = urlsplit(address), urlsplit(found)
    if (before.hostname, before.port) != (after.hostname, after.port) or (
        after.scheme not in ("https", before.scheme)
    ):
        raise FetchFailed(f"{place(address)} leads to another server, {place(found)}")
    return found


def place(address: str) -> str:
    """Return an address for people: without query, user and password."""
    parts = urlsplit(address)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _read_whole(answer: requests.Response, address: str, largest: int) -> None:
    """Read an answer into memory.

    Raises:
        FetchFailed: It is too long or too slow.
        requests.RequestException: It broke off.
    """
    deadline = time.monotonic() + LONGEST_ANSWER_SECONDS
    pieces, size = [], 0
    try:
        for piece in _pieces(answer):
            pieces.append(piece)
            size += len(piece)
            if size > largest:
                raise FetchFailed(f"{place(address)} answers with more than {largest >> 20} MiB")
            if time.monotonic() > deadline:
                raise FetchFailed(f"{place(address)} is too slow")
    finally:
        answer.close()
    announced = answer.headers.get("Content-Length", "")
    packed = answer.headers.get("Content-Encoding")
    if packed is None and announced.isdecimal() and size != int(announced):
        raise requests.exceptions.ChunkedEncodingError(f"{size} of {announced} bytes")
    # What `content` returns; the answer was read by ourselves, to a limit.
    answer._content = b"".join(pieces)


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """Read what has come, not whole blocks: a slow server is noticed between any two pieces.

    Raises:
        requests.RequestException: It broke off.
    """
    try:
        while piece := answer.raw.read1(BLOCK, decode_content=True):
            yield piece
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ConnectionError(error) from error
    except urllib3.exceptions.DecodeError as error:
        raise requests.exceptions.ContentDecodingError(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a server asks to wait, given as a number or a date."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max((then - datetime.now(UTC)).total_seconds(), 0.0)


def _excerpt(answer: requests.Response) -> str:
    """Quote the beginning of an answer that cannot be used."""
    text = " ".join(answer.text[:200].split())
    shown = "".join(letter for letter in text if letter.isprintable())[:80]
    return f': "{shown}"' if shown else ""


def _kind(error: Exception) -> str:
    """Name an error without its message, which may hold the whole request."""
    return type(error).__name__
