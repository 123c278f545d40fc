"""The interface of a DFT code, and the identity of a calculation."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, cast

from pydantic import BaseModel

from agents.extensions import DFT_CODES, extensions, load_extension
from agents.verify.settings import VerifySettings
from agents.verify.setup.presets import DFTSettings, preset
from agents.verify.tasks import Task, relative_cost

if TYPE_CHECKING:
    from pymatgen.core import Structure


class Availability(NamedTuple):
    """Whether a code can be used on this machine, and what to do if not."""

    ok: bool
    reason: str


class BackendUnavailable(RuntimeError):
    """A DFT code was asked for by name but cannot be used on this machine."""


class LevelSettings(Protocol):
    """What every code's settings of a level of theory have in common."""

    @property
    def preset(self) -> str:
        """Name of the set they are."""

    @property
    def xc(self) -> str:
        """The functional."""

    @property
    def data_sets(self) -> str:
        """Name and version of the data sets or tables that they rest on."""

    @property
    def symprec(self) -> float:
        """Tolerance of the symmetrised input cell, Å."""

    @property
    def max_displacement(self) -> float:
        """Symmetrising moves no atom further than this, Å."""

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as hashed and stored."""


S = TypeVar("S", bound=LevelSettings)


class DFTBackend(ABC, Generic[S]):
    """A DFT code that turns a crystal into total energy and band gap.

    The life of a backend: the campaign resolves ``auto`` to a backend once and writes its name,
    version and level into the campaign record (``available``, ``settings``, ``level``). At each
    choice of candidates ``unsupported`` and ``estimate_core_seconds`` are asked for every crystal
    of the pool and every missing elemental reference (``reference``): they must be cheap and must
    not run the code. A chosen calculation is identified by ``calculation_spec`` and run later, in
    another process and maybe on another machine: there only ``command`` is called, and the
    process it names reads one JSON file and writes another, atomically.

    A backend holds no state. It never touches the database, and it never changes its answer for
    the same crystal, settings and version, because calculations are cached by their hash for ever.
    """

    name: str
    computes_slabs: ClassVar[bool] = False
    """Whether it obeys the option ``vacuum`` (`agents.verify.tasks`); campaigns of slabs ask."""
    settings_type: ClassVar[type[BaseModel]] = DFTSettings
    """Class of its settings."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Version of the code and whatever else of it changes results."""

    @property
    def cores(self) -> int:
        """Cores that one calculation uses; wall time times this is what it costs."""
        return 1

    @abstractmethod
    def available(self) -> Availability:
        """Say whether calculations can be run here; called before a campaign starts."""

    @abstractmethod
    def unsupported(self, elements: Iterable[str], settings: S) -> str | None:
        """Say why crystals with these elements cannot be computed; None where they can be."""

    @abstractmethod
    def estimate_core_seconds(self, structure: Structure, settings: S) -> float:
        """Estimate the cost of energy and gap on one core, s; infinite where unsupported."""

    def estimate_task(
        self, structure: Structure, settings: S, task: Task, options: Mapping[str, Any]
    ) -> float:
        """Estimate the cost of a task on one core, s; infinite where unsupported.

        Args:
            structure: The crystal it starts from.
            settings: The level of theory.
            task: What is computed.
            options: The task's options, complete.
        """
        return self.estimate_core_seconds(structure, settings) * relative_cost(task, options)

    @abstractmethod
    def reference(self, element: str) -> Structure:
        """Return the reference phase of an element; gases are molecules in a box.

        Raises:
            ValueError: There is none for this element.
        """

    @abstractmethod
    def command(self, input_file: Path, output_file: Path) -> list[str]:
        """Return the command that runs the calculation described by ``input_file``.

        Called in the launcher, just before the process is started. The process writes
        ``output_file`` only when it has an answer: a result, or an error it can explain.
        """

    def write_inputs(self, document: Mapping[str, Any], folder: Path) -> None:
        """Write what a calculation would start from, for a person to look at; nothing is run.

        Args:
            document: The runner's input (`agents.verify.tasks`).
            folder: Is made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "input.json").write_text(json.dumps(document, indent=1) + "\n")

    def settings(self, name: str) -> S:
        """Return the settings of a preset.

        Raises:
            ValueError: There is none of that name.
        """
        return cast("S", preset(name))

    def read_settings(self, record: Mapping[str, Any]) -> S:
        """Return the settings that a record holds."""
        return cast("S", self.settings_type.model_validate(record))

    def calculation_settings(self, elements: Iterable[str], settings: S) -> S:
        """Return the settings of one calculation: the level's, and what its elements decide.

        They are part of the calculation's identity; the level's name comes from ``settings``.

        Args:
            elements: Symbols of the crystal's elements.
            settings: The level of theory.
        """
        return settings

    def level(self, settings: S) -> str:
        """Name the level of theory, for instance ``gpaw-26.7.0-pbe-fast-1a2b3c4d``.

        The last part is of the settings' hash: two levels of one name are one level.
        """
        text = json.dumps(settings.record(), sort_keys=True)
        digits = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{self.name}-{self.version}-{settings.xc.lower()}-{settings.preset}-{digits}"


def resolve_backend(settings: VerifySettings) -> dict[str, Any]:
    """Decide which code a campaign verifies with, once, at its start.

    Args:
        settings: The campaign's settings.

    Returns:
        ``name``, ``version``, ``level``, ``settings`` and ``reason``; for "none" only ``name`` and
        ``reason``.

    Raises:
        BackendUnavailable: The code that was asked for cannot be used here.
    """
    if settings.backend == "none":
        return {"name": "none", "reason": "the campaign asks for none"}
    chosen = load_backend("gpaw" if settings.backend == "auto" else settings.backend)
    available = chosen.available()
    if not available.ok:
        if settings.backend == "auto":
            return {"name": "none", "reason": available.reason}
        raise BackendUnavailable(
            f"verify.backend is {settings.backend}, but {available.reason}; to go on without DFT, "
            'set verify.backend to "none"'
        )
    if settings.slab_vacuum is not None and not chosen.computes_slabs:
        raise BackendUnavailable(
            f"the campaign's candidates are slabs, which {chosen.name} would compute as bulk "
            'crystals: set verify.backend to gpaw, vasp or "none"'
        )
    dft = chosen.settings(settings.preset)
    return {
        "name": chosen.name,
        "version": chosen.version,
        "level": chosen.level(dft),
        "settings": dft.record(),
        "reason": available.reason,
    }


def check_recorded(backend: DFTBackend[S], resolved: Mapping[str, Any]) -> S:
    """Make sure that a campaign goes on at the level of theory that it started at.

    Args:
        backend: The code, as installed here.
        resolved: What `resolve_backend` decided at the campaign's start.

    Returns:
        The recorded settings.

    Raises:
        BackendUnavailable: The code is missing, or it is not what the campaign started with.
    """
    available = backend.available()
    if not available.ok:
        raise BackendUnavailable(
            f"the campaign verifies with {resolved['level']}, but {available.reason}: install it"
        )
    recorded = backend.read_settings(resolved["settings"])
    installed = backend.settings(recorded.preset).data_sets
    here = backend.read_settings({**recorded.record(), "data_sets": installed})
    if backend.level(here) != resolved["level"]:
        raise BackendUnavailable(
            f"the campaign verifies with {resolved['level']} "
            f"({recorded.data_sets or 'no data sets'}), but here is "
            f"{backend.level(here)} ({here.data_sets or 'no data sets'}): install "
            "the recorded version, or start another campaign, for energies of two levels cannot "
            "be mixed"
        )
    return recorded


def load_backend(name: str) -> DFTBackend[Any]:
    """Return the backend of a name, available or not.

    Args:
        name: "gpaw", "vasp", or what an installed package brings (`agents.extensions`).

    Raises:
        ValueError: There is none of that name.
    """
    if name == "gpaw":
        from agents.verify.gpaw.backend import GPAWBackend

        return GPAWBackend()
    if name == "vasp":
        from agents.verify.vasp.backend import VASPBackend

        return VASPBackend()
    brought = load_extension(DFT_CODES, name)
    if brought is not None:
        backend: DFTBackend[Any] = brought()
        return backend
    raise ValueError(f"no DFT backend named {name!r}: choose one of {', '.join(dft_codes())}")


def dft_codes() -> list[str]:
    """Return the names of all codes, those of installed packages last."""
    return ["gpaw", "vasp", *extensions(DFT_CODES)]
