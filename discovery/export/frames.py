"""Candidates from Python: the questions of ``discovery query``, answered with pandas frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import pandas
    from pymatgen.core import Structure

    from db.connection import Session

Record = dict[str, Any]


class Records:
    """What is recorded in a database, for reading; open until `close` or the end of ``with``.

    Examples:
        >>> from discovery import connect
        >>> with connect() as records:  # doctest: +SKIP
        ...     frame = records.hits("photovoltaic-3d", sort="-band_gap")
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def hits(self, campaign: str | None = None, **question: Any) -> pandas.DataFrame:
        """Return the candidates that DFT confirmed, see `query`."""
        return self.query(campaign, hits=True, **question)

    def query(
        self,
        campaign: str | None = None,
        *,
        where: str | None = None,
        status: str | Sequence[str] | None = None,
        hits: bool | None = None,
        elements: Sequence[str] | None = None,
        sort: str | None = None,
        limit: int | None = None,
        fields: Sequence[str] | None = None,
        structures: bool = False,
    ) -> pandas.DataFrame:
        """Return candidates as a frame, one a row, in the order asked for.

        Args:
            campaign: Name of a campaign; None: all.
            where: A filter (docs/query.md).
            status: One state or several.
            hits: Only those that DFT confirmed (True) or refuted (False).
            elements: Only crystals with all of these.
            sort: A field; a leading "-" reverses; candidates without it come last.
            limit: At most so many.
            fields: Columns beside ``id``; None: the columns of the CSV output.
            structures: Add a column ``structure`` of pymatgen's Structures (None where there is no
                crystal): relaxed, or decoded where none was relaxed.

        Returns:
            Columns by the names that filters use; energies in eV or eV/atom.

        Raises:
            UnknownCampaign: There is none of this name.
            InvalidFilter: The filter or another condition cannot be understood.
            UnknownName: A field does not exist.
        """
        import pandas

        from db.selection import best_structure
        from discovery.export.candidates import COLUMNS, row

        chosen = {
            **{"where": where, "status": status, "hits": hits, "elements": elements},
            **{"sort": sort, "limit": limit, "fields": fields},
        }
        rows, crystals = [], []
        for record in self.records(campaign, whole=False, **chosen):
            rows.append(row(record))
            if structures:
                crystals.append(_structure(best_structure(record)))
        columns = dict.fromkeys(COLUMNS if fields is None else ("id", *fields))
        for one in rows:
            columns |= dict.fromkeys(one)
        frame = pandas.DataFrame.from_records(rows, columns=list(columns))
        if structures:
            frame["structure"] = pandas.Series(crystals, index=frame.index, dtype=object)
        return frame

    def records(
        self, campaign: str | None = None, *, whole: bool = True, **question: Any
    ) -> Iterator[Record]:
        """Read candidates one after the other, each as ``discovery query --format json`` gives it.

        Args:
            campaign: Name of a campaign; None: all.
            whole: With history, codes and calculations.
            question: As for `query`.
        """
        from discovery.export.candidates import choose, records
        from discovery.export.formats import Format

        form = Format.JSON if whole else Format.EXTXYZ
        return records(choose(campaign, form, **question))

    def candidate(self, candidate_id: str) -> Record:
        """Return everything that is known of one candidate, as ``discovery show --json``.

        Raises:
            UnknownCandidate: There is none of this id.
        """
        from discovery.export.candidates import full_record

        return full_record(candidate_id)

    def campaigns(self) -> list[Record]:
        """List the campaigns: name, state, number of candidates."""
        from db import campaigns

        return campaigns.listed()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_records(
    uri: str | None = None, *, home: Path | None = None, database: str | None = None
) -> Records:
    """Open a database for reading; see `discovery.connect`."""
    from db.connection import connect

    return Records(connect(uri, home=home, database=database, create=False))


def _structure(crystal: Record | None) -> Structure | None:
    from db.crystals import record_to_structure

    return None if crystal is None else record_to_structure(crystal)
