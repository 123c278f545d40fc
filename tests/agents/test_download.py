"""Downloads from servers that break off, lie and wander."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import data_server
import pytest
from data_server import DataServer

from agents.download import ATTEMPTS, DownloadFailed, download
from db.locks import FileLock

CONTENT = random.Random(0).randbytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[DataServer]:
    with data_server.running() as server:
        server.files["/file"] = CONTENT
        yield server


class Fetch:
    """Calls of `download` that notes for how long it would have waited."""

    def __init__(self, server: DataServer, folder: Path) -> None:
        self.server, self.out = server, folder / "file"
        self.waited: list[float] = []

    def __call__(self, sha256: str | None = DIGEST, largest: int = 10_000_000) -> Path:
        return download(
            [f"{self.server.address}/file"],
            self.out,
            sha256=sha256,
            largest=largest,
            pause=self.waited.append,
        )

    def left(self) -> list[str]:
        return sorted(path.name for path in self.out.parent.iterdir())


@pytest.fixture
def fetch(server: DataServer, tmp_path: Path) -> Fetch:
    return Fetch(server, tmp_path)


@pytest.mark.parametrize("sha256", [DIGEST, None])
@pytest.mark.parametrize(
    "faults", [("cut",), ("cut", "cut", "cut"), ("longer",), ("500",), ("503", "cut", "502")]
)
def test_what_breaks_off_is_continued(
    server: DataServer, fetch: Fetch, faults: tuple[str, ...], sha256: str | None
) -> None:
    server.fail("/file", *faults)
    assert fetch(sha256).read_bytes() == CONTENT
    assert fetch.left() == ["file"]
    assert len(server.asked) == len(faults) + 1
    continued = [one.headers.get("range") for one in server.asked[1:]]
    assert all(continued) or "cut" not in faults[:1]


def test_a_busy_server_gets_the_time_it_asks_for(server: DataServer, fetch: Fetch) -> None:
    server.fail("/file", "429 for 7", "503 for 2")
    fetch()
    assert fetch.waited == [7.0, 2.0]


def test_a_server_that_asks_for_too_long_is_left_alone(server: DataServer, fetch: Fetch) -> None:
    server.fail("/file", "429 for 86400")
    with pytest.raises(DownloadFailed, match="429"):
        fetch()
    assert fetch.waited == []


def test_an_interrupted_download_is_continued_by_the_next_call(
    server: DataServer, fetch: Fetch
) -> None:
    server.fail("/file", *["cut"] * ATTEMPTS)
    with pytest.raises(DownloadFailed, match="ended after"):
        fetch(None)
    assert "file" not in fetch.left()
    assert fetch(None).read_bytes() == CONTENT
    assert server.asked[-1].headers["range"].startswith("bytes=2")


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_another_file_is_not_appended_to_what_there_is(
    server: DataServer, fetch: Fetch, sha256: str | None
) -> None:
    server.files["/file"] = CONTENT[::-1]
    server.fail("/file", *["cut"] * ATTEMPTS)
    with pytest.raises(DownloadFailed):
        fetch(sha256)
    server.files["/file"] = CONTENT
    if sha256 is not None:  # what there was is found to be wrong, and forgotten
        with pytest.raises(DownloadFailed, match="sha256"):
            fetch(sha256)
        assert fetch.left() == []
    assert fetch(sha256).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["shorter", "half"])
def test_half_a_file_never_gets_the_name(server: DataServer, fetch: Fetch, fault: str) -> None:
    server.always["/file"] = fault
    with pytest.raises(DownloadFailed, match="sha256"):
        fetch()
    assert fetch.left() == []


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_a_web_page_is_no_file(server: DataServer, fetch: Fetch, sha256: str | None) -> None:
    server.always["/file"] = "html"
    with pytest.raises(DownloadFailed, match="web page"):
        fetch(sha256)
    assert fetch.left() == []


@pytest.mark.parametrize("fault", ["endless", "whole"])
def test_too_long_a_file_is_refused(server: DataServer, fetch: Fetch, fault: str) -> None:
    server.always["/file"] = fault
    with pytest.raises(DownloadFailed, match="accepted"):
        fetch(None, largest=1_000_000)
    assert fetch.left() == []


def test_a_part_that_was_not_asked_for_is_refused(server: DataServer, fetch: Fetch) -> None:
    wrong = {"Content-Range": "bytes 5-9/10", "ETag": '"a"'}
    server.answers["/file"] = lambda asked: (206, wrong, b"56789")
    with pytest.raises(DownloadFailed, match="from byte 5"):
        fetch(None)
    assert fetch.left() == []


def test_what_is_not_there_is_not_asked_for_again(server: DataServer, fetch: Fetch) -> None:
    del server.files["/file"]
    with pytest.raises(DownloadFailed, match="404"):
        fetch()
    assert (len(server.asked), fetch.waited) == (1, [])


def test_a_slow_source_is_given_up(
    server: DataServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.download.WINDOW_SECONDS", 0.2)
    server.fail("/file", *["drip"] * ATTEMPTS)
    with pytest.raises(DownloadFailed, match="are too few"):
        fetch()


def test_no_key_of_an_address_is_shown(tmp_path: Path) -> None:
    addresses = ["http://ann:KKK@127.0.0.1:1/x?token=KKK", "http://127.0.0.1/a b?KKK"]
    with pytest.raises(DownloadFailed, match=r"http://127\.0\.0\.1:1/x: ") as caught:
        download(addresses[:1], tmp_path / "file", sha256=None, pause=lambda _: None)
    assert "KKK" not in str(caught.value)
    assert "ann" not in str(caught.value)
    with pytest.raises(DownloadFailed, match="it is no address") as caught:
        download(addresses[1:], tmp_path / "file", sha256=None, pause=lambda _: None)
    assert "KKK" not in str(caught.value)


def test_two_calls_fetch_one_file_once(server: DataServer, fetch: Fetch) -> None:
    lock = FileLock(fetch.out.with_name("file.part.lock"))
    assert lock.acquire(shared=False)
    other = threading.Thread(target=fetch)
    other.start()
    time.sleep(0.1)
    assert not server.asked
    fetch.out.write_bytes(CONTENT)
    lock.path.unlink()
    lock.close()
    other.join(10)
    assert not server.asked
    assert fetch.left() == ["file"]
