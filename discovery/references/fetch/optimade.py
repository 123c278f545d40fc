"""Any OPTIMADE provider, through the client of optimade-python-tools."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from discovery.references.fetch.layout import row
from discovery.references.fetch.pages import Page, PageStore
from discovery.references.fetch.session import FetchFailed, PatientSession, place, same_server
from discovery.references.fetch.source import FetchProgress, FetchReport, Request
from discovery.references.structure_json import structure_text

if TYPE_CHECKING:
    from optimade.client.utils import QueryResults

PAGES = (500, 100, None)
"""Crystals of a page that are tried: a provider refuses more than it gives. None: as it likes."""
REFUSED = ("RuntimeError: 400 ", "RuntimeError: 403 ")
"""How the client puts the status by which a page of this length may have been refused."""
EMPTY_PAGES = 3
"""Pages without structures, one after the other, after which a provider is left alone."""
MOST_OF_A_PAGE = 10_000
STRUCTURE_FIELDS = ("lattice_vectors", "cartesian_site_positions", "species", "species_at_sites")
FIELD = re.compile(r"[a-z_][a-z0-9_]*")
UNUSABLE = frozenset({"vacancy", "X"})


def fetch(request: Request, filter: str, fields: Sequence[str] = (), most: int = 0) -> FetchReport:
    """Fetch the structures of a provider.

    Args:
        request: Its ``address`` is the provider's base URL, without version.
        filter: In OPTIMADE's language; empty: all.
        fields: Further properties to keep, ``_exmpl_band_gap``.
        most: Stop after so many crystals (whole pages); 0: all.

    Raises:
        FetchFailed: The provider does not answer, or not what it should.
    """
    if request.address is None or not re.match(r"https?://", request.address):
        raise FetchFailed("a provider is given by its base URL, https://...")
    if wrong := [name for name in fields if not FIELD.fullmatch(name)]:
        raise FetchFailed(f"{wrong[0]!r} is not the name of an OPTIMADE property")
    question = {
        **{"of": request.address, "filter": filter, "fields": list(fields), "most": most},
    }
    store = PageStore(request.work / "pages.jsonl", question)
    provider = _Provider(request.address, filter, [*STRUCTURE_FIELDS, *fields])
    seen = {name for page in store.pages() for name in _ids(page)}
    addresses = {page.next for page in store.pages()}
    empty = 0
    while _more(store, most):
        where = store.last.next if store.last else None
        page, total = provider.page(where, fields)
        found = _ids(page)
        empty = 0 if found else empty + 1
        if page.next is not None and empty == EMPTY_PAGES:
            raise FetchFailed(f"{place(request.address)} gives pages without structures, and more")
        if page.next is not None and (page.next in addresses or (found and found <= seen)):
            raise FetchFailed(f"{place(request.address)} goes round in circles")
        seen, addresses = seen | found, addresses | {page.next}
        store.append(page)
        request.progress(FetchProgress(request.name, store.count, total, "crystals"))
    table = request.folder / f"{request.name}.csv.gz"
    version = f"OPTIMADE, {place(request.address)}, filter {filter or 'none'}"
    return store.write(request, table, request.address, version, fields)


def _ids(page: Page) -> set[str]:
    """Return the ids of a page, also of what cannot be used."""
    return {row["material_id"] for row in page.rows} | {name for name, _ in page.left_out}


def _more(store: PageStore, most: int) -> bool:
    if store.last is None:
        return True
    return store.last.next is not None and not (most and store.count >= most)


class _Provider:
    """One question to one provider, page by page."""

    def __init__(self, address: str, filter: str, fields: list[str]) -> None:
        from optimade.client import OptimadeClient

        self._links: dict[str, Any] = {}
        self._address, self._filter, self._fields = address, filter, fields
        self._client = OptimadeClient(
            base_urls=[address],
            max_results_per_provider=MOST_OF_A_PAGE,  # of one request: pages come one by one
            http_client=PatientSession,
            use_async=False,
            silent=True,
            callbacks=[self._note],
        )

    def _note(self, url: str, results: dict[str, Any]) -> None:
        """Keep where the next page is; the client forgets it when it is not to go on."""
        self._links = {"url": url, "next": (results["links"] or {}).get("next")}

    def page(self, where: str | None, fields: Sequence[str]) -> tuple[Page, int | None]:
        """Fetch a page.

        Args:
            where: Its address; None: the first one.
            fields: Properties to keep.

        Returns:
            The page, and how many crystals there are, if the provider says so.
        """
        for length in PAGES if where is None else (None,):
            answer = self._ask(where, length)
            if not (answer.errors and str(answer.errors[0]).startswith(REFUSED)):
                break
        if answer.errors:
            told = str(answer.errors[0]).removeprefix("FetchFailed: ")
            raise FetchFailed(f"{place(self._address)}: {told[:300]}")
        if not isinstance(answer.data, list):
            raise FetchFailed(f"{place(self._address)} answered without a list of structures")
        total = answer.meta.get("data_returned")
        page = _page(answer.data, fields, self._next())
        return page, total if isinstance(total, int) else None

    def _ask(self, where: str | None, length: int | None) -> QueryResults:
        with contextlib.redirect_stdout(io.StringIO()):  # the client prints errors there
            answers = self._client.get_one(
                *("structures", self._filter, self._address),
                response_fields=self._fields,
                page_limit=length,
                paginate=False,
                override_url=where,
            )
        return answers[self._address]

    def _next(self) -> str | None:
        found = self._links.get("next")
        if isinstance(found, dict):
            found = found.get("href")
        return same_server(self._links["url"], str(found)) if found else None


def _page(entries: list[Any], fields: Sequence[str], next: str | None) -> Page:
    rows, left_out = [], []
    for entry in entries:
        try:
            rows.append(_row(entry, fields))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            name = entry.get("id") if isinstance(entry, dict) else None
            left_out.append((str(name), f"{type(error).__name__}: {error}"))
    return Page(rows, left_out, next)


def _row(entry: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    values = entry["attributes"]
    if any(None in vector for vector in values["lattice_vectors"]):
        raise ValueError("it is not periodic in three directions")
    symbols = {one["name"]: _symbol(one) for one in values["species"]}
    text = structure_text(
        values["lattice_vectors"],
        [symbols[name] for name in values["species_at_sites"]],
        values["cartesian_site_positions"],
        cartesian=True,
    )
    kept = {name: values.get(name) for name in fields}
    return row(str(entry["id"]), text, "OPTIMADE", kept)


def _symbol(species: Mapping[str, Any]) -> str:
    """Return the one element of a species.

    Raises:
        ValueError: It is none, or partially there.
    """
    symbols, shares = species["chemical_symbols"], species["concentration"]
    if len(symbols) != 1 or abs(float(shares[0]) - 1) > 1e-6 or symbols[0] in UNUSABLE:
        raise ValueError(f"the species {species['name']} is {symbols} with {shares}")
    return str(symbols[0])
