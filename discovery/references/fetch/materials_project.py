"""The Materials Project, page by page from its REST API, with the user's own key.

The API is spoken to directly and not through mp-api. For all materials at once mp-api reads another
source (tables in S3 buckets, whose address cannot be chosen), it holds every answer in memory until
the last one came, so nothing is left after an interruption, and it needs a dozen packages more.
What is asked for is what its `MPRester().materials.summary.search` asks for.
"""

from __future__ import annotations

import os
import re
from typing import Any

from discovery.references.fetch.layout import row
from discovery.references.fetch.pages import Page, PageStore
from discovery.references.fetch.session import FetchFailed, PatientSession, place
from discovery.references.fetch.source import FetchProgress, FetchReport, Request
from discovery.references.sources import SOURCES
from discovery.references.structure_json import pymatgen_text

ADDRESS = "https://api.materialsproject.org"
ADDRESS_VARIABLE = "MP_API_ENDPOINT"
KEY_VARIABLE = "MP_API_KEY"
KEY = re.compile(r"[A-Za-z0-9]{32}")
PAGE = 1000
PROPERTIES = {
    **{"formation_energy_per_atom": "formation_energy_per_atom", "band_gap": "band_gap"},
    **{"energy_above_hull": "e_above_hull", "theoretical": "theoretical"},
}
"""Fields of a material, and the names of the table (eV, eV/atom)."""
QUESTION = {
    "deprecated": "false",
    "batch_id_not_eq": "gnome_r2scan_statics",
    "_sort_fields": "material_id",
    "_fields": ",".join(["material_id", "symmetry", "builder_meta", "structure", *PROPERTIES]),
}
NON_COMMERCIAL = "BY-NC"
"""Licence of GNoME's materials; they are not asked for, and left out if they come."""


def fetch(request: Request) -> FetchReport:
    """Fetch all materials that are not deprecated and not GNoME's.

    Raises:
        FetchFailed: There is no key, it is refused, or an answer is not what it should be.
    """
    base = (request.address or ADDRESS).rstrip("/")
    session = PatientSession({"X-API-KEY": _key()})
    version = session.get_json(f"{base}/heartbeat").get("db_version")
    if not isinstance(version, str) or not version:
        raise FetchFailed(f"{place(base)}/heartbeat names no db_version")
    store = PageStore(request.work / "pages.jsonl", {"of": base, "version": version, **QUESTION})
    _fetch_pages(session, f"{base}/materials/summary/", store, request)
    (table,) = (request.folder / one.file for one in SOURCES[request.name].fetched)
    columns = ("spacegroup", *PROPERTIES.values())
    return store.write(request, table, base, f"v{version} without GNoME", columns)


def _key() -> str:
    """Return the user's key; it is never shown.

    Raises:
        FetchFailed: There is none, or it cannot be one.
    """
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        raise FetchFailed(
            f"{KEY_VARIABLE} is not set: get a key at https://materialsproject.org/api and export "
            f"{KEY_VARIABLE}=..."
        )
    if not KEY.fullmatch(key):
        raise FetchFailed(f"{KEY_VARIABLE} is not a key: it has 32 letters and digits")
    return key


def _fetch_pages(session: PatientSession, address: str, store: PageStore, request: Request) -> None:
    seen = {row["material_id"] for page in store.pages() for row in page.rows}
    total = None
    while total is None or store.count < total:
        answer = session.get_json(address, {**QUESTION, "_skip": store.count, "_limit": PAGE})
        try:
            total, found = int(answer["meta"]["total_doc"]), list(answer["data"])
        except (LookupError, TypeError, ValueError) as error:
            raise FetchFailed(f"{address} answered without data or total_doc") from error
        if not found and store.count < total:
            raise FetchFailed(f"{address} ended after {store.count} of {total} materials")
        page = _page(found)
        if repeated := seen & {row["material_id"] for row in page.rows}:
            raise FetchFailed(
                f"{address} repeats {min(repeated)} after {store.count} of {total} materials"
            )
        seen |= {row["material_id"] for row in page.rows}
        if found:
            store.append(page)
        request.progress(FetchProgress(request.name, store.count, total, "crystals"))


def _page(materials: list[Any]) -> Page:
    rows, left_out = [], []
    for material in materials:
        try:
            rows.append(_row(material))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            name = material.get("material_id") if isinstance(material, dict) else None
            left_out.append((str(name), f"{type(error).__name__}: {error}"))
    return Page(rows, left_out)


def _row(material: dict[str, Any]) -> dict[str, Any]:
    if (material.get("builder_meta") or {}).get("license") == NON_COMMERCIAL:
        raise ValueError(f"its licence is {NON_COMMERCIAL}")
    values = {ours: material.get(theirs) for theirs, ours in PROPERTIES.items()}
    values["spacegroup"] = (material.get("symmetry") or {}).get("number")
    text = pymatgen_text(material["structure"])
    return row(str(material["material_id"]), text, "Materials Project", values)
