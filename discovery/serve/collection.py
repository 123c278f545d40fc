"""The candidates as a collection of OPTIMADE's server."""

from __future__ import annotations

import copy
from itertools import islice
from typing import Any, NoReturn

from lark import Transformer
from optimade.adapters.structures.pymatgen import from_pymatgen
from optimade.exceptions import BadRequest, NotImplementedResponse
from optimade.models import StructureResource
from optimade.server.config import ServerConfig
from optimade.server.entry_collections import EntryCollection
from optimade.server.mappers import StructureMapper
from optimade.server.query_params import EntryListingQueryParams, SingleEntryQueryParams

from db.connection import current_database
from db.crystals import record_to_structure
from db.filters import And, Expression, Field, InvalidFilter, UnknownName, parse
from db.filters.expression import Comparison, Known, OneOf, Operator
from db.filters.fields import Kind, find_field
from db.retry import idempotent
from db.selection import (
    Order,
    Selection,
    best_structure,
    campaigns_with_candidates,
    questions,
    stream,
    value_at,
)
from discovery.serve.conditions import compound, computed_structures, last_modified, resolve
from discovery.serve.names import (
    DERIVED,
    ID,
    OWN,
    SOURCE,
    NotFilterable,
    find_property,
)

Document = dict[str, Any]

_CRYSTAL = Known(Field("structure", "structure", Kind.TEXT, "the decoded crystal"))
_NAMED = Known(find_field("formula"))
_VERIFIED = Comparison(find_field("state"), Operator.EQUAL, "verified")
_UNUSED = ("codes", "relaxed_codes", "screening", "duplicates", "evaluation", "predictions")


class CandidateCollection(EntryCollection):
    """Reads candidates; filters go through `db.filters`, orders and pages through `db.selection`.

    Args:
        config: Of the server.
        everything: Serve every candidate with a crystal, not the verified ones alone.
    """

    def __init__(self, config: ServerConfig, *, everything: bool) -> None:
        super().__init__(StructureResource, StructureMapper(config), Transformer(), config)
        self._served = And((_CRYSTAL, _NAMED) if everything else (_VERIFIED, _CRYSTAL, _NAMED))

    def __len__(self) -> int:
        return self._count(self._served)

    def insert(self, data: Any) -> NoReturn:
        """Refuse: nothing is written."""
        raise NotImplementedError("this server is read-only")

    def count(self, **kwargs: Any) -> int:
        """Count the served candidates of which ``filter`` is true."""
        return self._count(kwargs.get("filter", self._served))

    def handle_query_params(
        self, params: EntryListingQueryParams | SingleEntryQueryParams
    ) -> dict[str, Any]:
        """Read the parameters of a request.

        Returns:
            As the package's own collections; ``filter`` is an expression, ``sort`` an `Order`.

        Raises:
            BadRequest: A filter or order cannot be understood.
            NotImplementedResponse: It asks for what the standard leaves open and we have not.
        """
        if getattr(params, "page_above", None) is not None:
            raise NotImplementedResponse("pages are asked for with page_offset or page_number")
        without = copy.copy(params)
        without.filter = None
        criteria: dict[str, Any] = super().handle_query_params(without)
        text = getattr(params, "filter", None)
        if isinstance(params, SingleEntryQueryParams):
            # The package wrote the id of the address between quotes; it is no filter to be read.
            entry = str(text).removeprefix('id="').removesuffix('"')
            asked: Expression | None = OneOf(ID, (entry,))
        else:
            asked = self._parsed(text) if text else None
        criteria["filter"] = self._served if asked is None else And((self._served, asked))
        return criteria

    def parse_sort_params(self, sort_params: str) -> Order:
        """Read ``sort``: one property, reversed by a leading "-".

        Raises:
            BadRequest: It is none by which candidates are sorted.
        """
        name = sort_params.removeprefix("-")
        try:
            field = find_property(name)
        except (UnknownName, NotFilterable) as error:
            raise BadRequest(f"candidates are not sorted by {name[:80]!a}: {error}") from None
        if field.kind in (Kind.ELEMENTS, Kind.FOREIGN) or field in DERIVED.values():
            raise BadRequest(
                f"candidates are not sorted by {name[:80]!a}: it is not a stored value"
            )
        return Order(field, sort_params.startswith("-"))

    def _parsed(self, text: str) -> Expression:
        try:
            return resolve(parse(text, find_property), self._served)
        except InvalidFilter as error:
            raise BadRequest(str(error)) from None
        except NotFilterable as error:
            raise NotImplementedResponse(str(error)) from None

    def _run_db_query(
        self, criteria: dict[str, Any], single_entry: bool = False
    ) -> tuple[list[Document], int | None, bool]:
        skip, count = criteria.get("skip", 0), self._count(criteria["filter"])
        if skip >= count:
            return [], count, False
        end = skip + criteria["limit"]
        selection = Selection(
            where=criteria["filter"], order=criteria.get("sort"), limit=end, fields=(ID,)
        )
        try:
            names = [one["id"] for one in islice(stream(selection), skip, None)]
        except UnknownName as error:
            raise BadRequest(str(error)) from None
        return _resources(names), count, not single_entry and end < count

    @idempotent
    def _count(self, where: Expression) -> int:
        # Campaign by campaign, because every index begins with it.
        collection, selection = current_database()["candidates"], Selection(where=where)
        asked = [one for name in campaigns_with_candidates() for one in questions(selection, name)]
        return sum(
            collection.count_documents(one.query, hint=one.index)
            if one.index
            else collection.count_documents(one.query)
            for one in asked
        )


@idempotent
def _resources(names: list[str]) -> list[Document]:
    left_out = dict.fromkeys(_UNUSED, 0)
    found = {
        one["_id"]: one
        for one in current_database()["candidates"].find({"_id": {"$in": names}}, left_out)
    }
    computed = computed_structures(found.values())
    return [_resource(found[name], computed) for name in names if name in found]


def _resource(document: Document, computed: dict[str, Document]) -> Document:
    """Write a stored candidate by the names of the standard, ours without their prefix."""
    calculated = computed.get(compound(document) or "")
    crystal = calculated or best_structure(document)
    relaxed = (document.get("relaxation") or {}).get("structure")
    source = "dft" if calculated else "relaxed" if relaxed else "decoded"
    assert crystal is not None  # every served candidate has one
    attributes = from_pymatgen(record_to_structure(crystal)).model_dump(exclude_unset=True)
    attributes["species"] = sorted(attributes["species"], key=lambda one: one["name"])
    return {
        **attributes,
        "id": document["_id"],
        "chemical_formula_descriptive": document["formula"],
        "last_modified": last_modified(document),
        **{field.name: value_at(document, field) for field in OWN},
        SOURCE: source,
    }
