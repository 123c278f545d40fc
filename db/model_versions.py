"""Versions of learned models: weights in GridFS first, then the record that names them."""

from __future__ import annotations

import hashlib
from typing import Any

import gridfs
from gridfs.errors import CorruptGridFile, NoFile
from pymongo.errors import DuplicateKeyError

from db.connection import current_database
from db.documents import ModelVersion
from db.events import server_time
from db.plain import plain

BUCKET = "weights"


class UnknownModelVersion(ValueError):
    """No model version has this name."""


class CorruptedPayload(RuntimeError):
    """Stored weights are not those that were stored."""


def store(
    campaign: str,
    kind: str,
    payload: bytes,
    *,
    parent: str | None,
    metrics: dict[str, Any],
    labels: dict[str, Any],
    decision: str,
    reason: str | None = None,
) -> str:
    """Store a model version. The weights are safe before any record names them.

    Args:
        campaign: Name of the campaign.
        kind: Kind of the model, for instance "property_head".
        payload: Its serialised weights.
        parent: The version it was trained from.
        metrics: The numbers behind the decision.
        labels: What it was trained on.
        decision: "promoted" or "refused".
        reason: Why.

    Returns:
        The version: the campaign's name and 12 digits of the payload's SHA-256. Storing the same
        again gives the same version.

    Raises:
        ValueError: The same weights are stored with the other decision, or a value is not plain.
    """
    if decision not in ModelVersion.decision.choices:
        raise ValueError(f"decision {decision!r} is not one of {ModelVersion.decision.choices}")
    digest = hashlib.sha256(payload).hexdigest()
    version = f"{campaign}-{digest[:12]}"
    document = {
        "_id": version,
        "campaign": campaign,
        "kind": kind,
        "parent": parent,
        "sha256": digest,
        "decision": decision,
        "reason": reason,
        "metrics": plain(metrics, "metrics"),
        "labels": plain(labels, "labels"),
        "created_at": server_time(),
    }
    database = current_database()
    known = ModelVersion.objects(id=version).first()
    if known is None:
        document["payload"] = _bucket().upload_from_stream(version, payload)
        try:
            database["model_versions"].insert_one(document)
        except DuplicateKeyError:  # stored by another process at the same moment
            known = load(version)
    if known is not None and known.decision != decision:
        raise ValueError(
            f"model version {version} is already {known.decision}: "
            f"the same weights cannot be {decision}"
        )
    return version


def load(version: str) -> ModelVersion:
    """Read the record of a model version.

    Raises:
        UnknownModelVersion: There is none of this name.
    """
    found = ModelVersion.objects(id=version).first()
    if found is None:
        raise UnknownModelVersion(f"there is no model version {version!r}")
    return found


def history(campaign: str, kind: str | None = None) -> list[ModelVersion]:
    """List the model versions of a campaign, the oldest first."""
    chosen = {"campaign": campaign} | ({"kind": kind} if kind else {})
    return list(ModelVersion.objects(**chosen).order_by("created_at", "id"))


def load_payload(version: str) -> bytes:
    """Read the weights of a model version.

    Raises:
        UnknownModelVersion: There is none of this name.
        CorruptedPayload: They are incomplete or not those that were stored.
    """
    record = load(version)
    try:
        payload: bytes = _bucket().open_download_stream(record.payload).read()
    except (NoFile, CorruptGridFile) as error:
        raise CorruptedPayload(f"the weights of {version} are incomplete: {error}") from error
    digest = hashlib.sha256(payload).hexdigest()
    if digest != record.sha256:
        raise CorruptedPayload(
            f"the weights of {version} have the SHA-256 {digest[:12]}…, not {record.sha256[:12]}…: "
            "do not use them"
        )
    return payload


def _bucket() -> gridfs.GridFSBucket:
    return gridfs.GridFSBucket(current_database(), bucket_name=BUCKET)
