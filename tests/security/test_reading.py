"""While outside data are read: files that would run something, under the guard of audit events."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import all_targets
from fuzzing.guard import Guard
from fuzzing.target import Answer, attempt


@cache
def guard() -> Guard:
    return Guard()


class Harm:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def torch_file(path: Path, *, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": Harm(path)}, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def array_file(path: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array([Harm(path)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def jarvis_file(path: Path) -> bytes:
    buffer = io.BytesIO()
    good = all_targets()["alignn-jarvis"].seeds()[0]
    with (
        zipfile.ZipFile(io.BytesIO(good)) as source,
        zipfile.ZipFile(buffer, "w") as target,
    ):
        target.writestr("a/config.json", source.read("a/config.json"))
        target.writestr("a/best_model.pt", torch_file(path))
    return buffer.getvalue()


def message(body: str, kind: str, encoding: str) -> bytes:
    headers = {"task": "discovery.relax", "id": "1"}
    properties = {"delivery_info": {}, "delivery_tag": "1", "body_encoding": None}
    return json.dumps(
        {
            "body": body,
            "content-type": kind,
            "content-encoding": encoding,
            "headers": headers,
            "properties": properties,
        }
    ).encode()


#: Target, how the harmful file is made, and a word of the refusal.
HARMFUL: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "a checkpoint": ("openlam", torch_file, "corrupt or of another kind"),
    "an old checkpoint": ("openlam", lambda path: torch_file(path, old=True), "corrupt"),
    "JARVIS' weights": ("alignn-jarvis", jarvis_file, "not an ALIGNN model"),
    "a training's state": ("training-state", torch_file, "cannot be read"),
    "a code bank": ("bank", array_file, "not a readable code bank"),
    "a pickle": ("bank", lambda path: pickle.dumps(Harm(path)), "not a readable code bank"),
    "a campaign's tag": (
        "campaign",
        lambda path: f"name: !!python/object/apply:os.mkdir ['{path}']\n".encode(),
        "not valid YAML",
    ),
    "a configuration's tag": (
        "model-configuration",
        lambda path: f"name: !!python/object/apply:os.mkdir ['{path}']\n".encode(),
        "not valid YAML",
    ),
    "a pickled message": (
        "celery-message",
        lambda path: message(
            pickle.dumps((["tiny"], {}, Harm(path)), protocol=0).decode("latin-1"),
            "application/x-python-serialize",
            "binary",
        ),
        "untrusted content of type pickle",
    ),
    "a YAML message": (
        "celery-message",
        lambda path: message(
            f"!!python/object/apply:os.mkdir ['{path}']", "application/x-yaml", "utf-8"
        ),
        "untrusted content of type yaml",
    ),
    "an external entity": (
        "vasprun",
        lambda path: (
            b'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
            b"<modeling><incar><i name='SYSTEM'>&x;</i></incar></modeling>"
        ),
        "declares a document type",
    ),
    "an entity in UTF-7": (
        "vasprun",
        lambda path: (
            b'<?xml version="1.0" encoding="UTF-7"?>+ADw-+ACE-DOCTYPE m +AFs-+ADw-+ACE-ENTITY x '
            b"SYSTEM +ACI-file:///etc/passwd+ACI-+AD4-+AF0-+AD4-<modeling>+ACY-x+ADs-</modeling>"
        ),
        "encoding",
    ),
    "a class in a record": (
        "calculation-record",
        lambda path: json.dumps(
            {
                "code": {"@module": "os", "@class": "mkdir", "args": [str(path)]},
                "version": "1",
                "settings": {"_fw_name": "{{os.mkdir}}"},
            }
        ).encode(),
        "",
    ),
    "an aliased campaign": (
        "campaign",
        lambda path: (
            b"a: &a [x, x]\n"
            + b"".join(
                b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n" % (c, c, *([c - 1] * 8))
                for c in range(98, 118)
            )
        ),
        "values",
    ),
    "a gzip bomb": (
        "calculation-record.gz",
        lambda path: gzip.compress(bytes(1 << 25)) * 9,
        "when unpacked",
    ),
    "a zip bomb": (
        "alignn-jarvis",
        lambda path: zipped({"a/config.json": bytes(1 << 28), "a/best_model.pt": b"x"}),
        "larger than 1 MiB",
    ),
    "a frozen model's program": (
        "openlam-frozen",
        lambda path: zipped({"m/code/__torch__.py": b"ops.aten.from_file('/etc/passwd')\n"}),
        "its program calls",
    ),
    "a frame of countless atoms": ("extxyz", lambda path: b"9" * 20 + b"\nx\nH 0 0 0\n", ""),
    "a cell of countless atoms": (
        "poscar",
        lambda path: b"x\n1\n3 0 0\n0 3 0\n0 0 3\nH\n9999999999\ndirect\n0 0 0\n",
        "",
    ),
}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("what", HARMFUL)
def test_a_harmful_file_is_refused_and_does_nothing(what: str, tmp_path: Path) -> None:
    name, make, word = HARMFUL[what]
    target, harm = all_targets()[name], tmp_path / "harm"
    attempt(target, next(iter(target.seeds())), guard(), tmp_path / "imports")
    found = attempt(target, make(harm), guard(), tmp_path / "in")
    assert found.answer is not Answer.CRASH, found.text
    assert not harm.exists()
    assert word in found.text
    if target.refusals and word:
        assert found.answer is Answer.REFUSED


def test_the_harmful_files_are_harmful(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Harm(tmp_path / "one")))  # noqa: S301, this is the harm
    torch.load(io.BytesIO(torch_file(tmp_path / "two")), weights_only=False)
    with np.load(io.BytesIO(array_file(tmp_path / "three")), allow_pickle=True) as arrays:
        assert len(arrays["ids"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]
