"""Files, modules and settings that the pages name exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

from documents import REPOSITORY, blocks, mentions
from pydantic import BaseModel

from agents import extensions
from discovery.campaign.config import CampaignConfig

PACKAGES = ("discovery", "agents", "model", "db")
GROUPS = {extensions.POTENTIALS, extensions.SCREENS, extensions.PROPOSERS, extensions.DFT_CODES}
FOLDERS = (*PACKAGES, "configs", "tests", "docs", "benchmarks", "tools", "examples")
FILE = re.compile(rf"^(?:{'|'.join(FOLDERS)})/[\w./-]*$")
MODULE = re.compile(rf"^(?:{'|'.join(PACKAGES)})(?:\.\w+)+")
SECTIONS = {
    name: field.annotation
    for name, field in CampaignConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
#: Fields of a candidate's record, in a section of the same name.
RECORDED = {"follow_up.gaps", "follow_up.dft.refused", "follow_up.records"}
SETTING = re.compile(rf"^(?:{'|'.join(SECTIONS)})(?:\.[a-z_]+)+$")


def alternatives(text: str) -> Iterator[str]:
    """Take `agents/{a,b}.py` apart."""
    match = re.search(r"\{([^}]*)\}", text)
    if match is None:
        yield text
        return
    for one in match[1].split(","):
        yield text.replace(match[0], one.strip())


def exists(dotted: str) -> bool:
    """Say whether a module, or a name in one, exists."""
    words = dotted.split(".")
    for length in range(len(words), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            fields = getattr(found, "model_fields", {}) | getattr(found, "__annotations__", {})
            if not hasattr(found, word) and word not in fields:
                return False
            found = getattr(found, word, None)
        return True
    return False


def is_setting(dotted: str) -> bool:
    """Say whether a key of the campaign file exists."""
    section, *keys = dotted.split(".")
    settings: Any = SECTIONS[section]
    for key in keys:
        if key not in getattr(settings, "model_fields", {}):
            return False
        settings = settings.model_fields[key].annotation
    return True


def test_files_that_the_pages_name_exist() -> None:
    named = [
        (where, path)
        for where, text in mentions()
        for path in alternatives(text)
        if FILE.match(path.split("::")[0])
    ]
    missing = [f"{where} {path}" for where, path in named if not (REPOSITORY / path).exists()]
    assert len(named) > 100
    assert missing == []


def test_every_benchmark_is_told() -> None:
    told = (REPOSITORY / "docs" / "benchmarks.md").read_text()
    scripts = [
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "benchmarks").glob("*.py")
        if "__main__" in path.read_text()
    ]
    assert len(scripts) > 15
    assert [script for script in scripts if f"`{script}`" not in told] == []


def test_modules_that_the_pages_name_exist() -> None:
    named = [
        (where, match[0])
        for where, text in mentions()
        if (match := MODULE.match(text)) and "/" not in text
    ]
    missing = [f"{w} {name}" for w, name in named if name not in GROUPS and not exists(name)]
    assert len(named) > 10
    assert missing == []


def test_settings_that_the_pages_name_exist() -> None:
    named = [
        (where, key)
        for where, text in mentions()
        for key in re.split(r"[:=\s]", text)[:1]
        if SETTING.match(key) and key not in RECORDED
    ]
    missing = [f"{where} {key}" for where, key in named if not is_setting(key)]
    assert len(named) > 50
    assert missing == []


def test_blocks_are_fenced() -> None:
    indented = [str(block) for block in blocks() if block.language is None]
    assert indented == []


def test_what_is_stale_is_noticed() -> None:
    assert not (REPOSITORY / "agents/verify/gap.py").exists()
    assert exists("agents.relax.gate.check")
    assert not exists("agents.relax.gate.chekc")
    assert not exists("agents.verify.nowhere")
    assert is_setting("verify.preset")
    assert is_setting("learn.finetune.replay")
    assert not is_setting("verify.presets")
