"""Archives from anywhere are read without trust; each fault is one sentence and writes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from discovery.archive.manifest import ArchiveError, require_safe
from discovery.archive.reading import Limits, open_archive
from discovery.archive.writing import new_archive
from discovery.export.output_files import OutputError, OutputExists

Change = Callable[[dict[str, Any]], None]


def entry(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def craft(
    path: Path,
    files: dict[str, bytes],
    *,
    listed: dict[str, bytes] | None = None,
    change: Change = lambda manifest: None,
    attributes: dict[str, int] | None = None,
) -> Path:
    """Write a zip by hand, as somebody would who wants to do damage."""
    manifest: dict[str, Any] = {
        "format": "test",
        "format_version": 1,
        "created_by": "hand",
        "created_at": "2026-01-01T00:00:00",
        "files": {name: entry(data) for name, data in (listed or files).items()},
    }
    change(manifest)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (attributes or {}).get(name, 0)
            file.writestr(info, content)
        file.writestr("manifest.json", json.dumps(manifest))
    return path


def refused(path: Path, **options: Any) -> str:
    """Open and unpack an archive that must be refused; return the sentence."""
    before = sorted(path.parent.rglob("*"))
    target = path.parent / "target"
    with pytest.raises(ArchiveError) as caught, open_archive(path, **options) as archive:
        archive.extract(target)
    assert sorted(path.parent.rglob("*")) == before, "something was written"
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a" / "good.zip"
    with new_archive(path, format="test", version=1) as archive:
        archive.add_json("one/numbers.json", {"x": 0.1 + 0.2})
        archive.add_bytes("two.bin", bytes(range(256)) * 999)
        archive.add_bytes("empty", b"")
        with archive.open("lines.jsonl") as stream:
            for number in range(100_000):
                stream.write(b"%d\n" % number)
    with open_archive(path, format="test") as found:
        assert found.names() == ["empty", "lines.jsonl", "one/numbers.json", "two.bin"]
        assert found.json("one/numbers.json") == {"x": 0.1 + 0.2}
        assert [int(line) for line in found.lines("lines.jsonl")] == list(range(100_000))
        found.verify()
        found.extract(tmp_path / "unpacked")
    with open_archive(tmp_path / "unpacked", format="test") as folder:
        assert folder.read("two.bin") == bytes(range(256)) * 999
        (tmp_path / "unpacked" / ".DS_Store").write_text("of a file manager")
    with open_archive(tmp_path / "unpacked") as folder:
        folder.verify()


def test_an_archive_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with pytest.raises(OutputError), new_archive(path, format="t", version=1) as archive:
        archive.add_file("a", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
    with new_archive(path, format="t", version=1) as archive:
        archive.add_bytes("a", b"a")
    with pytest.raises(OutputExists), new_archive(path, format="t", version=1):
        pass


def test_credentials_never_enter_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with new_archive(path, format="t", version=1) as archive:
        archive.add_json("a", {"lost": "mongodb://ann:se@cret@db.example/x and redis://:hid@r/0"})
    with open_archive(path) as found:
        text = found.read("a").decode()
    assert "cret" not in text
    assert "hid" not in text
    assert "db.example" in text


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "/etc/x", "a/../../x", "a//x", "./x", "a/./x", "", "a/", "C:/x", "a\\..\\x"),
        *("a\0b", "a\nb", "x.", " x", "\u202ex", "a" * 401, "CON:"),
    ],
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError):
        require_safe(name)
    if name and "\0" not in name and not name.endswith("/"):
        refused(craft(tmp_path / "x.zip", {name: b"x"}))
    else:  # zipfile cannot write it, but a manifest can name it
        refused(craft(tmp_path / "x.zip", {"a": b"x"}, listed={"a": b"x", name: b"x"}))


@pytest.mark.parametrize("names", [("a", "A"), ("ä", "a\u0308"), ("a", "a/b"), ("x/y", "X")])
def test_names_that_are_one_file_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    refused(craft(tmp_path / "x.zip", dict.fromkeys(names, b"x")))


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = craft(tmp_path / "x.zip", {"a": b"x"})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("a", b"y")
    assert "twice" in refused(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    path = craft(tmp_path / "x.zip", {"a": b"/etc/passwd"}, attributes={"a": (kind | 0o777) << 16})
    assert "no plain file" in refused(path)


def test_a_folder_with_a_link_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    folder = tmp_path / "folder"
    with open_archive(craft(tmp_path / "x.zip", {"a": b"x", "b/c": b"x"})) as archive:
        archive.extract(folder)
    (folder / "a").unlink()
    (folder / "a").symlink_to(secret)
    refused(folder)
    (folder / "a").unlink()
    (folder / "a").write_bytes(b"x")
    (folder / "b").rename(tmp_path / "elsewhere")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    refused(folder)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    zeros = bytes(40 << 20)
    assert "times its size" in refused(craft(tmp_path / "ratio.zip", {"a": zeros}))
    small = Limits(total_bytes=100, entries=3, file_bytes=60, archive_bytes=1 << 20)
    many = craft(tmp_path / "total.zip", {str(n): os.urandom(50) for n in range(2)})
    assert "more than 3" in refused(
        craft(tmp_path / "n.zip", {str(n): b"x" for n in range(9)}), limits=small
    )
    assert "larger than any" in refused(many, limits=Limits(total_bytes=99))
    assert "GiB" in refused(craft(tmp_path / "f.zip", {"a": os.urandom(70)}), limits=small)
    assert "larger than any" in refused(many, limits=Limits(archive_bytes=10))


def test_a_directory_that_lies_about_sizes_gains_nothing(tmp_path: Path) -> None:
    """The file unpacks to more than its headers and the manifest say."""
    content = os.urandom(1000) + bytes(5000)
    path = craft(tmp_path / "x.zip", {"a": content}, listed={"a": content[:100]})
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = raw.find(signature)
        assert struct.unpack_from("<I", raw, place + offset) == (len(content),)
        struct.pack_into("<I", raw, place + offset, 100)
    path.write_bytes(raw)
    refused(path)


def test_overlapping_files_are_refused(tmp_path: Path) -> None:
    """Many entries of the directory that point at the same bytes (Fifield's bomb)."""
    names = {f"file-{number:03d}": b"x" * 100_000 for number in range(50)}
    path = craft(tmp_path / "x.zip", names)
    with zipfile.ZipFile(path) as file:
        sizes = {one.compress_size for one in file.infolist() if one.filename in names}
    raw = bytearray(path.read_bytes())
    place = -1
    while (place := raw.find(b"PK\x01\x02", place + 1)) >= 0:
        length = struct.unpack_from("<H", raw, place + 28)[0]
        if raw[place + 46 : place + 46 + length].startswith(b"file-"):
            struct.pack_into("<I", raw, place + 20, len(raw) // 10)
    assert max(sizes) < len(raw) // 10
    path.write_bytes(raw)
    refused(path)


@pytest.mark.parametrize("byte", [0, 1, 200, -40, -5, -1])
def test_a_changed_byte_is_found(tmp_path: Path, byte: int) -> None:
    path = craft(tmp_path / "x.zip", {"a": os.urandom(300), "b": b"text" * 100})
    raw = bytearray(path.read_bytes())
    raw[byte] ^= 0x5A
    path.write_bytes(raw)
    try:
        with open_archive(path) as archive:
            archive.verify()
    except ArchiveError:
        return
    with zipfile.ZipFile(path) as file:  # the byte was one that carries no content
        assert file.testzip() is None


def test_cut_off_archives_are_refused(tmp_path: Path) -> None:
    whole = craft(tmp_path / "x.zip", {"a": os.urandom(300)}).read_bytes()
    for length in range(0, len(whole), 7):
        path = tmp_path / "cut.zip"
        path.write_bytes(whole[:length])
        refused(path)


def test_files_must_be_those_of_the_manifest(tmp_path: Path) -> None:
    other = craft(tmp_path / "sha.zip", {"a": b"one"}, listed={"a": b"two"})
    assert "not the file its manifest describes" in refused(other)
    refused(craft(tmp_path / "size.zip", {"a": b"one"}, listed={"a": b"four"}))
    missing = craft(tmp_path / "missing.zip", {"a": b"x"}, listed={"a": b"x", "b": b"x"})
    assert "'b' is missing" in refused(missing)
    strange = craft(tmp_path / "more.zip", {"a": b"x", "b": b"x"}, listed={"a": b"x"})
    assert "does not name" in refused(strange)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(format_version=2), "version 2"),
        (lambda m: m.update(format="other"), "not a test"),
        (lambda m: m.update(extra=1), "not usable"),
        (lambda m: m.pop("files"), "not usable"),
        (lambda m: m["files"]["a"].update(size=-1), "not usable"),
        (lambda m: m["files"]["a"].update(size=1.5), "not usable"),
        (lambda m: m["files"]["a"].update(sha256="0"), "not usable"),
        (lambda m: m["files"].update({"manifest.json": entry(b"")}), "itself"),
    ],
)
def test_unusable_manifests_are_refused(tmp_path: Path, change: Change, words: str) -> None:
    path = craft(tmp_path / "x.zip", {"a": b"x"}, change=change)
    assert words in refused(path, format="test")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1e999}'),
        *(b'{"files": {}, "files": {}}', b"9" * 5000),
    ],
)
def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", content)
    refused(path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("PK but not really")
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as file:
        file.writestr("a", "x")
    for name in ("empty", "text", "plain.zip", "nowhere"):
        refused(tmp_path / name)
    refused(tmp_path)


def test_nothing_is_unpacked_over_what_is_there(tmp_path: Path) -> None:
    path = craft(tmp_path / "x.zip", {"a": b"x"})
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("mine")
    with open_archive(path) as archive, pytest.raises(ArchiveError, match="not empty"):
        archive.extract(tmp_path / "target")
    assert [one.name for one in (tmp_path / "target").iterdir()] == ["mine"]
