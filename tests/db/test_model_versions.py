"""Model versions and their weights."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from db import model_versions
from db.connection import Session
from db.model_versions import CorruptedPayload, UnknownModelVersion

PAYLOAD = bytes(range(256)) * 3000  # more than one chunk of GridFS


def store(payload: bytes = PAYLOAD, campaign: str = "c", **changes: Any) -> str:
    options: dict[str, Any] = {
        "parent": None,
        "metrics": {"mae": 0.1},
        "labels": {"n": 10},
        "decision": "promoted",
        **changes,
    }
    return model_versions.store(campaign, "property_head", payload, **options)


def test_weights_come_back_as_they_were_stored(database: Session) -> None:
    version = store(reason="better")
    assert version == f"c-{hashlib.sha256(PAYLOAD).hexdigest()[:12]}"
    assert model_versions.load_payload(version) == PAYLOAD
    record = model_versions.load(version)
    assert (record.kind, record.decision, record.reason) == ("property_head", "promoted", "better")
    assert record.metrics == {"mae": 0.1}


def test_storing_again_changes_nothing(database: Session) -> None:
    version = store()
    assert store(metrics={"mae": 9.0}) == version
    assert model_versions.load(version).metrics == {"mae": 0.1}
    assert database.database["weights.files"].count_documents({}) == 1
    with pytest.raises(ValueError, match="already promoted"):
        store(decision="refused")
    with pytest.raises(ValueError, match="not one of"):
        store(b"other", decision="perhaps")
    other = store(campaign="d", decision="refused")
    assert other != version
    assert [one.id for one in model_versions.history("c")] == [version]


def test_weights_without_a_record_are_no_version(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        raise KeyboardInterrupt

    from db import documents

    monkeypatch.setattr(model_versions, "server_time", crash)
    with pytest.raises(KeyboardInterrupt):
        store()
    monkeypatch.undo()
    assert documents.ModelVersion.objects.count() == 0
    assert model_versions.load_payload(store()) == PAYLOAD


def test_corrupted_weights_are_refused(database: Session) -> None:
    version = store()
    chunks = database.database["weights.chunks"]
    chunk = chunks.find_one({"n": 1})
    assert chunk is not None
    spoiled = bytes([chunk["data"][0] ^ 1]) + bytes(chunk["data"][1:])
    chunks.update_one({"_id": chunk["_id"]}, {"$set": {"data": spoiled}})
    with pytest.raises(CorruptedPayload, match="SHA-256"):
        model_versions.load_payload(version)
    chunks.delete_one({"_id": chunk["_id"]})
    with pytest.raises(CorruptedPayload, match="incomplete"):
        model_versions.load_payload(version)
    database.database["weights.files"].delete_many({})
    with pytest.raises(CorruptedPayload, match="incomplete"):
        model_versions.load_payload(version)
    with pytest.raises(UnknownModelVersion):
        model_versions.load_payload("no-such")
