"""``discovery run``: start or continue a campaign with everything it needs on this machine."""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from db import campaigns, candidates, events, queries
from db.connection import Session, connect
from db.documents import Campaign
from db.paths import home_directory
from db.states import State
from discovery.campaign.config import CampaignConfig, ConfigError, differing_keys
from discovery.campaign.loop import CampaignLoop, Tick
from discovery.campaign.overrides import as_options
from discovery.campaign.rounds import BEFORE_SCREENED, UNPLACED
from discovery.workers.processes import QUEUES, Children, launcher_command, worker_command

log = logging.getLogger(__name__)

MOST_WORKERS_WOKEN = 32
"""Workers elsewhere that one hint wakes at most."""

DFT_SHARE = 0.3
"""Of a run's wall time, the most that one calculation may be estimated to take: its core is shared
with the search, and several have to fit."""

LIMITS = ("budget.", "verify.max_core_hours", "follow_up.")
"""Keys that only decide when a campaign ends, and what its hits are asked."""
EXTENDABLE = (*LIMITS, "description", "expected", "paper_funnel")
"""Keys that may change between two runs of one campaign."""
UNFINISHED = (*BEFORE_SCREENED, State.SELECTED, State.VERIFYING)
"""States of candidates that no finished campaign has; `discovery repair` restores them."""


@dataclass(frozen=True)
class RunOptions:
    """What the command line may override.

    Attributes:
        database_uri: MongoDB to use instead of ``$MONGODB_URI`` or the embedded one.
        workers: Worker processes to start here; None: as many as cores; 0: none.
        max_candidates: Overrides ``budget.max_candidates``.
        max_minutes: Overrides ``budget.max_minutes``.
        overrides: Keys of the campaign that were set on the command line and are in the checked
            configuration already (`discovery.campaign.overrides`); recorded with a campaign that
            starts.
    """

    database_uri: str | None = None
    workers: int | None = None
    max_candidates: int | None = None
    max_minutes: float | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


def run_campaign(
    config: CampaignConfig,
    options: RunOptions,
    *,
    announce: Callable[[str], None],
    on_start: Callable[[], None] = lambda: None,
    on_tick: Callable[[Tick], None] = lambda tick: None,
) -> dict[str, Any]:
    """Run a campaign until it is over, the time is over, or it is interrupted.

    Args:
        config: The checked campaign.
        options: Overrides of the command line.
        announce: Called with every choice made at the start.
        on_start: Called once the database is open.
        on_tick: Called after every tick of the loop.

    Returns:
        The campaign's status afterwards, as `discovery.reports.status.status` gives it.

    Raises:
        ConfigError: The campaign exists with another configuration.
        RuntimeError: A part is missing or unsound (the part's own error class); no campaign was
            created then.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the campaign is marked as stopped.
    """
    from discovery.campaign.resolution import describe
    from discovery.reports.status import status
    from model.checkpoint import resolve_checkpoint

    resolve_checkpoint(config.generator)
    with connect(options.database_uri) as session:
        on_start()
        record = _create_or_continue(config, options.overrides)
        server = session.describe()
        announce(f"database: {server['server']} MongoDB {server['version']} at {server['address']}")
        for line in describe(record.resolved):
            announce(line)
        if record.state == "complete" and not _extended(record, config, options):
            announce(f"campaign {config.name} is already complete")
            return status(config.name)
        _lead(config, options, session, record.resolved, announce, on_tick)
        return status(config.name)


def _create_or_continue(
    config: CampaignConfig, overrides: Mapping[str, Any] | None = None
) -> Campaign:
    from discovery.campaign.resolution import resolve

    try:
        record = campaigns.load(config.name)
    except campaigns.UnknownCampaign:
        resolved = resolve(config) | {"overrides": dict(overrides or {})}
        return campaigns.create(
            config.name, config=config.record(), resolved=resolved, seed=config.seed
        )
    _refuse_conflicts(record, config)
    return record


def _refuse_conflicts(record: Campaign, config: CampaignConfig) -> None:
    """Refuse to continue a campaign with other values of what decides about its candidates."""
    changed = [
        key
        for key in differing_keys(_completed(record.config), config.record())
        if not key.startswith(EXTENDABLE)
    ]
    if not changed:
        return
    set_before = {
        key: value
        for key, value in record.resolved.get("overrides", {}).items()
        if any(f"{one}.".startswith(f"{key}.") or key.startswith(f"{one}.") for one in changed)
    }
    repeat = f"repeat {as_options(set_before)}" if set_before else "restore them"
    raise ConfigError(
        f"campaign {config.name} was started with other values of {', '.join(changed)}: {repeat}, "
        "or start a new campaign under another name (name: in the file, or --set name=...)"
    )


def _completed(recorded: dict[str, Any]) -> dict[str, Any]:
    """Fill in the keys that came after a campaign was started, by their defaults.

    Records with keys that are gone stay as they are: the comparison names those keys.
    """
    from pydantic import ValidationError

    try:
        return CampaignConfig.model_validate(recorded).record()
    except ValidationError:
        return recorded


def _extended(record: Campaign, config: CampaignConfig, options: RunOptions) -> bool:
    """Say whether a finished campaign may now do more than it did."""
    keys = differing_keys(_completed(record.config), config.record())
    if any(key.startswith(LIMITS) for key in keys) or _reopened(record):
        return True
    if record.stop_reason != "max_candidates":
        return False
    allowed = options.max_candidates or config.budget.max_candidates
    return allowed is None or allowed > sum(candidates.counts(config.name).values())


def _note_changes(config: CampaignConfig, overrides: Mapping[str, Any], token: int) -> None:
    """Record what a run changes of a campaign's limits, before it does.

    Args:
        config: As the run has it.
        overrides: Keys that were set on its command line.
        token: The lead's token.

    Raises:
        LostLead: Another loop leads the campaign since (`db.campaigns`).
    """
    record = campaigns.load(config.name)
    old, new = _completed(record.config), config.record()
    changes = [
        {"key": key, "old": _value_of(old, key), "new": _value_of(new, key)}
        for key in differing_keys(old, new)
    ]
    if changes:
        events.record(config.name, "config_changed", data={"changes": changes})
    if dict(overrides) != record.resolved.get("overrides", {}):
        resolved = {**record.resolved, "overrides": dict(overrides)}
        campaigns.update(config.name, token=token, resolved=resolved)


def _value_of(record: Mapping[str, Any], key: str) -> Any:
    """Return what a record holds under a dotted key; None where it lacks it."""
    found: Any = record
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _reopened(record: Campaign) -> bool:
    """Say whether a person restored candidates, or calculations of theirs, since it finished."""
    if any(queries.count_state(record.name, state) for state in UNFINISHED):
        return True
    placed = record.resolved.get("hull", {}).get("used", False)
    return bool(placed and queries.count_lacking(record.name, State.SCREENED, UNPLACED))


def _lead(
    config: CampaignConfig,
    options: RunOptions,
    session: Session,
    resolved: dict[str, Any],
    announce: Callable[[str], None],
    on_tick: Callable[[Tick], None],
) -> None:
    from discovery.workers.runtime import Runtime

    environment = {
        "DISCOVERY_DB_URI": session.uri,
        "DISCOVERY_DB_NAME": session.database_name,
        "DISCOVERY_HOME": str(home_directory()),
    }
    minutes = options.max_minutes or config.budget.max_minutes
    workers = available_cores() if options.workers is None else options.workers
    runtime = Runtime(config.name, config=config)
    if workers:
        runtime.load_everything()
    with ExitStack() as stack:
        loop = CampaignLoop(
            runtime,
            session,
            max_candidates=options.max_candidates,
            parallel=workers or MOST_WORKERS_WOKEN,
            announce=announce,
            longest_dft=_longest_dft(config, minutes, workers),
        )
        stack.enter_context(interrupted_by_signals())
        with loop.leadership(partial(_note_changes, config, options.overrides)):
            children = stack.enter_context(Children(environment, home_directory() / "logs"))
            _start_children(children, config, workers, resolved, announce)

            def tick_and_watch(tick: Tick) -> None:
                for name in children.watch():
                    announce(f"{name} died and was started again")
                on_tick(tick)

            loop.run(max_seconds=minutes * 60 if minutes else None, on_tick=tick_and_watch)


def _longest_dft(config: CampaignConfig, minutes: float | None, workers: int) -> float:
    """Return the seconds a calculation may take; infinite where others than this run compute it."""
    if minutes is None or not workers or not config.verify.launchers:
        return math.inf
    return DFT_SHARE * minutes * 60


def _start_children(
    children: Children,
    config: CampaignConfig,
    workers: int,
    resolved: dict[str, Any],
    announce: Callable[[str], None],
) -> None:
    if workers:
        name = f"worker-{os.getpid()}"
        children.start(name, worker_command(QUEUES, workers, name))
        announce(f"workers: {workers} processes on this machine")
    else:
        announce("workers: none here; start `discovery worker --queue ...` on each node")
    if workers and resolved["dft"]["name"] != "none":
        for number in range(config.verify.launchers):
            children.start(f"launcher-{os.getpid()}-{number}", launcher_command())


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGINT even where a shell in the background ignores it, end the block."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def log_folder() -> Path:
    """Return where the workers of this machine write their logs."""
    return Path(home_directory()) / "logs"
