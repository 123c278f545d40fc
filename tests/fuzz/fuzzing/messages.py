"""Target: Celery messages, whatever writes them into the broker."""

from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from fuzzing.target import Refused, Target


def _messages() -> list[bytes]:
    """Messages as the transports store them; the worker is made before anything is watched."""
    _application()
    headers = {
        "lang": "py",
        "task": "discovery.relax",
        "id": "1",
        "root_id": "1",
        "parent_id": None,
        "argsrepr": "['x']",
        "kwargsrepr": "{}",
        "origin": "a@b",
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "ignore_result": True,
    }
    body = [["tiny"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    good = {
        "body": json.dumps(body),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "correlation_id": "1",
            "delivery_info": {"routing_key": "relax"},
            "delivery_tag": "1",
            "body_encoding": None,
        },
    }
    bomb = pickle.dumps((["tiny"], {}, {}), protocol=0).decode("latin-1")
    pickled = {
        **good,
        "body": bomb,
        "content-type": "application/x-python-serialize",
        "content-encoding": "binary",
    }
    yaml = {**good, "content-type": "application/x-yaml", "body": "!!python/object/apply:os.getpid"}
    other = {**good, "headers": {**headers, "task": "celery.backend_cleanup"}}
    strange = {**good, "body": json.dumps([[{"$ne": None}], {"campaign": "x"}, {}])}
    return [json.dumps(one).encode() for one in (good, pickled, yaml, other, strange)]


@cache
def _application() -> Any:
    """The application with its tasks; nothing is connected."""
    import discovery.workers.tasks
    from discovery.workers.celery_app import app

    assert discovery.workers.tasks.TASKS
    app.finalize()
    return app


def _take(data: bytes, folder: Path) -> object:
    """Take one message as a worker does: decode it, find its task, check its arguments."""
    from celery.exceptions import InvalidTaskError
    from kombu.exceptions import ContentDisallowed, DecodeError
    from kombu.serialization import prepare_accept_content
    from kombu.transport.virtual import Message

    from discovery.workers.tasks import BadMessage, campaign_of

    app = _application()
    accepted = prepare_accept_content(app.conf.accept_content)
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError) as error:  # kombu's own transport drops it
        raise Refused(f"no message: {error!s:.200}") from None
    if not isinstance(payload, dict):
        raise Refused("no message")
    channel = mock.Mock()
    channel.decode_body = lambda body, encoding=None: body
    try:
        message = Message(payload, channel=channel, accept=accepted)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refused(f"no message of the transport: {error!s:.200}") from None
    try:
        body = message.decode()
    except (ContentDisallowed, DecodeError, LookupError, TypeError, AttributeError) as error:
        raise Refused(f"not decoded: {error!s:.200}") from None
    name = (message.headers or {}).get("task") if isinstance(message.headers, dict) else None
    task = app.tasks.get(name) if isinstance(name, str) else None
    if task is None:
        raise Refused("unknown task")
    try:
        arguments, keywords, _ = body
        return campaign_of(*arguments, **keywords)
    except (BadMessage, InvalidTaskError, TypeError, ValueError) as error:
        raise Refused(str(error)[:300] or "no arguments") from None


TARGETS = (
    Target(
        "celery-message",
        _messages,
        _take,
        (Refused,),
        tokens=(
            *(b"application/json", b"application/x-python-serialize", b"application/x-msgpack"),
            *(b"application/data", b'"$where"', b"\\u0000", b'"chain"', b'"discovery.learn"'),
        ),
        packages=("kombu", "discovery.workers.tasks"),
        weight=10,
    ),
)
