"""Running VASP in a folder under custodian, which corrects what can be corrected."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from custodian import Custodian
from custodian.custodian import (
    CustodianError,
    MaxCorrectionsError,
    MaxCorrectionsPerHandlerError,
    MaxCorrectionsPerJobError,
    ReturnCodeError,
    ValidationError,
)
from custodian.vasp import handlers
from custodian.vasp.jobs import VaspJob
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator

COMMAND = "DISCOVERY_VASP_COMMAND"
"""Variable that holds how VASP is started, for instance ``mpirun -n 16 vasp_std``."""

OUTPUT, ERRORS = "vasp.out", "std_err.txt"
PROCESSES = ("-n", "-np", "--n", "--np", "-ntasks", "--ntasks")
"""Options of mpirun, mpiexec and srun."""

MAX_CORRECTIONS = 5
POLL_SECONDS = 1
MONITOR_EVERY = 60  # polls between two looks at a running calculation
PATIENCE_SECONDS = 10.0
TAIL_LINES = 12
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class VASPUnavailable(RuntimeError):
    """VASP cannot be started on this machine."""


class VASPFailed(RuntimeError):
    """VASP ended without an answer that custodian accepts.

    Args:
        kind: ``scf`` (its corrections are used up), ``output`` (broken or missing files), ``exit``
            (an exit code), or ``vasp`` (an error of VASP that nothing corrects).
        message: What happened.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def vasp_command() -> list[str]:
    """Return the command that starts VASP; it is split into words, and no shell reads it.

    Raises:
        VASPUnavailable: The variable is not set, or its program is not found.
    """
    text = os.environ.get(COMMAND, "").strip()
    if not text:
        raise VASPUnavailable(
            f"{COMMAND} is not set: set it to the command that runs your VASP, for instance "
            f'{COMMAND}="mpirun -n 16 vasp_std"'
        )
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise VASPUnavailable(f"{COMMAND} cannot be split into words ({error}): {text}") from error
    if shutil.which(words[0]) is None:
        raise VASPUnavailable(
            f"{COMMAND} names the program {words[0]}, which is not on PATH or not executable"
        )
    return words


def cores_of(command: list[str]) -> int:
    """Read the number of processes from a command such as ``mpirun -np 16 vasp_std``; else 1."""
    for word, value in zip(command, [*command[1:], ""], strict=True):
        name, joined, number = word.partition("=")
        if name in PROCESSES:
            text = number if joined else value
            if text.isdecimal():
                return int(text)
    return 1


class ContainedVaspJob(VaspJob):
    """A VASP job whose processes stay in the group of this process.

    Custodian's own starts a session, so that a calculation that is stopped for its time, or whose
    launcher dies, would go on for ever.
    """

    def run(self, directory: str = "./") -> subprocess.Popen[bytes]:
        """Start VASP."""
        folder = Path(directory)
        output, errors = (folder / name for name in (self.output_file, self.stderr_file))
        with output.open("wb") as out, errors.open("wb") as err:
            self._vasp_process = subprocess.Popen(
                list(self.vasp_cmd),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=_die_with(os.getpid()),
            )
        return self._vasp_process

    def terminate(self, directory: str = "./") -> None:
        """End VASP and everything it started, for a handler that saw an error while it ran."""
        try:
            top = psutil.Process(self._vasp_process.pid)
            family = [*top.children(recursive=True), top]
        except psutil.NoSuchProcess:
            return
        for process in family:
            _signal(process.terminate)
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        for process in alive:
            _signal(process.kill)


def run(folder: Path, command: list[str]) -> list[dict[str, Any]]:
    """Run VASP on the inputs in a folder until custodian is content.

    Args:
        folder: Holds INCAR, POSCAR, POTCAR and perhaps KPOINTS; custodian's corrections rewrite
            them.
        command: From `vasp_command`.

    Returns:
        The corrections that were made, in order: ``{"errors": [...], "actions": [...]}``.

    Raises:
        VASPFailed: It ended without an answer, with the reason.
    """
    custodian = Custodian(
        _handlers(),
        [ContainedVaspJob(command, OUTPUT, ERRORS, backup=False, auto_gamma=False)],
        validators=[VasprunXMLValidator(OUTPUT, ERRORS), VaspFilesValidator()],
        max_errors=MAX_CORRECTIONS,
        polling_time_step=POLL_SECONDS,
        monitor_freq=MONITOR_EVERY,
        skip_over_errors=True,  # of handlers that miss a file; the log says so
        directory=str(folder),
    )
    try:
        custodian.run()
    except CustodianError as error:
        raise _explained(error, folder, corrections_of(custodian)) from error
    made = corrections_of(custodian)
    unsolved = [one for one in made if not one["actions"]]
    if unsolved:  # custodian only logs an error that a handler does not call fatal
        raise VASPFailed("vasp", f"{_listed(unsolved)}: no correction is left{_tail(folder)}")
    return made


def corrections_of(custodian: Custodian) -> list[dict[str, Any]]:
    """Return what custodian's log holds, as plain JSON values."""
    return [
        {
            "errors": [str(name) for name in one["errors"]],
            "actions": _plain(one["actions"]),
        }
        for job in custodian.run_log
        for one in job["corrections"]
        if not one.get("skipped")
    ]


def _handlers() -> list[Any]:
    """Return the handlers of the Materials Project's static and relaxing runs."""
    return [
        handlers.VaspErrorHandler(OUTPUT),
        handlers.StdErrHandler(ERRORS),
        handlers.MeshSymmetryErrorHandler(OUTPUT),
        handlers.UnconvergedErrorHandler(),
        handlers.NonConvergingErrorHandler(),
        handlers.PotimErrorHandler(),
        handlers.PositiveEnergyErrorHandler(),
        handlers.FrozenJobErrorHandler(OUTPUT),
        handlers.LargeSigmaHandler(),
        handlers.IncorrectSmearingHandler(),
        handlers.KspacingMetalHandler(),
    ]


def _explained(
    error: CustodianError, folder: Path, corrections: list[dict[str, Any]]
) -> VASPFailed:
    tail = _tail(folder)
    if isinstance(
        error, MaxCorrectionsError | MaxCorrectionsPerJobError | MaxCorrectionsPerHandlerError
    ):
        count = len(corrections)
        return VASPFailed("scf", f"{count} corrections did not help: {_listed(corrections)}{tail}")
    if isinstance(error, ValidationError):
        return VASPFailed("output", f"{_broken(folder)}{tail}")
    if isinstance(error, ReturnCodeError):
        return VASPFailed("exit", f"VASP ended with an error code ({error}){tail}")
    unsolved = [one for one in corrections if not one["actions"]]
    kind = "scf" if any("Unconverged" in one["errors"] for one in unsolved) else "vasp"
    return VASPFailed(kind, f"{_listed(corrections)}: no correction is left{tail}")


def _broken(folder: Path) -> str:
    from agents.verify.vasp.results import BrokenOutput, read_vasprun

    missing = [
        name
        for name in ("vasprun.xml", "OUTCAR", "OSZICAR", "CONTCAR")
        if not (folder / name).is_file()
    ]
    if missing:
        return f"VASP left no {', '.join(missing)}"
    try:
        read_vasprun(folder / "vasprun.xml")
    except BrokenOutput as error:
        return str(error)
    return "custodian refuses the outputs"


def _listed(corrections: list[dict[str, Any]]) -> str:
    return ", ".join("+".join(one["errors"]) for one in corrections) or "an error"


def _tail(folder: Path) -> str:
    lines: list[str] = []
    for name in (ERRORS, OUTPUT):
        path = folder / name
        if path.is_file():
            lines += path.read_text(errors="replace").split("\n")[-TAIL_LINES:]
    text = " | ".join(line.strip() for line in lines if line.strip())
    return f"; VASP's last lines: {text}" if text else "; VASP printed nothing"


def _plain(value: Any) -> Any:
    from agents.verify.vasp.results import plain_value

    return plain_value(value)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


def _die_with(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return prepare
