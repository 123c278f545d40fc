"""Reading a campaign as it was at one moment, while others go on writing.

MongoDB answers every question of a snapshot session from the state of one cluster time, across all
collections, whatever is written meanwhile: what one document names in another is there. The server
keeps its past for five minutes (``minSnapshotHistoryWindowInSeconds``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import gridfs
import pymongo
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from db import model_versions
from db.connection import current_database

Document = dict[str, Any]

READ_SECONDS = 3600.0
CHUNK = 1000
#: SnapshotTooOld, SnapshotUnavailable.
GONE = (239, 246)


class SnapshotLost(RuntimeError):
    """The server no longer has the state that a snapshot reads."""


class Snapshot:
    """One moment of the connected database, from the first question on."""

    def __init__(self) -> None:
        self._database = current_database()
        self._session: ClientSession | None = None

    def __enter__(self) -> Self:
        self._session = self._database.client.start_session(snapshot=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            self._session.end_session()
        if isinstance(error, OperationFailure) and error.code in GONE:
            raise SnapshotLost(
                "reading took longer than the server keeps its past (five minutes unless set "
                "otherwise): stop the campaign and try again, or raise "
                "minSnapshotHistoryWindowInSeconds"
            ) from error

    def documents(
        self,
        collection: str,
        query: Document,
        *,
        sort: Sequence[tuple[str, int]] = (),
        projection: Document | None = None,
    ) -> Iterator[Document]:
        """Read documents one after the other.

        Args:
            collection: Name of the collection.
            query: Conditions.
            sort: Fields and directions; empty: no order.
            projection: What to read of each, as MongoDB writes it; None: the whole document.
        """
        with pymongo.timeout(READ_SECONDS):
            found = self._database[collection].find(query, projection, session=self._session)
            yield from found.sort(list(sort)) if sort else found

    def named(self, collection: str, names: Iterable[str]) -> Iterator[Document]:
        """Read the documents of some ids, in the order of the ids."""
        ids = sorted(set(names))
        for start in range(0, len(ids), CHUNK):
            chosen = {"_id": {"$in": ids[start : start + CHUNK]}}
            yield from self.documents(collection, chosen, sort=[("_id", 1)])

    def one(self, collection: str, query: Document) -> Document | None:
        """Read one document, None where there is none."""
        return next(self.documents(collection, query), None)

    def payload(self, identifier: Any) -> bytes:
        """Read the weights of a model version; nobody ever changes them."""
        bucket = gridfs.GridFSBucket(self._database, bucket_name=model_versions.BUCKET)
        content: bytes = bucket.open_download_stream(identifier).read()
        return content
