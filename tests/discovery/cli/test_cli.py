"""The command line: light at start-up, clear when used wrongly, and nothing is written then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "pymatgen", "chgnet", "optuna", "fireworks", "mongoengine", "celery", "gpaw")


def discovery(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("MONGODB_URI", "DISCOVERY_HOME", "MONGOD", "DISCOVERY_BROKER")
    }
    return subprocess.run(
        [sys.executable, "-m", "discovery", *arguments],
        cwd=cwd,
        env={**kept, "COLUMNS": "200", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['discovery', '--help']\n"
        "from discovery.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "loaded: []" in ended.stdout
    for command in ("run", "status", "query", "show", "doctor", "train", "evaluate", "worker"):
        assert command in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "sentence"),
    [
        (["run", "--campaign", "quikstart"], {}, 2, "Did you mean quickstart?"),
        (["run", "--campaign", "absent.yaml"], {}, 2, "no campaign file absent.yaml"),
        (["run"], {}, 2, "--campaign"),
        (
            ["run", "--campaign", "quickstart", "--set", "verify.prest=fast"],
            {},
            2,
            "unknown key verify.prest: did you mean preset?",
        ),
        (
            ["run", "--campaign", "quickstart"],
            {"MONGODB_URI": "mongodb://user:secret@127.0.0.1:9/?serverSelectionTimeoutMS=500"},
            1,
            "127.0.0.1:9",
        ),
        (["status", "quickstart"], {"MONGODB_URI": "mysql://localhost"}, 2, "mysql"),
        (
            ["run", "--campaign", "quickstart"],
            {"MONGOD": "/nonexistent/mongod"},
            1,
            "/nonexistent/mongod",
        ),
        (["worker", "--queue", "relx"], {}, 2, "unknown queue relx"),
        (["query", "quickstart", "--format", "cif"], {}, 2, "--out DIR"),
        (["train", "--config", "perov4", "--out", "x"], {}, 2, "Did you mean perov5?"),
        (["models", "check", "no-such-model"], {}, 2, "no-such-model"),
        (
            ["evaluate", "reconstruction", "--dataset", "perov5", "--checkpoint", "nowhere"],
            {"DISCOVERY_DATA": "DATA"},
            1,
            "nowhere",
        ),
    ],
)
def test_wrong_use_gets_one_sentence_and_writes_nothing(
    tmp_path: Path,
    arguments: list[str],
    environment: dict[str, str],
    code: int,
    sentence: str,
) -> None:
    if environment.get("DISCOVERY_DATA") == "DATA":
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "perov5_test.csv.gz").touch()
        environment = {"DISCOVERY_DATA": str(tmp_path / "data")}
    before = sorted(tmp_path.rglob("*"))
    ended = discovery(*arguments, cwd=tmp_path, **environment)
    assert ended.returncode == code, ended.stderr
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr
    assert ended.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("sede: 1", "unknown key sede"),
        ("targets: [{property: band_gap, min: 2, max: 1}]", "is empty"),
        ("generator: no-such-checkpoint", "no-such-checkpoint"),
    ],
)
def test_a_wrong_campaign_file_writes_nothing(tmp_path: Path, change: str, sentence: str) -> None:
    lines = {
        "name": "name: wrong",
        "generator": "generator: perov5",
        "targets": "targets: [{property: band_gap, min: 0.5}]",
        "propose": "propose: {proposers: [{kind: random, batch: 4}]}",
    }
    lines[change.partition(":")[0]] = change
    file = tmp_path / "wrong.yaml"
    file.write_text("\n".join(lines.values()))
    ended = discovery("run", "--campaign", str(file), cwd=tmp_path)
    assert ended.returncode in (1, 2), ended.stderr
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_doctor_names_every_part(tmp_path: Path) -> None:
    ended = discovery("doctor", "--json", cwd=tmp_path)
    report = json.loads(ended.stdout)
    assert ended.returncode == 0, report
    parts = {part["name"]: part for part in report["parts"]}
    assert {"database", "broker", "generator", "potential", "megnet", "alignn", "dft"} <= set(parts)
    assert {"disk", "gpu", "clock", "campaigns"} <= set(parts)
    needed = [part for part in parts.values() if part["needed"]]
    assert all(part["status"] == "ok" for part in needed)
    assert all(part["version"] for part in needed if part["name"] != "disk")
    assert parts["openlam"]["status"] == "ok"
    assert "golden values" in parts["openlam"]["detail"]
    assert list(tmp_path.iterdir()) == []


def test_doctor_fails_only_without_a_needed_part(tmp_path: Path) -> None:
    ended = discovery("doctor", "--json", cwd=tmp_path, MONGOD="/nonexistent/mongod")
    report = json.loads(ended.stdout)
    assert ended.returncode == 1
    broken = [part for part in report["parts"] if part["needed"] and part["status"] != "ok"]
    assert [part["name"] for part in broken] == ["database"]
    assert "embedded" in broken[0]["advice"]
