"""What a page is, and which page an address means.

A page is a module in `discovery.dashboard.pages` with a constant ``PAGE``. When a browser opens an
address or follows a link, `find_page` chooses the page by the path, and its ``layout`` is called
with the `Address`, each time anew: a page keeps nothing between two calls. ``callbacks`` is called
once, before the server starts, for pages that answer more than links do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

if TYPE_CHECKING:
    from dash import Dash
    from dash.development.base_component import Component

#: Longest path and query that are read.
MOST_CHARACTERS = 16_000
#: What may stand in an address for a campaign or a candidate (`db.campaigns.NAME` and more).
_VALUE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
_PLACE = re.compile(r"\{([a-z_]+)\}")


class NoSuchPage(ValueError):
    """An address that no page has, or of which a part cannot be what it should be."""


@dataclass(frozen=True)
class Address:
    """What a browser asks for; all of it is foreign.

    Attributes:
        path: The path, as matched.
        values: What stands in the path for the names in braces.
        query: What follows the question mark, the names that the page knows alone.
    """

    path: str
    values: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """One kind of page.

    Attributes:
        path: Its address, with names in braces: ``/campaign/{campaign}``.
        title: Makes the title of the window, without the product's name.
        layout: Makes what is shown between header and footer; the first heading is an
            `markup.heading`. May raise any error of this product: the page says it in a sentence.
        label: What a link to it is called on the pages of the same campaign; None: no link.
        query: Names that may follow the question mark; others are refused.
        callbacks: Adds the page's own callbacks to the application. Everything that a callback is
            given comes from the browser and is checked by it before it is used.
    """

    path: str
    title: Callable[[Address], str]
    layout: Callable[[Address], Sequence[Component]]
    label: str | None = None
    query: frozenset[str] = frozenset()
    callbacks: Callable[[Dash], None] | None = None

    def match(self, path: str) -> dict[str, str] | None:
        """Return what stands for the names in braces; None where the path is another page's."""
        pattern = "".join(
            f"(?P<{part}>{_VALUE})" if place % 2 else re.escape(part)
            for place, part in enumerate(_PLACE.split(self.path))
        )
        found = re.fullmatch(pattern, path)
        return None if found is None else found.groupdict()


def find_page(pages: Sequence[Page], path: object, search: object) -> tuple[Page, Address]:
    """Find the page of an address.

    Args:
        pages: All there are.
        path: What a browser says is the path of its address.
        search: What follows, with the question mark; None or empty: nothing.

    Raises:
        NoSuchPage: There is none, or something in the address cannot be read.
    """
    if not isinstance(path, str) or not isinstance(search, str | None):
        raise NoSuchPage("an address is text")
    if len(path) + len(search or "") > MOST_CHARACTERS:
        raise NoSuchPage(f"an address has at most {MOST_CHARACTERS:,} characters")
    for page in pages:
        values = page.match(path)
        if values is not None:
            return page, Address(path, values, _read_query(search or "", page.query))
    raise NoSuchPage(f"there is no page {path[:80]!a}")


def _read_query(search: str, known: frozenset[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(search.removeprefix("?"), errors="strict", max_num_fields=20)
    except ValueError as error:  # UnicodeDecodeError, too
        raise NoSuchPage(f"what follows the question mark cannot be read: {error}") from None
    for name, _ in pairs:
        if name not in known:
            raise NoSuchPage(f"this page knows no {name[:80]!a} behind the question mark")
    return dict(pairs)


def address_of(path: str, values: Mapping[str, str], query: Mapping[str, str | None] = {}) -> str:
    """Write the address of a page.

    Args:
        path: Its path, with names in braces.
        values: What stands for these names.
        query: What follows the question mark; without those that are None or empty.
    """
    written = _PLACE.sub(lambda found: quote(values[found.group(1)], safe=""), path)
    asked = {name: value for name, value in query.items() if value}
    return f"{written}?{urlencode(asked, quote_via=quote)}" if asked else written
