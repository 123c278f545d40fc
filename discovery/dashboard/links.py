"""Addresses of candidates, for every page that names some."""

from __future__ import annotations

from dash.development.base_component import Component

from discovery.dashboard import markup
from discovery.dashboard.page import address_of

CANDIDATES = "/campaign/{campaign}/candidates"
CANDIDATE = "/candidate/{candidate}"


def candidates_address(campaign: str, **query: str | None) -> str:
    """Return the address of a campaign's table of candidates.

    Args:
        campaign: Its name.
        query: ``where``, ``sort``, ``fields`` and ``page``.
    """
    return address_of(CANDIDATES, {"campaign": campaign}, query)


def candidate_link(candidate: str) -> Component:
    """Make the link to a candidate's own page."""
    return markup.link(candidate, address_of(CANDIDATE, {"candidate": candidate}))


def quoted(text: str) -> str:
    """Write a text as a filter does."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
