"""The audit of the packages never takes silence for safety."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "tools" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packages_that_were_passed_over_are_not_safe(
    audit: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    passed = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
    sound = {"name": "numpy", "version": "1", "vulns": []}
    bad = {"name": "pyyaml", "version": "3", "vulns": [{"id": "PYSEC-2018-49"}]}
    own = {"name": "discovery", "skip_reason": "not on PyPI"}
    assert audit.report([passed]) == 2
    assert audit.report([sound, passed]) == 2
    assert audit.report([sound, own]) == 0
    assert audit.report([sound, bad]) == 1
    assert "PYSEC-2018-49" in capsys.readouterr().out
    assert audit.report([]) == 2


def test_ranges_of_versions_are_compared(audit: ModuleType) -> None:
    listed = {"PyYAML": ["<4", ">=5,<5.4"], "other": ["<9"]}
    assert list(audit.known({"pyyaml": "5.3.1"}, listed)) == ["pyyaml"]
    assert list(audit.known({"pyyaml": "3.12"}, listed)) == ["pyyaml"]
    assert list(audit.known({"pyyaml": "6.0.3", "numpy": "1"}, listed)) == []


def test_every_package_is_pinned(audit: ModuleType) -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-").replace(".", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    tools = {"pip", "setuptools", "wheel"}
    assert {name for name in audit.installed() if name not in tools} <= pinned
