"""A campaign, read once: what all figures are drawn from.

One question to the database, answered from one moment of it (`db.snapshot`), with only the fields
that figures need, one candidate after the other: 100,000 candidates are a table of numbers and
short texts, and no crystal but those that a figure shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from db import campaigns
from db.events import server_time
from db.filters import find_field
from db.snapshot import Snapshot
from discovery.campaign.config import CampaignConfig, from_record
from discovery.figures.competing import CandidateHull, choose, read_hulls

if TYPE_CHECKING:
    import pandas
    from pymatgen.core import Structure

Record = dict[str, Any]

#: Crystals read for space groups, and points of the silhouettes, whose cost is quadratic.
SAMPLE = 2000

#: Candidates whose competing phases are read.
MOST_HULLS = 8

#: Columns of `CampaignData.candidates` that filters know by the same name (docs/query.md).
_BY_NAME = (
    *("seq", "created_at", "state", "reason", "proposer", "episode", "generation", "base_id"),
    *("generator_version", "formula", "chemical_system", "natoms"),
    *("converged", "max_force", "formation_energy_per_atom_potential"),
    *("energy_above_hull_potential", "hit", "level", "is_metal", "space_group", "control"),
)
#: Further columns, by their paths in the stored document.
_BY_PATH = {
    "energy_decoded": "evaluation.energy",
    "formation_energy_per_atom_decoded": "evaluation.formation_energy_per_atom",
    "formation_energy_per_atom_judged": "verification.formation_energy_per_atom_judged",
    "position": "selection.position",
    "left": "left",
    "smact_cdvae": "screening.prescreen.smact_cdvae",
    "species_codes": "codes.species",
    "crystal_codes": "codes.crystal",
    "relaxed_species_codes": "relaxed_codes.species",
    "relaxed_crystal_codes": "relaxed_codes.crystal",
}
_CODES = tuple(column for column in _BY_PATH if column.endswith("_codes"))
_NUMBERS = (
    *("seq", "episode", "generation", "round", "natoms", "max_force", "space_group", "position"),
    *("formation_energy_per_atom_potential", "energy_above_hull_potential", "energy_decoded"),
    *("formation_energy_per_atom_decoded", "formation_energy_per_atom_judged"),
)
_PATHS = {name: find_field(name).path for name in _BY_NAME} | _BY_PATH
_HEAD = {
    "$map": {
        "input": {
            "$filter": {
                "input": {"$ifNull": ["$predictions", []]},
                "as": "p",
                "cond": {"$eq": ["$$p.model", "head"]},
            }
        },
        "as": "p",
        "in": {
            name: f"$$p.{name}" for name in ("property", "level", "version", "on", "value", "std")
        },
    }
}
_CHUNK = 1000  # ids in one question
_LEFT = {"$arrayElemAt": ["$history.from", -1]}
_EMPTY_CRYSTALS: dict[str, Record] = {}


@dataclass(frozen=True, eq=False)
class CampaignData:
    """One campaign at one moment; frames are not to be changed.

    Attributes:
        name: Of the campaign.
        config: Its settings.
        record: The stored campaign: ``resolved``, ``state``, ``stop_reason``, ``created_at``, ….
        candidates: One row a candidate, in the order of proposal, indexed by ``id``. Columns as
            filters name them: ``seq``, ``state``, ``reason``, ``proposer``, ``episode``,
            ``generation``, ``base_id``, ``formula``, ``chemical_system``, ``natoms``,
            ``converged``, ``max_force`` (eV/Å), ``formation_energy_per_atom_potential`` and
            ``energy_above_hull_potential`` (relaxed, eV/atom), ``hit``, ``level``,
            ``space_group`` (DFT's crystal), ``control``; every property by DFT and by every model
            (``band_gap``, ``band_gap_megnet``, …: NaN where there is none, all of
            `db.property_table.VERIFIED_PROPERTIES` are there); beside these ``round``,
            ``energy_decoded`` (eV of the cell), ``formation_energy_per_atom_decoded`` (eV/atom, by
            the potential, before relaxation), ``formation_energy_per_atom_judged`` (by DFT, what
            the window is held against: corrected where a Hubbard U was used, else DFT's own value),
            ``position`` (in the order of DFT), ``left`` (the state it
            was in before its present one), ``smact_cdvae`` (whether the decoded formula passes
            SMACT by CDVAE's rule), ``species_codes`` and ``crystal_codes`` (tuples; what was
            proposed).
        head: What the property head predicted, one row a prediction: ``id``, ``property``,
            ``level``, ``version`` (of the head), ``on`` ("decoded" or "relaxed"), ``value``,
            ``std``; several versions of the head may have judged one candidate.
        generations: One row a generation of a proposer: ``episode``, ``generation``, ``proposer``,
            ``base_id``, ``round``, ``size`` (candidates that it asked for).
        learning: What learning events said, oldest first: their data and ``at``.
        versions: Versions of the head, oldest first, without weights and lists of labels.
        predictions: What every model predicted of the candidates that DFT was chosen for, one row a
            prediction, in the order made: ``id``, ``property``, ``model``, ``version``, ``level``,
            ``on``, ``in_domain``, ``value``, ``std``.
        crystals: Crystals of the candidates in `sample` and `decoded_sample` and of every candidate
            that DFT was chosen for, by id: ``structure`` (decoded), ``relaxed`` and ``final`` (what
            DFT computed), as `db.crystals` writes them, each only where there is one.
        sample: Ids of at most `SAMPLE` candidates with a relaxed crystal, evenly over the order of
            proposal.
        decoded_sample: The same of all candidates with an energy.
        hulls: What hits compete with, at most `MOST_HULLS` of them; where no hit has a hull, what
            the candidates nearest to it compete with.
        read_at: When the first question was asked, by the clock of the database.
    """

    name: str
    config: CampaignConfig
    record: Mapping[str, Any]
    candidates: pandas.DataFrame
    head: pandas.DataFrame
    generations: pandas.DataFrame
    learning: tuple[Record, ...]
    versions: tuple[Record, ...]
    predictions: pandas.DataFrame
    crystals: Mapping[str, Mapping[str, Record]]
    sample: tuple[str, ...]
    decoded_sample: tuple[str, ...]
    hulls: tuple[CandidateHull, ...]
    read_at: datetime

    def structure(self, candidate_id: str, *kinds: str) -> Structure | None:
        """Return a crystal out of `crystals`.

        Args:
            candidate_id: A candidate.
            kinds: The first of these that there is; none given: relaxed, else decoded.

        Returns:
            The crystal; None where it was not read or there is none.
        """
        from db.crystals import record_to_structure

        known = self.crystals.get(candidate_id, _EMPTY_CRYSTALS)
        for kind in kinds or ("relaxed", "structure"):
            if kind in known:
                return record_to_structure(dict(known[kind]))
        return None


def read_campaign(name: str, *, sample: int = SAMPLE) -> CampaignData:
    """Read a campaign from the connected database, as it is at one moment.

    Args:
        name: Of the campaign.
        sample: Most candidates whose crystals are read, of the relaxed ones and of all.

    Raises:
        db.campaigns.UnknownCampaign: There is none of this name.
        db.snapshot.SnapshotLost: Reading took longer than the server keeps its past.
    """
    config = from_record(campaigns.load(name).config, source=name)
    with Snapshot() as snapshot:
        record = snapshot.one("campaigns", {"_id": name}) or {}
        read_at = server_time()
        generations = _generations(snapshot, name)
        candidates, head = _candidates(snapshot, name)
        relaxed = candidates.index[candidates["formation_energy_per_atom_potential"].notna()]
        chosen = candidates.index[candidates["position"].notna()]
        sampled = _evenly(list(relaxed), sample)
        evaluated = candidates.index[candidates["formation_energy_per_atom_decoded"].notna()]
        decoded = _evenly(list(evaluated), sample)
        learning = tuple(
            {**event["data"], "at": event["at"]}
            for event in snapshot.documents(
                "events", {"campaign": name, "kind": "learning"}, sort=[("at", 1)]
            )
        )
        versions = tuple(
            snapshot.documents(
                "model_versions",
                {"campaign": name, "kind": "property_head"},
                sort=[("created_at", 1), ("_id", 1)],
                projection={"payload": 0, "labels.trained": 0, "labels.gate": 0},
            )
        )
        predictions = _predictions(snapshot, chosen)
        crystals = _crystals(snapshot, {*sampled, *decoded, *chosen})
        hulls = read_hulls(snapshot, choose(candidates, MOST_HULLS))
    _add_rounds(candidates, generations)
    return CampaignData(
        name=name,
        config=config,
        record=record,
        candidates=candidates,
        head=head,
        generations=generations,
        learning=learning,
        versions=versions,
        predictions=predictions,
        crystals=crystals,
        sample=tuple(sampled),
        decoded_sample=tuple(decoded),
        hulls=hulls,
        read_at=read_at,
    )


def _candidates(snapshot: Snapshot, name: str) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Read the table of candidates and that of the head's predictions."""
    import pandas

    from db.property_table import VERIFIED_PROPERTIES

    projection: Record = {**dict.fromkeys(_PATHS.values(), 1), "properties": 1}
    projection |= {"left": _LEFT, "head": _HEAD}
    ids: list[str] = []
    columns: dict[str, list[Any]] = {column: [] for column in _PATHS}
    numbers: dict[str, list[float]] = {column: [] for column in VERIFIED_PROPERTIES}
    head: list[tuple[Any, ...]] = []
    for document in snapshot.documents(
        "candidates", {"campaign": name}, sort=[("seq", 1)], projection=projection
    ):
        ids.append(document["_id"])
        for column, path in _PATHS.items():
            columns[column].append(_at(document, path))
        table = document.get("properties") or {}
        for column in sorted(table.keys() - numbers.keys()):
            numbers[column] = [float("nan")] * (len(ids) - 1)
        for column, values in numbers.items():
            values.append(table.get(column, float("nan")))
        head += ((document["_id"], *(p.get(key) for key in _HEAD_KEYS)) for p in document["head"])
    frame = pandas.DataFrame({**columns, **numbers}, index=pandas.Index(ids, name="id"))
    for column in _NUMBERS:
        if column in frame:
            frame[column] = pandas.to_numeric(frame[column])
    for column in _CODES:
        frame[column] = [_as_tuple(value) for value in frame[column]]
    # Records without a judged value were judged by DFT's own.
    judged = frame["formation_energy_per_atom_judged"]
    frame["formation_energy_per_atom_judged"] = judged.fillna(frame["formation_energy_per_atom"])
    return frame, pandas.DataFrame.from_records(head, columns=["id", *_HEAD_KEYS])


_HEAD_KEYS = ("property", "level", "version", "on", "value", "std")


def _generations(snapshot: Snapshot, name: str) -> pandas.DataFrame:
    import pandas

    found = [
        {
            "episode": one["episode"],
            "generation": one["generation"],
            "proposer": one.get("proposer"),
            "base_id": one.get("base_id"),
            "round": (one.get("info") or {}).get("round"),
            "size": len(one.get("candidate_ids") or []),
        }
        for one in snapshot.documents(
            "generations", {"campaign": name}, sort=[("episode", 1), ("generation", 1)]
        )
    ]
    columns = ["episode", "generation", "proposer", "base_id", "round", "size"]
    return pandas.DataFrame.from_records(found, columns=columns)


def _add_rounds(candidates: pandas.DataFrame, generations: pandas.DataFrame) -> None:
    rounds = generations.set_index(["episode", "generation"])["round"].to_dict()
    places = zip(candidates["episode"], candidates["generation"])
    candidates["round"] = [rounds.get(place) for place in places]


def _predictions(snapshot: Snapshot, ids: Iterable[str]) -> pandas.DataFrame:
    import pandas

    keys = ("property", "model", "version", "level", "on", "in_domain", "value", "std")
    rows = [
        (document["_id"], *(prediction.get(key) for key in keys))
        for document in _named(snapshot, "candidates", ids, ("predictions",))
        for prediction in document.get("predictions") or []
    ]
    return pandas.DataFrame.from_records(rows, columns=["id", *keys])


def _crystals(snapshot: Snapshot, ids: Iterable[str]) -> dict[str, dict[str, Record]]:
    """Read the crystals of some candidates."""
    found: dict[str, dict[str, Record]] = {}
    computed: dict[str, str] = {}
    for document in _named(
        snapshot,
        "candidates",
        ids,
        ("structure", "relaxation.structure", "verification.calculations.compound"),
    ):
        parts = {
            "structure": document.get("structure"),
            "relaxed": _at(document, "relaxation.structure"),
        }
        found[document["_id"]] = {kind: part for kind, part in parts.items() if part}
        if calculation := _at(document, "verification.calculations.compound"):
            computed[document["_id"]] = calculation
    results = {
        document["_id"]: _at(document, "result.structure")
        for document in _named(snapshot, "calculations", computed.values(), ("result.structure",))
    }
    for candidate_id, calculation in computed.items():
        if crystal := results.get(calculation):
            found[candidate_id]["final"] = crystal
    return found


def _named(
    snapshot: Snapshot, collection: str, ids: Iterable[str], fields: Iterable[str]
) -> Iterator[Record]:
    """Read some fields of the documents of some ids."""
    wanted = sorted(set(ids))
    projection = dict.fromkeys(fields, 1)
    for start in range(0, len(wanted), _CHUNK):
        chosen = {"_id": {"$in": wanted[start : start + _CHUNK]}}
        yield from snapshot.documents(collection, chosen, projection=projection)


def _evenly(ids: list[str], most: int) -> list[str]:
    """Choose at most so many, evenly spaced over their order."""
    if len(ids) <= most:
        return ids
    return [ids[place * len(ids) // most] for place in range(most)]


def _at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
