"""Downloading one file: resumed, checked, and in place only when it is whole."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

BLOCK = 1 << 20
TIMEOUT_SECONDS = 60


class DownloadFailed(RuntimeError):
    """No source delivered the file."""


def download(
    urls: Sequence[str],
    out: Path,
    *,
    sha256: str,
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> Path:
    """Download a file from the first of several sources that delivers it.

    What an interrupted call has fetched stays beside `out` and is continued.

    Args:
        urls: sources of the same file, tried in this order.
        out: where the file goes; its folder is made.
        sha256: of the whole file.
        progress: told the bytes there are and the bytes there will be (None: unknown).

    Returns:
        `out`.

    Raises:
        DownloadFailed: every source failed or delivered another file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    failures = []
    for url in urls:
        try:
            _continue(url, part, progress)
        except (urllib.error.URLError, OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
            continue
        with part.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == sha256:
            return part.replace(out)
        part.unlink()
        failures.append(f"{url}: the file has sha256 {found}, expected {sha256}")
    raise DownloadFailed(f"{out.name} could not be fetched: {'; '.join(failures)}")


def _continue(url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to fetch
            return
        raise
    with response:
        resumed = response.status == 206
        done = done if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if resumed else "wb") as stream:
            while block := response.read(BLOCK):
                stream.write(block)
                done += len(block)
                progress(done, total)
    if total is not None and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes")
