"""The documents of the database, as they are read; every write goes through a module of its own.

Written by: `db.proposals`, `db.candidates` and `db.leases` (Candidate), `db.campaigns`,
`db.calculations`, `db.generations`, `db.model_versions`, `db.events`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NoReturn

from mongoengine import (
    BooleanField,
    DateTimeField,
    DictField,
    Document,
    FloatField,
    IntField,
    ListField,
    ObjectIdField,
    StringField,
)
from mongoengine.queryset import QuerySet

from db.property_table import SCREEN_WINDOWS, STANDARD_PREDICTIONS, VERIFIED_PROPERTIES
from db.retry import idempotent
from db.states import CalculationState, CampaignState, State

RESULTS = frozenset(  # the fields of a candidate that agents fill in
    {
        *("structure", "formula", "chemical_system", "elements", "n_atoms"),
        *("evaluation", "relaxation", "relaxed_codes", "screening", "duplicates"),
        *("hull", "selection", "verification", "follow_up"),
    }
)


def _where_it_is(fields: list[str]) -> dict[str, Any]:
    """Describe an index of the documents that have its second field."""
    return {"fields": fields, "partialFilterExpression": {fields[1]: {"$exists": True}}}


class UnguardedWrite(RuntimeError):
    """A document was about to be written without compare-and-set."""


def _refuse(name: str, *_: Any, **__: Any) -> NoReturn:
    raise UnguardedWrite(
        f"{name} is not allowed: documents change only through the functions of the db package"
    )


class ReadOnlyQuerySet(QuerySet):
    """A query that only reads; its answer is read as a whole, again if the server restarts."""

    _has_more: bool
    _result_cache: list[Any] | None

    def _populate_cache(self) -> None:
        if self._has_more:
            self._result_cache = self._read()
            self._has_more = False

    @idempotent
    def _read(self) -> list[Any]:
        self._cursor.rewind()
        answer = []
        with suppress(StopIteration):
            while True:
                answer.append(next(self))
        return answer

    def update(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse("QuerySet.update")

    update_one = upsert_one = modify = insert = delete = create = update


class Record(Document):
    """A document that only reads itself; values are plain JSON plus the server's times."""

    meta = {
        "abstract": True,
        "queryset_class": ReadOnlyQuerySet,
        "auto_create_index": False,
        "strict": False,
    }

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a blind save overwrites what others wrote."""
        _refuse(f"{type(self).__name__}.save")

    update = modify = delete = save


class Campaign(Record):
    """One campaign; `name` is the primary key."""

    name = StringField(primary_key=True)
    config = DictField()
    resolved = DictField()  # what `auto` choices became
    state = StringField(choices=[str(state) for state in CampaignState])
    stop_reason = StringField(null=True)
    seed = IntField()
    leader = DictField(null=True)  # {owner, expires_at}
    token = IntField(default=0)  # grows with every change of leader
    live_model = StringField(null=True)
    progress = DictField()
    figures = DictField()  # totals of the loop, for the metrics: db.campaigns.add_figures
    created_at = DateTimeField()
    updated_at = DateTimeField()

    meta = {"collection": "campaigns"}


class Candidate(Record):
    """One candidate crystal and everything that happened to it."""

    id = StringField(primary_key=True)
    campaign = StringField(required=True)
    seq = IntField(required=True)  # order of proposal
    generator_version = StringField(required=True)
    codes_hash = StringField(required=True)
    codes = DictField()
    base_id = StringField(null=True)
    proposer = StringField(null=True)
    episode = IntField(null=True)
    generation = IntField(null=True)
    parents = ListField(StringField())  # candidates that the proposer made it from, if it knows
    state = StringField(choices=[str(state) for state in State])
    lease = DictField(null=True)  # {owner, expires_at}
    token = IntField(default=0)  # fencing token: grows with every lease
    attempts = IntField(default=0)  # leases taken in the present state
    structure = DictField(null=True)
    formula = StringField(null=True)
    chemical_system = StringField(null=True)
    elements = ListField(StringField())
    n_atoms = IntField(null=True)
    evaluation = DictField()
    relaxation = DictField()
    relaxed_codes = DictField(null=True)
    predictions = ListField(DictField())
    screening = DictField()
    duplicates = DictField()
    hull = DictField(null=True)  # None or missing: not placed yet
    selection = DictField()
    verification = DictField()
    follow_up = DictField(null=True)  # None or missing: not followed up
    rejection = DictField(null=True)  # {reason, detail, stage}
    error = StringField(null=True)
    history = ListField(DictField())
    created_at = DateTimeField()
    # Derived from the results in the write that stores them, for filters: `db.property_table`.
    properties = DictField()  # property_model: value, the latest; property: value by DFT
    levels = DictField()  # property_model: {level: value}
    n_elements = IntField(null=True)
    element_pairs = ListField(StringField())

    meta = {
        "collection": "candidates",
        "indexes": [
            {"fields": ["campaign", "generator_version", "codes_hash"], "unique": True},
            {"fields": ["campaign", "seq"], "unique": True},
            {"fields": ["campaign", "state", "seq"]},
            {"fields": ["campaign", "state", "rejection.reason"]},
            {"fields": ["campaign", "state", "lease.expires_at", "seq"]},
            {"fields": ["campaign", "state", "hull.level", "seq"]},
            {"fields": ["campaign", "relaxed_codes.crystal.0"]},
            {"fields": ["campaign", "episode", "generation", "state"]},
            {"fields": ["campaign", "proposer"]},
            {"fields": ["campaign", "history.to"]},
            {"fields": ["campaign", "formula", "seq"]},
            {"fields": ["campaign", "elements", "seq"]},
            {"fields": ["campaign", "element_pairs", "seq"]},
            {"fields": ["campaign", "chemical_system", "seq"]},
            _where_it_is(["campaign", "selection.position", "state", "verification.hit"]),
            _where_it_is(["campaign", "follow_up.position"]),
            _where_it_is(["campaign", "hull.refused.reason"]),
            _where_it_is(["campaign", "verification.hit", "seq"]),
            _where_it_is(["campaign", "verification.space_group", "seq"]),
            _where_it_is(["campaign", "relaxation.formation_energy_per_atom", "seq"]),
            _where_it_is(["campaign", "hull.energy_above_hull", "seq"]),
            *(
                _where_it_is(["campaign", f"properties.{name}", "seq"])
                for name in (*VERIFIED_PROPERTIES, *STANDARD_PREDICTIONS)
            ),
            _where_it_is(["campaign", *(f"properties.{name}" for name in SCREEN_WINDOWS), "seq"]),
        ],
    }


class Calculation(Record):
    """One first-principles calculation; `hash` is the primary key, so it is paid for once."""

    hash = StringField(primary_key=True)
    kind = StringField(choices=["compound", "reference", "phase"])
    task = StringField(default="static")  # records older than tasks hold none of these three
    parent = StringField(null=True)  # the calculation whose result it starts from
    options = DictField(default=lambda: {"gap": True})
    code = StringField()
    version = StringField()
    level = StringField()
    settings = DictField()
    structure = DictField()
    formula = StringField()
    state = StringField(choices=[str(state) for state in CalculationState])
    fw_id = IntField(null=True)
    result = DictField(null=True)
    error = StringField(null=True)
    estimated_core_seconds = FloatField(null=True)
    candidates = ListField(StringField())
    control = BooleanField(default=False)
    info = DictField()
    attempts = ListField(DictField())  # every process that was run for it, with its cost
    outputs = DictField(null=True)  # {folder, files: [{path, sha256, size}], left_out}
    history = ListField(DictField())  # {at, from, to, by, note}
    created_at = DateTimeField()
    completed_at = DateTimeField(null=True)

    meta = {
        "collection": "calculations",
        "indexes": [
            {"fields": ["state", "created_at"]},
            {"fields": ["kind", "formula"]},
            {"fields": ["candidates"]},
            {"fields": ["parent"]},
            {"fields": ["info.campaign", "state"]},
            {"fields": ["attempts.campaign"]},
        ],
    }


class Generation(Record):
    """One generation of one proposer; never changes."""

    campaign = StringField(required=True)
    episode = IntField(required=True)
    generation = IntField(required=True)
    proposer = StringField()
    base_id = StringField(null=True)
    seed = IntField()
    candidate_ids = ListField(StringField())  # in the order proposed
    info = DictField()
    created_at = DateTimeField()

    meta = {
        "collection": "generations",
        "indexes": [
            {"fields": ["campaign", "episode", "generation"], "unique": True},
            {"fields": ["campaign", "info.round"]},
        ],
    }


class ModelVersion(Record):
    """One version of a learned model; its weights are in GridFS."""

    id = StringField(primary_key=True)
    campaign = StringField(required=True)
    kind = StringField()
    parent = StringField(null=True)
    payload = ObjectIdField()
    sha256 = StringField()
    decision = StringField(choices=["promoted", "refused"])
    reason = StringField(null=True)
    metrics = DictField()
    labels = DictField()
    created_at = DateTimeField()

    meta = {"collection": "model_versions", "indexes": [{"fields": ["campaign", "created_at"]}]}


class Event(Record):
    """Something that happened to a campaign as a whole."""

    campaign = StringField(required=True)
    kind = StringField(required=True)
    agent = StringField()
    data = DictField()
    at = DateTimeField()

    meta = {
        "collection": "events",
        "indexes": [{"fields": ["campaign", "at"]}, {"fields": ["campaign", "kind", "at"]}],
    }


DOCUMENTS: tuple[type[Record], ...] = (
    Campaign,
    Candidate,
    Calculation,
    Generation,
    ModelVersion,
    Event,
)
