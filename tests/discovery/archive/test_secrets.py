"""No archive holds a credential, whatever signs it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from discovery.archive.reading import open_archive
from discovery.archive.secrets import without_credentials
from discovery.archive.writing import new_archive


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lost mongodb://ann:pw@db/x, again", "lost mongodb://***@db/x, again"),
        ("mongodb://ann:pa/ss@db/x", "mongodb://***@db/x"),
        ("mongodb://ann:pa'ss@db/x", "mongodb://***@db/x"),
        ('mongodb://ann:pa"ss@db/x', "mongodb://***@db/x"),
        ("mongodb://ann:a@b/c@db/x", "mongodb://***@db/x"),
        ("redis://:pw@h", "redis://***@h"),
        ("https://ann@h/x", "https://***@h/x"),
        ("http://h/x?api_key=KKK", "http://h/x?api_key=***"),
        ("https://h/?a=1&MP_API_KEY=abc&b=2", "https://h/?a=1&MP_API_KEY=***&b=2"),
        ("url: /x?access_token=abc (Caused by", "url: /x?access_token=*** (Caused by"),
        ("http://h/x?elements=Na&page=2", "http://h/x?elements=Na&page=2"),
        ("key=value, ann@example.org, 10.1039/x", "key=value, ann@example.org, 10.1039/x"),
    ],
)
def test_credentials_are_taken_out(tmp_path: Path, text: str, expected: str) -> None:
    assert without_credentials(text) == expected
    record = {"error": text, "list": [text, 0.1], text: "mail@example.org"}
    with new_archive(tmp_path / "a.zip", format="x", version=1) as archive:
        archive.add_json("a.json", record)
    with open_archive(tmp_path / "a.zip") as archive:
        held = json.loads(archive.read("a.json"))
    assert held == {"error": expected, "list": [expected, 0.1], expected: "mail@example.org"}
