"""What one worker process needs for a campaign, each part loaded once and only when used."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from db import campaigns
from db.connection import connect_worker
from db.owners import owner_name
from discovery.campaign.config import CampaignConfig, from_record

if TYPE_CHECKING:
    from agents.follow_up.settings import FollowUpSettings
    from agents.relax.hull_settings import HullSettings
    from agents.relax.phases import Geometry
    from agents.stage import Stage

log = logging.getLogger(__name__)


MOST_RUNTIMES = 4
"""Campaigns whose models one process holds."""
_RUNTIMES: dict[str, Runtime] = {}
CHOSEN_AT_THE_START = (
    *("generator", "potential", "references", "screen_models", "known_crystals"),
    *("training_crystals", "own_bases"),
)
"""Parts that the record's ``resolved`` decides, whatever the campaign's file says later."""


class VersionChanged(RuntimeError):
    """A part on this machine is not the one the campaign was started with."""


class Runtime:
    """The parts of one campaign in one process.

    Args:
        campaign: Name of the campaign; its record must exist.
        device: Overrides the torch device of the potential, for instance ``cuda:0``.
        config: What the campaign's file says now; it differs from the record where limits were
            raised, and whoever leads the campaign writes it there.
    """

    def __init__(
        self, campaign: str, device: str | None = None, config: CampaignConfig | None = None
    ) -> None:
        record = campaigns.load(campaign)
        self.campaign = campaign
        self._recorded = dict(record.config)
        self.config = config or from_record(record.config, source=campaign)
        self.resolved: dict[str, Any] = record.resolved
        self._chosen = _chosen(record.resolved)
        self._device = device
        self.device = device or self.resolved["potential"]["device"]
        self.owner = owner_name()

    @cached_property
    def generator(self) -> Any:
        """The generator, refused if its version is not the recorded one."""
        from model.generator import Generator

        generator = Generator.load(self.config.generator)
        self._check("generator", self.resolved["generator"]["version"], generator.version)
        self._check("property head", self.resolved["generator"]["head"], generator.head.version)
        return generator

    @cached_property
    def potential(self) -> Any:
        """The potential, past its sanity gate."""
        from agents.relax.potential import load_potential

        potential = load_potential(self.resolved["potential"]["name"], device=self.device)
        self._check("potential", self.resolved["potential"]["level"], potential.level)
        return potential

    @cached_property
    def references(self) -> Any:
        """Elemental reference energies of the potential."""
        from agents.relax.references import ElementalReferences

        references = ElementalReferences.load(self.potential)
        self._check("reference table", self.resolved["potential"]["references"], references.digest)
        return references

    @cached_property
    def second_potential(self) -> Any:
        """The potential that must agree on what was relaxed, or None."""
        from agents.relax.agreement import SecondPotential
        from agents.relax.potential import load_potential
        from agents.relax.references import ElementalReferences

        resolved = self.resolved.get("second_potential")
        if resolved is None:
            return None
        potential = load_potential(resolved["name"], device=self.device)
        self._check("second potential", resolved["level"], potential.level)
        references = ElementalReferences.load(potential)
        self._check("second reference table", resolved["references"], references.digest)
        difference = self.config.relax.second_potential_max_difference
        return SecondPotential(potential, references, difference)

    @cached_property
    def own_bases(self) -> list[Any]:
        """Base crystals from a person's files, as they were encoded at the start."""
        from agents.propose.own_bases import OwnBase

        return [OwnBase.from_record(record) for record in self.resolved.get("bases", [])]

    @cached_property
    def is_known(self) -> Any:
        """Whether the campaign's reference collection has a reduced formula; None without one."""
        from pymatgen.core import Composition

        from db.reference_structures import of_systems

        if not self.has("hull"):
            return None
        name = self.resolved["hull"]["name"]

        def is_known(formula: str) -> bool:
            system = Composition(formula).chemical_system
            return formula in {known for _, known, _ in of_systems(name, [system])}

        return is_known

    def is_excluded(self, formula: str) -> bool:
        """Say whether the campaign's rules exclude a formula."""
        from agents.screen.validity import excludes

        return excludes(self.config.screen, formula)

    @cached_property
    def screen_models(self) -> Any:
        """The property models that the campaign was started with."""
        from agents.screen.models import load_models

        return load_models(self.resolved["screens"])

    @cached_property
    def known_crystals(self) -> list[Any]:
        """Collections that every relaxed candidate is compared with."""
        from agents.screen.references_mongo import SLABS, MongoReference
        from agents.slab import MATCHING_VACUUM

        chosen = [one for one in self.resolved.get("references", []) if one["used"]]
        opened = []
        for one in chosen:
            flat = self.slabs or one["name"] == SLABS
            found = MongoReference(one["name"], vacuum=MATCHING_VACUUM if flat else None)
            self._check(f"reference collection {one['name']}", one["checksum"], str(found.checksum))
            opened.append(found)
        return opened

    @cached_property
    def training_crystals(self) -> Any:
        """The generator's bank, which is what it was trained on."""
        from agents.screen.references import training_reference
        from agents.slab import MATCHING_VACUUM

        return training_reference(self.generator, MATCHING_VACUUM if self.slabs else None)

    @property
    def slabs(self) -> bool:
        """Whether the candidates are slabs, which get one vacuum before they are compared."""
        return self.config.dimensionality == 2

    @cached_property
    def phases(self) -> Any:
        """Competing phases of the reference collection that the campaign was started with."""
        from agents.relax.phases import Geometry

        return self._phases(Geometry.RELAXED, self.config.hull)

    @cached_property
    def single_point_hulls(self) -> Any:
        """Hulls of unrelaxed phases, where the search minimises the distance to them; else None."""
        from agents.relax.phases import Geometry
        from agents.relax.single_point_hulls import SMALL_ATOMS, SinglePointHulls

        if self.config.propose.fitness.kind != "above_hull":
            return None
        hull = self.config.hull
        most = SMALL_ATOMS if hull.max_atoms is None else min(hull.max_atoms, SMALL_ATOMS)
        small = hull.model_copy(update={"max_atoms": most})
        return SinglePointHulls(
            self._phases(Geometry.SINGLE_POINT, small), self._phases(Geometry.SINGLE_POINT, hull)
        )

    def _phases(self, geometry: Geometry, hull: HullSettings) -> Any:
        from agents.relax.phases_mongo import MongoPhases
        from db import reference_collections

        name = self.resolved["hull"]["name"]
        found = reference_collections.load(name)
        recorded = self.resolved["hull"]["checksum"]
        self._check("reference collection", recorded, found["checksum"])
        return MongoPhases(
            self.potential,
            self.references,
            collection=name,
            relax=self.config.relax,
            hull=hull,
            geometry=geometry,
        )

    @cached_property
    def follow_up(self) -> FollowUpSettings:
        """The settings of the follow-up, with what was decided where they say ``auto``."""
        settings = self.config.follow_up
        if settings.hull != "auto":
            return settings
        used = "name" in self.resolved.get("follow_up", {})
        return settings.model_copy(update={"hull": used})

    @cached_property
    def follow_up_phases(self) -> Any:
        """Reference crystals, with single points, of which DFT hulls are made; None without."""
        if not self.follow_up.hull:
            return None
        from agents.relax.phases import Geometry
        from agents.relax.phases_mongo import MongoPhases
        from db import reference_collections

        name = self.config.follow_up.hull_reference
        recorded = self.resolved.get("follow_up", {}).get("checksum")
        if recorded is not None:
            found = reference_collections.load(name)
            self._check("reference collection of the follow-up", recorded, found["checksum"])
        return MongoPhases(
            self.potential,
            self.references,
            collection=name,
            relax=self.config.relax,
            hull=self.config.hull,
            geometry=Geometry.SINGLE_POINT,
        )

    def renewed(self) -> Runtime:
        """Return the runtime of the campaign as it is recorded now: this one, if nothing changed.

        Limits may be raised while workers run. The parts that were chosen at the campaign's start
        are taken over, for they cannot change.
        """
        record = campaigns.load(self.campaign)
        if dict(record.config) == self._recorded and _chosen(record.resolved) == self._chosen:
            return self
        log.info("%s was changed since it was read", self.campaign)
        fresh = Runtime(self.campaign, device=self._device)
        if fresh._chosen == self._chosen:
            kept = [part for part in CHOSEN_AT_THE_START if part in self.__dict__]
            fresh.__dict__.update({part: self.__dict__[part] for part in kept})
        return fresh

    def has(self, name: str) -> bool:
        """Say whether the campaign has a stage; those of hull and follow-up may be left out."""
        if name == "stability":
            return self.config.follow_up.max_hits > 0
        return name != "hull" or bool(self.resolved.get("hull", {}).get("used"))

    def load_everything(self) -> None:
        """Load every part now, so that one that is missing here is noticed before work starts."""
        parts = (
            self.generator,
            self.potential,
            self.second_potential,
            self.references,
            self.screen_models,
            self.known_crystals,
        )
        for part in parts:
            log.debug("loaded %s", type(part).__name__)

    def stage(self, name: str) -> Stage:
        """Build a stage; its models are shared by all of this process.

        Args:
            name: ``evaluate``, ``prescreen``, ``relax``, ``screen``, ``hull`` or ``stability``.
        """
        from discovery.workers.stages import STAGES

        return STAGES[name](self)

    def _check(self, part: str, recorded: str, found: str) -> None:
        if recorded != found:
            raise VersionChanged(
                f"campaign {self.campaign} was started with {part} {recorded}, but this machine "
                f"has {found}: install the recorded one or start a campaign with another name"
            )


def _chosen(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was decided at the campaign's start, and never changes."""
    return {key: value for key, value in resolved.items() if key != "overrides"}


def runtime(campaign: str) -> Runtime:
    """Return this process's runtime of a campaign, as it is recorded now.

    The database, to which this process is connected at its first use, and its name come from
    ``$DISCOVERY_DB_URI`` and ``$DISCOVERY_DB_NAME``, which whoever started this worker has set.
    """
    _connected()
    known = _RUNTIMES.pop(campaign, None)
    found = known.renewed() if known else Runtime(campaign, os.environ.get("DISCOVERY_DEVICE"))
    _RUNTIMES[campaign] = found  # the last one used is the last to go
    while len(_RUNTIMES) > MOST_RUNTIMES:
        del _RUNTIMES[next(iter(_RUNTIMES))]
    return found


@cache
def _connected() -> None:
    """Connect this process, once."""
    connect_worker(os.environ["DISCOVERY_DB_URI"], os.environ["DISCOVERY_DB_NAME"])
