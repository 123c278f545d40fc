"""What a shell offers for the word at the cursor.

A shell asks at every press of the tab key, so an answer comes from files, from constants, and from
a database that answers within half a second. Nothing is started for it and nothing is said: where
there is no answer, nothing is offered.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pymongo.database import Database

PATIENCE_MS = 500
"""How long a database may take to answer."""
MOST = 100
"""Ids that are offered at once."""


def campaigns_here(incomplete: str) -> list[str]:
    """Offer the campaigns of the database; of one that does not run, those it had last."""
    with _database() as database:
        if database is None:
            elsewhere = bool(os.environ.get("MONGODB_URI"))
            return [] if elsewhere else _beginning(remembered(), incomplete)
        found = database["campaigns"].find({}, {"_id": 1}).sort("updated_at", -1)
        return _beginning((str(one["_id"]) for one in found), incomplete)


def campaigns_to_run(incomplete: str) -> list[str]:
    """Offer the campaigns that come with the package, and campaign files."""
    from discovery.campaign.config import shipped_campaigns

    return _beginning(shipped_campaigns(), incomplete) + files(incomplete, ".yaml", ".yml")


def candidates(incomplete: str) -> list[str]:
    """Offer ids of candidates that begin like this."""
    return _identifiers("candidates", incomplete)


def calculations(incomplete: str) -> list[str]:
    """Offer hashes of calculations that begin like this."""
    return _identifiers("calculations", incomplete)


def potentials(incomplete: str) -> list[str]:
    """Offer potentials by name."""
    return _beginning(_named("potential"), incomplete)


def screens(incomplete: str) -> list[str]:
    """Offer screens, also after a comma."""
    return _after_comma([*_named("screen"), "head", "auto"], incomplete)


def generators(incomplete: str) -> list[str]:
    """Offer the checkpoints that come with the package, and folders."""
    return _beginning(_named("generator"), incomplete)


def models(incomplete: str) -> list[str]:
    """Offer everything that `discovery models` knows."""
    return _beginning(_named("potential", "screen", "generator"), incomplete)


def model_configs(incomplete: str) -> list[str]:
    """Offer the configurations that a generator is trained by."""
    from discovery.models.generator_training import model_configs as shipped

    return _beginning(shipped(), incomplete) + files(incomplete, ".yaml", ".yml")


def presets(incomplete: str) -> list[str]:
    """Offer the presets of the DFT codes."""
    from agents.verify.settings import VerifySettings

    return _beginning(_choices(VerifySettings.model_fields["preset"].annotation), incomplete)


def dft_codes(incomplete: str) -> list[str]:
    """Offer the DFT codes, those of installed packages, too."""
    from agents.verify.backend import dft_codes as known

    return _beginning(known(), incomplete)


def collections(incomplete: str) -> list[str]:
    """Offer the reference collections that are known by name."""
    from discovery.references.sources import SOURCES

    return _beginning(SOURCES, incomplete)


def references(incomplete: str) -> list[str]:
    """Offer what crystals can be compared with."""
    from discovery.references.sources import SOURCES

    splits = [f"{name}-train" for name in SOURCES if name != "mp"]
    return _beginning([*SOURCES, *splits, "train", "self"], incomplete)


def fields(incomplete: str) -> list[str]:
    """Offer the fields of a candidate, also after a comma."""
    from db.filters.fields import BY_NAME
    from db.property_table import STANDARD_PREDICTIONS

    return _after_comma([*BY_NAME, *STANDARD_PREDICTIONS], incomplete)


def states(incomplete: str) -> list[str]:
    """Offer the states of a candidate."""
    from db.states import State

    return _beginning(map(str, State), incomplete)


def calculation_states(incomplete: str) -> list[str]:
    """Offer the states of a DFT calculation."""
    from db.states import CalculationState

    return _beginning(map(str, CalculationState), incomplete)


def calculation_tasks(incomplete: str) -> list[str]:
    """Offer what a DFT calculation may compute."""
    from agents.verify.tasks import Task

    return _beginning(map(str, Task), incomplete)


def paper_funnels(incomplete: str) -> list[str]:
    """Offer the funnels that the paper prints."""
    from discovery.reports.paper import FUNNELS

    return _beginning(FUNNELS, incomplete)


def crystal_files(incomplete: str) -> list[str]:
    """Offer files of crystals."""
    return files(incomplete, ".cif", ".extxyz", ".xyz", ".vasp", ".gz")


def queues(incomplete: str) -> list[str]:
    """Offer the queues of workers, also after a comma."""
    from discovery.workers.processes import QUEUES

    return _after_comma([*QUEUES, "dft"], incomplete)


def settings(incomplete: str) -> list[str]:
    """Offer the keys of a campaign file; of the one that is meant, its values or its default.

    A shell puts a space behind the only word that fits, so a key alone is never the only one.
    """
    from discovery.campaign.config import CampaignConfig

    known = dict(_keys(CampaignConfig))
    names = _beginning(known, incomplete.partition("=")[0])
    if "=" not in incomplete and len(names) != 1:
        return [f"{name}=" for name in names]
    return _beginning((f"{name}={value}" for name in names for value in known[name]), incomplete)


def files(incomplete: str, *endings: str) -> list[str]:
    """Offer files with an ending, and the folders on the way to them."""
    beginning = incomplete.rpartition("/")[2]
    before = incomplete.removesuffix(beginning)
    folder = Path(before or ".").expanduser()
    if not folder.is_dir():
        return []
    return [
        f"{before}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in sorted(folder.iterdir())
        if entry.name.startswith(beginning)
        and (beginning.startswith(".") or not entry.name.startswith("."))
        and (entry.is_dir() or entry.suffix in endings)
    ]


def remember(names: Iterable[str], address: str | None) -> None:
    """Keep the names of the campaigns of the embedded database for when it does not run.

    Args:
        names: All of them, the one changed last first.
        address: Of another database that was used, which is asked when it comes to it.
    """
    if not address and not os.environ.get("MONGODB_URI"):
        _memory().write_text("".join(f"{name}\n" for name in dict.fromkeys(names)))


def remembered() -> list[str]:
    """Return the names that `remember` kept last."""
    memory = _memory()
    return memory.read_text().split() if memory.is_file() else []


def _memory() -> Path:
    from db.paths import HomeFiles, home_directory

    return HomeFiles(home_directory()).run / "campaigns.txt"


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _after_comma(names: Iterable[str], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    chosen = before.split(",")
    return [
        f"{before}{comma}{name}"
        for name in names
        if name.startswith(last) and not (comma and name in chosen)
    ]


def _identifiers(collection: str, incomplete: str) -> list[str]:
    with _database() as database:
        if database is None:
            return []
        chosen = {"_id": {"$gte": incomplete, "$lt": f"{incomplete}\uffff"}}
        found = database[collection].find(chosen, {"_id": 1}).sort("_id", 1).limit(MOST)
        return [str(one["_id"]) for one in found]


def _named(*kinds: str) -> list[str]:
    from discovery.models.catalogue import catalogue

    return [entry["name"] for entry in catalogue() if entry["kind"] in kinds]


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the dotted keys of settings, and what each may be: its choices, else its default."""
    from pydantic import BaseModel

    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, f"{prefix}{name}.")
        else:
            default = field.default
            shown = [str(default)] if isinstance(default, str | int | float) else []
            yield f"{prefix}{name}", _choices(inner) or shown


def _choices(annotation: Any) -> list[str]:
    """Return the values of an annotation that allows a few words, or a truth value."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


@contextmanager
def _database() -> Iterator[Database[dict[str, Any]] | None]:
    """Give the database if it answers at once, without starting one."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    address = _address()
    if address is None:
        yield None
        return
    from db.connection import DATABASE_NAME
    from db.uri import database_of

    with MongoClient[dict[str, Any]](
        address, serverSelectionTimeoutMS=PATIENCE_MS, connectTimeoutMS=PATIENCE_MS
    ) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            yield None
        else:
            yield client[database_of(address) or DATABASE_NAME]


def _address() -> str | None:
    """Return the address of $MONGODB_URI, or of the embedded server if it runs."""
    from db.embedded import ServerRecord, address, answers
    from db.paths import HomeFiles, home_directory

    if os.environ.get("MONGODB_URI"):
        return os.environ["MONGODB_URI"]
    record = ServerRecord.read(HomeFiles(home_directory()).record)
    if record is None or not answers(Path(record.socket)):
        return None
    return address(Path(record.socket), direct=True)
