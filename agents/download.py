"""Downloading one file: resumed, checked, and in place only when it is whole."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit

from db.locks import FileLock

BLOCK = 1 << 20
TIMEOUT_SECONDS = 60
ATTEMPTS = 4
"""Rounds through the sources that are busy or break off."""
LONGEST_WAIT_SECONDS = 60.0
WINDOW_SECONDS = 120.0
SLOWEST = 1024
"""Bytes a second that a connection must deliver in every window; a slower one is given up."""
LONGEST_LOCK_SECONDS = 3600.0
"""How long another process may download the same file before this one gives up."""
LARGEST = 64 << 30
"""Bytes that are accepted unless the caller says otherwise."""
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadFailed(RuntimeError):
    """No source delivered the file."""


class _Unusable(Exception):
    """A source delivers something else than the file; asking it again does not help."""


def download(
    urls: Sequence[str],
    out: Path,
    *,
    sha256: str | None,
    progress: Callable[[int, int | None], None] = lambda *_: None,
    largest: int = LARGEST,
    pause: Callable[[float], None] = lambda seconds: sleep(seconds),
) -> Path:
    """Download a file from the first of several sources that delivers it.

    What an interrupted call has fetched stays beside `out` and is continued. Without a checksum
    that is done only where the source vouches, by an ETag, that it is still the same file. One
    process downloads a file at a time; what another one has fetched meanwhile is taken.

    Args:
        urls: sources of the same file, tried in this order.
        out: where the file goes; its folder is made.
        sha256: of the whole file; None if nobody published one.
        progress: told the bytes there are and the bytes there will be (None: unknown).
        largest: bytes that are accepted.
        pause: waits so many seconds before a busy source is asked again.

    Returns:
        `out`.

    Raises:
        DownloadFailed: every source failed or delivered another file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f"{out.name}.part.lock"))
    waited = not _take(lock)
    if waited and not _take(lock, LONGEST_LOCK_SECONDS):
        raise DownloadFailed(f"{out.name} is being fetched by another process")
    try:
        if waited and out.exists() and (sha256 is None or _sha256_of(out) == sha256):
            return out
        return _download(urls, out, sha256, progress, largest, pause)
    finally:
        lock.path.unlink(missing_ok=True)
        lock.close()


def _take(lock: FileLock, timeout: float = 0.0) -> bool:
    """Take a lock whose file is removed by those who had it."""
    while lock.acquire(shared=False, timeout=timeout):
        if lock.path.exists():
            return True
        lock.close()
    return False


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(
    urls: Sequence[str],
    out: Path,
    sha256: str | None,
    progress: Callable[[int, int | None], None],
    largest: int,
    pause: Callable[[float], None],
) -> Path:
    """Download a file; see `download`."""
    part = _Part(out, trusts_etag=sha256 is None)
    failures: dict[str, str] = {}
    left = list(urls)
    for attempt in range(ATTEMPTS):
        wait = min(2.0**attempt, LONGEST_WAIT_SECONDS)
        for url in list(left):
            try:
                _continue(url, part, progress, largest)
                part.check(sha256)
            except (ValueError, http.client.InvalidURL):  # whose message is the whole address
                failures[url] = "it is no address of a file"
                left.remove(url)
            except _Unusable as error:
                failures[url] = str(error)
                left.remove(url)
            except (OSError, http.client.HTTPException) as error:
                failures[url] = str(error) or type(error).__name__
                asked = _asked_to_wait(error)
                if asked is None or asked > LONGEST_WAIT_SECONDS:
                    left.remove(url)
                else:
                    wait = max(wait, asked)
            else:
                return part.finish(out)
        if not left or attempt + 1 == ATTEMPTS:
            break
        pause(wait)
    reasons = "; ".join(f"{_place(url)}: {reason}" for url, reason in failures.items())
    raise DownloadFailed(f"{out.name} could not be fetched: {reasons}")


def _place(url: str) -> str:
    """Return an address for people: without query, user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _asked_to_wait(error: Exception) -> float | None:
    """Return for how many seconds a source asks to be left alone; None: it will not deliver."""
    if not isinstance(error, urllib.error.HTTPError):
        return 0.0  # the connection broke off or was never made
    if error.code not in BUSY:
        return None
    asked = error.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else 0.0


class _Part:
    """What there is of a file, and by which name its source knows it (ETag)."""

    def __init__(self, out: Path, *, trusts_etag: bool) -> None:
        self.path = out.with_name(f"{out.name}.part")
        self._etag = out.with_name(f"{out.name}.part.etag")
        self._trusts_etag = trusts_etag

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for what is missing."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if not size:
            return {}
        if not self._trusts_etag:
            return {"Range": f"bytes={size}-"}
        if not self._etag.exists():
            return {}
        return {"Range": f"bytes={size}-", "If-Range": self._etag.read_text(encoding="latin-1")}

    def note(self, etag: str | None) -> None:
        """Remember the ETag of the file that begins now; weak ones vouch for nothing."""
        if etag and not etag.startswith("W/"):
            self._etag.write_text(etag, encoding="latin-1")
        else:
            self._etag.unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget what there is."""
        self.path.unlink(missing_ok=True)
        self._etag.unlink(missing_ok=True)

    def check(self, sha256: str | None) -> None:
        """Compare what came with a checksum.

        Raises:
            _Unusable: It is another file; it is removed.
        """
        if sha256 is None:
            return
        found = _sha256_of(self.path)
        if found != sha256:
            self.remove()
            raise _Unusable(f"the file has sha256 {found}, expected {sha256}")

    def finish(self, out: Path) -> Path:
        """Give the whole file its name."""
        self._etag.unlink(missing_ok=True)
        return self.path.replace(out)


def _continue(
    url: str, part: _Part, progress: Callable[[int, int | None], None], largest: int
) -> None:
    """Fetch what is missing.

    Raises:
        OSError, http.client.HTTPException: It broke off; what came is kept.
        _Unusable: It is not a file, or too long a one; nothing is kept.
    """
    headers = part.headers()
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        if error.code == 416 and headers:  # nothing is left to fetch
            return
        raise
    with response:
        done = _start(response, headers)
        if done == 0:
            part.note(response.headers.get("ETag"))
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        if total is not None and total > largest:
            part.remove()
            raise _Unusable(f"it has {total} bytes, more than the {largest} that are accepted")
        with part.path.open("ab" if done else "wb") as stream:
            window, before = time.monotonic(), done
            while block := response.read1(BLOCK):
                stream.write(block)
                done += len(block)
                if done > largest:
                    break
                if (seconds := time.monotonic() - window) > WINDOW_SECONDS:
                    if done - before < SLOWEST * seconds:
                        raise OSError(f"{done - before} bytes in {seconds:.0f} s are too few")
                    window, before = time.monotonic(), done
                progress(done, total)
    if done > largest:
        part.remove()
        raise _Unusable(f"it does not end after the {largest} bytes that are accepted")
    if total is not None and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _start(response: http.client.HTTPResponse, headers: dict[str, str]) -> int:
    """Return the byte at which an answer begins.

    Raises:
        _Unusable: It is a web page, packed, or another part than was asked for.
    """
    if response.headers.get_content_type() == "text/html":
        raise _Unusable("it answered with a web page")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _Unusable("it answered packed, unasked")
    if response.status != 206:
        return 0
    asked = headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
    begins = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    vouched = begins == asked or (not begins and "If-Range" not in headers)
    if not asked or not vouched:
        raise _Unusable(f"it answered with the part from byte {begins or '?'}, not {asked or 0}")
    return int(asked)
