"""The campaign: command line, configuration, the loop and its workers.

cli         the command line, one module for each command
campaign    configuration, what `auto` means, start, the loop
workers     Celery application, tasks, pool, limits, child processes
reports     the funnels, the state, the live view
export      candidates chosen by a filter, as table, JSON, CSV, CIF, frames
figures     pictures of a campaign, their data, and the report
lineage     where one candidate and each of its numbers comes from
references  collections of known crystals: fetched and imported
structures  a person's own crystals: read, compared, verified
models      models by name: listed, checked, trained, sampled
archive     candidates for publication, with what it takes to compute them again
backup      a campaign in one archive, and back
doctor      what is installed and what runs here
repair      what crashes left behind: found and put right
serve       OPTIMADE
metrics     Prometheus
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from discovery.export.frames import Records

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
    from discovery.export.frames import open_records  # heavy: pymongo and what reads from it

    return open_records(uri, home=home, database=database)
