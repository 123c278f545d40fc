"""FireWorks' own launchers and Slurm's queue, with the files of ``configs/fireworks``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter
from pymatgen.core import Lattice, Structure

import configs
from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.identity import calculation_spec
from agents.verify.queue.launchpad import launchpad
from agents.verify.queue.recovery import recover
from agents.verify.settings import VerifySettings
from agents.verify.submission import Submission
from agents.verify.workflow import walltime
from db.connection import Session

FILES = Path(configs.__file__).parent / "fireworks"
SBATCH = """#!/bin/bash
cp "$1" {folder}/submitted.sh
bash "$1" > {folder}/job.out 2>&1
echo "Submitted batch job 4711"
"""


@pytest.fixture
def cluster(database: Session, tmp_path: Path) -> Path:
    """The files as a person fills them in, and an ``sbatch`` that runs the job at once."""
    values = {"FOLDER": str(tmp_path), "URI": database.uri, "DATABASE": database.database_name}
    for path in FILES.iterdir():
        text = path.read_text()
        if path.suffix == ".yaml":
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            text = "\n".join(lines)
            for name, value in values.items():
                text = text.replace(name, value)
        (tmp_path / path.name).write_text(text)
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH.format(folder=tmp_path))
    sbatch.chmod(0o755)
    (tmp_path / "bin" / "squeue").symlink_to("/bin/true")
    return tmp_path


def run(cluster: Path, *command: str) -> subprocess.CompletedProcess[str]:
    folder = Path(sys.executable).parent
    return subprocess.run(
        [str(folder / command[0]), *command[1:]],
        cwd=cluster,
        env=environment(cluster),
        capture_output=True,
        text=True,
        timeout=240,
    )


def environment(cluster: Path) -> dict[str, str]:
    path = f"{cluster / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "FW_CONFIG_FILE": str(cluster / "FW_config.yaml")}


@pytest.fixture
def queue(database: Session) -> Submission:
    gpaw = GPAWBackend()
    settings = VerifySettings(relax=True, separate_gap=True, nice=0, timeout_seconds=90.0)
    return Submission(launchpad(database), gpaw, gpaw.settings("fast"), settings)


def queued(queue: Submission, task: str, **settings: Any) -> int:
    """Queue a calculation that GPAW cannot do, so that it answers at once.

    Returns:
        Its Firework.
    """
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.47), ["Si"], [[0, 0, 0]])
    level = queue.dft.model_copy(update={"setups": "absent", **settings})
    spec = calculation_spec(queue.backend, silicon, level, kind="compound", task=task)
    found = queue.pad.fireworks.find_one({"spec.hash": queue.queue(spec)})
    return int(found["fw_id"])


def reserve(cluster: Path) -> None:
    """Submit one job for one calculation, as ``--reserve`` wants it."""
    adapter = cluster / "my_qadapter.yaml"
    adapter.write_text(adapter.read_text().replace("rlaunch rapidfire", "rlaunch singleshot"))
    ended = run(cluster, "qlaunch", "--reserve", "singleshot")
    assert ended.returncode == 0, ended.stderr


def state(queue: Submission, fw_id: int) -> str:
    return str(queue.pad.fireworks.find_one({"fw_id": fw_id})["state"])


def test_job_script_is_what_slurm_and_the_shell_understand(cluster: Path) -> None:
    script = CommonAdapter.from_file(str(cluster / "my_qadapter.yaml")).get_script_str("/scratch/x")
    assert "$$" not in script
    options = [line.split()[1] for line in script.splitlines() if line.startswith("#SBATCH")]
    assert options == [
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=1",
        "--mem-per-cpu=4G",
        "--time=04:00:00",
        "--job-name=discovery-dft",
        "--output=discovery-dft-%j.out",
        "--signal=B:INT@60",
    ]
    assert "cd /scratch/x\n" in script
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_walltime_covers_every_attempt() -> None:
    assert walltime(180.0) == "00:13:00"
    assert walltime(4 * 3600.0) == "04:10:00"


@pytest.mark.campaign
def test_job_of_the_queue_runs_only_calculations_of_its_category(
    cluster: Path, queue: Submission
) -> None:
    relax, static = queued(queue, "relax"), queued(queue, "static")
    ended = run(cluster, "qlaunch", "singleshot")
    assert ended.returncode == 0, ended.stderr
    assert "#SBATCH --time=04:00:00" in (cluster / "submitted.sh").read_text()
    assert state(queue, static) == "COMPLETED", (cluster / "job.out").read_text()
    assert state(queue, relax) == "READY"
    launch = queue.pad.launches.find_one({"fw_id": static})
    assert launch["fworker"]["name"] == "cluster-small"
    stored = launch["action"]["stored_data"]
    assert "absent" in stored["error"]["log_tail"]
    assert stored["outputs"]["files"]


@pytest.mark.campaign
def test_reserved_job_asks_for_the_time_that_its_attempts_need(
    cluster: Path, queue: Submission
) -> None:
    static = queued(queue, "static")
    reserve(cluster)
    script = (cluster / "submitted.sh").read_text()
    assert f"#SBATCH --time={walltime(4 * 90.0)}" in script
    assert f"--fw_id {static}" in script


@pytest.mark.campaign
def test_calculation_reserved_for_a_waiting_job_is_left_to_it(
    cluster: Path, queue: Submission
) -> None:
    (cluster / "bin" / "sbatch").write_text("#!/bin/bash\necho Submitted batch job 4711\n")
    static = queued(queue, "static")
    reserve(cluster)
    assert state(queue, static) == "RESERVED"
    long_ago = {"$set": {"updated_on": "2026-01-01T00:00:00", "spec.lost_seconds": 0.0}}
    queue.pad.fireworks.update_one({"fw_id": static}, long_ago)
    recover(queue.pad)
    assert state(queue, static) == "RESERVED"


@pytest.mark.campaign
def test_interrupted_launcher_gives_its_calculation_back(cluster: Path, queue: Submission) -> None:
    static = queued(queue, "static", setups="paw", element_k_density=40.0)  # takes hours
    following = queued(queue, "static")
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "rlaunch"), "rapidfire"],
        cwd=cluster,
        env=environment(cluster),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(cluster.glob("launcher_*/attempt-1/stdout.log")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert state(queue, following) == "READY"
    assert recover(queue.pad) == [static]
    assert state(queue, static) == "READY"
