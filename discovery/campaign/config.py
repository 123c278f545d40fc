"""Campaign files: what a person may write, checked before anything starts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agents.follow_up.settings import FollowUpSettings
from agents.learn.settings import LearnSettings
from agents.propose.settings import ProposeSettings
from agents.relax.hull_settings import HullSettings
from agents.relax.settings import RelaxSettings
from agents.screen.settings import ScreenSettings
from agents.slab import DFT_VACUUM
from agents.targets import Window
from agents.verify.settings import VerifySettings
from discovery.reports.paper import Name as PaperFunnelName
from discovery.workers.limits import LONGEST_LEASE_SECONDS, VISIBILITY_SECONDS
from model.yaml_files import UnreadableYAML, read_yaml, read_yaml_file

MOST_FAULTS = 20
"""Faults of one file that are named."""


class ConfigError(ValueError):
    """A campaign file that cannot be used; the text names the key, the value and the fix."""

    exit_code = 2


class Budget(BaseModel):
    """When the campaign ends; whatever is reached first.

    Args:
        rounds: How often every proposer is asked.
        max_candidates: Most candidates proposed.
        max_minutes: Wall time of one ``discovery run``; the next run continues.
        max_hits: Verified hits after which nothing more is proposed or submitted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(default=1, ge=1)
    max_candidates: int | None = Field(default=None, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    max_hits: int | None = Field(default=None, ge=1)


class CampaignConfig(BaseModel):
    """One campaign, composed of the settings of its agents.

    Args:
        name: Of the campaign, in every record; lower-case letters, digits and ``._-``.
        description: What it looks for, for people.
        expected: What it takes and gives, for people.
        paper_funnel: The paper's campaign that `discovery status` shows this one beside; it changes
            nothing else.
        seed: Of every random number; the same seed and the same results give the same proposals.
        generator: Name or folder of a checkpoint: what decodes codes to crystals.
        dimensionality: 2 says that every candidate is a slab, one layer with its vacuum along c
            (`agents.slab`): docs/two-dimensional.md.
        targets: The property windows that make a hit.
        budget: When the campaign ends.
        propose: Who proposes, and what is minimised.
        relax: How crystals are evaluated, relaxed and accepted.
        hull: Distance to the hull of the same potential.
        screen: Rules, models and duplicates.
        verify: DFT, and which candidates get it.
        follow_up: What hits are asked afterwards.
        learn: When the property head learns, and what it has to show.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    description: str = ""
    expected: str = ""
    paper_funnel: PaperFunnelName | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    generator: str
    dimensionality: Literal[2, 3] = 3
    targets: tuple[Window, ...] = Field(min_length=1)
    budget: Budget = Budget()
    propose: ProposeSettings
    relax: RelaxSettings = RelaxSettings()
    hull: HullSettings = HullSettings()
    screen: ScreenSettings = ScreenSettings()
    verify: VerifySettings = VerifySettings()
    follow_up: FollowUpSettings = FollowUpSettings()
    learn: LearnSettings = LearnSettings()

    @model_validator(mode="before")
    @classmethod
    def _tell_the_agents(cls, content: Any) -> Any:
        """Hand what concerns several agents to each of them: it is written once."""
        if not isinstance(content, dict):
            return content
        told: dict[str, dict[str, Any]] = {"screen": {}, "relax": {}, "verify": {}}
        if content.get("dimensionality") == 2:
            told["screen"]["dimensionality"] = 2
            told["relax"]["in_plane"] = True
            told["verify"]["slab_vacuum"] = DFT_VACUUM
        screen = content.get("screen")
        if isinstance(screen, dict) and "counted_out_of_domain" in screen:
            told["verify"]["counted_out_of_domain"] = screen["counted_out_of_domain"]
        spread = dict(content)
        for agent, values in told.items():
            written = content.get(agent, {})
            if values and isinstance(written, dict):
                spread[agent] = values | written
        return spread

    @model_validator(mode="after")
    def _refuse_half_a_slab(self) -> Self:
        """One agent that takes a slab for a bulk crystal spoils what the others do."""
        flat = self.dimensionality == 2
        for key, value in {
            "screen.dimensionality": self.screen.dimensionality == 2,
            "relax.in_plane": self.relax.in_plane,
            "verify.slab_vacuum": self.verify.slab_vacuum is not None,
        }.items():
            if value != flat:
                raise ValueError(
                    f"dimensionality is {self.dimensionality}, but {key} says otherwise: leave "
                    f"{key} out"
                )
        return self

    @model_validator(mode="after")
    def _refuse_undecidable_targets(self) -> Self:
        names = [window.property for window in self.targets]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"targets has two windows of {', '.join(repeated)}: give one with min and max"
            )
        if "energy_above_hull" in names:
            raise ValueError(
                "targets names energy_above_hull, which means that of DFT, and no agent computes "
                "it: for the potential's set hull.energy_above_hull_max"
            )
        return self

    @model_validator(mode="after")
    def _refuse_hull_under_pressure(self) -> Self:
        if self.hull.reference is not None and self.relax.pressure != 0:
            raise ValueError(
                f"hull.reference is {self.hull.reference}, but the hull is one of energies at zero "
                f"pressure and relax.pressure is {self.relax.pressure:g} GPa: set hull.reference "
                "to null"
            )
        if self.follow_up.hull and self.relax.pressure != 0:
            raise ValueError(
                "follow_up.hull is on, but the hull is one of energies at zero pressure and "
                f"relax.pressure is {self.relax.pressure:g} GPa: set follow_up.hull to false"
            )
        return self

    @model_validator(mode="after")
    def _refuse_leases_longer_than_tasks(self) -> Self:
        for key, seconds in {
            "relax.lease_seconds": self.relax.lease_seconds,
            "screen.lease_seconds": self.screen.lease_seconds,
        }.items():
            if seconds > LONGEST_LEASE_SECONDS:
                raise ValueError(
                    f"{key} is {seconds}, but no task lasts longer than {LONGEST_LEASE_SECONDS} s "
                    f"and its message is delivered again after {VISIBILITY_SECONDS} s: leases are "
                    "renewed while a worker lives, so make it shorter"
                )
        return self

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as written into the campaign's record."""
        return self.model_dump(mode="json")


def shipped_campaigns() -> list[str]:
    """Return the names of the campaigns that come with the package, sorted."""
    folder = resources.files("configs") / "campaigns"
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def load_campaign(name_or_file: str) -> CampaignConfig:
    """Read a campaign by its shipped name or from a YAML file.

    Args:
        name_or_file: ``quickstart`` or a path ending in .yaml or .yml.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: Unknown name, unreadable file, unknown key, impossible value.
    """
    if name_or_file.endswith((".yaml", ".yml")):
        path = Path(name_or_file)
        if not path.is_file():
            raise ConfigError(f"there is no campaign file {path}")
        try:
            content = read_yaml_file(path)
        except UnreadableYAML as error:
            raise ConfigError(f"campaign {path}: {error}") from error
        return from_record(content, source=str(path))
    known = shipped_campaigns()
    if name_or_file not in known:
        raise ConfigError(_unknown(name_or_file, known))
    return _shipped(name_or_file)


def _shipped(name: str) -> CampaignConfig:
    resource = resources.files("configs") / "campaigns" / f"{name}.yaml"
    return parse_campaign(resource.read_text(encoding="utf-8"), source=name)


def _unknown(name: str, known: Sequence[str]) -> str:
    """Say that no campaign has this name, which ones are near, and what each of them is."""
    alike = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.5)
    near = [*alike, *(one for one in known if name.lower() in one and one not in alike)]
    guess = f" Did you mean {' or '.join(near)}?" if name and near else ""
    listed = "; ".join(f"{one} ({_shipped(one).description})" for one in known)
    return (
        f"unknown campaign {name!r:.60}.{guess} Shipped are {listed}. Or give the path of a .yaml "
        "file."
    )


def parse_campaign(text: str, *, source: str) -> CampaignConfig:
    """Check the text of a campaign file.

    Args:
        text: YAML.
        source: What to call it in an error.

    Raises:
        ConfigError: It is no YAML mapping, or a key or value is wrong.
    """
    try:
        content = read_yaml(text)
    except UnreadableYAML as error:
        raise ConfigError(f"campaign {source}: {error}") from error
    return from_record(content, source=source)


def from_record(content: Mapping[str, Any], *, source: str) -> CampaignConfig:
    """Check plain values, from a file or from a campaign's record.

    Raises:
        ConfigError: A key or value is wrong; every fault is named in one sentence.
    """
    try:
        return CampaignConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"campaign {source}: {_faults(error)}") from error


def _faults(error: ValidationError) -> str:
    faults = error.errors()
    sentences = []
    for fault in faults[:MOST_FAULTS]:
        key = ".".join(f"{part!s:.60}" for part in fault["loc"]) or "(top level)"
        if fault["type"] == "extra_forbidden":
            known = _keys_beside(fault["loc"])
            near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
            advice = f"did you mean {near[0]}?" if near else "remove it"
            sentences.append(f"unknown key {key}: {advice}")
        elif fault["type"] == "missing":
            sentences.append(f"the key {key} is missing")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            shown = "" if isinstance(fault["input"], dict) else f" (got {fault['input']!r:.60})"
            sentences.append(f"{key}: {message}{shown}")
    if len(faults) > MOST_FAULTS:
        sentences.append(f"and {len(faults) - MOST_FAULTS} more faults")
    return "; ".join(sentences)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: Any = CampaignConfig
    for part in location[:-1]:
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            return []
        model = fields[part].annotation
    return list(getattr(model, "model_fields", {}))


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name the dotted keys whose values differ between two records."""
    keys = []
    for key in sorted(set(old) | set(new)):
        left, right = old.get(key), new.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys += differing_keys(left, right, f"{prefix}{key}.")
        elif left != right:
            keys.append(f"{prefix}{key}")
    return keys
