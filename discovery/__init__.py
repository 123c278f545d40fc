"""The campaign: command line, configuration, the loop and its workers."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from discovery.records import Records

__version__ = version("discovery")


def connect(
    uri: str | None = None, *, home: Path | None = None, database: str | None = None
) -> Records:
    """Open the records of past and running campaigns, for reading.

    Args:
        uri: Address of a MongoDB; default ``$MONGODB_URI``, else the embedded server.
        home: Home directory of the embedded server; default ``$DISCOVERY_HOME``, else
            ``.discovery`` in the working directory.
        database: Name of the database; default the one in the address, else "discovery".

    Returns:
        The records, open until closed: ``with connect() as records: records.hits("quickstart")``.

    Raises:
        DatabaseUnavailable: There is none, or it does not answer.
    """
    from discovery.records import open_records  # heavy: pymongo and what reads from it

    return open_records(uri, home=home, database=database)
