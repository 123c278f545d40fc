"""What the pages show runs: blocks of Python, pieces of campaign files, commands that only read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import REPOSITORY, Block, blocks

from discovery.campaign.config import CampaignConfig, load_campaign

#: Blocks that are not run here: start of the page's path, a word in them, why, and their test.
NOT_RUN = (
    ("docs/optimade", "OptimadeClient", "asks a server", "tests/discovery/serve/test_optimade.py"),
    ("docs/reference-data", "c2db", "imports all of C2DB", "tests/discovery/references"),
    ("docs/surrogate", "optuna_dashboard", "not installed", "tests/db/test_optuna_journal.py"),
    ("docs/extending", "", "the files that it quotes are tested", "examples/extending"),
)
#: Blocks that read the records of a campaign: tests/docs/test_records.py.
WITH_RECORDS = ("connect() as records",)


def alone(block: Block) -> bool:
    """Say whether a block runs without a campaign, a server or the network."""
    left_out = any(block.page.startswith(page) and word in block.text for page, word, *_ in NOT_RUN)
    return not left_out and not any(mark in block.text for mark in WITH_RECORDS)


@pytest.mark.parametrize("block", filter(alone, blocks("python")), ids=str)
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "\n" * (block.line - 1) + block.text  # so that an error names the page's line
    exec(compile(source, block.page, "exec"), {"__name__": "__main__"})


def test_every_block_that_is_not_run_exists_and_is_tested_elsewhere() -> None:
    texts = [(block.page, block.text) for block in blocks("python")]
    for page, word, _, test in NOT_RUN:
        assert any(one.startswith(page) and word in text for one, text in texts), page
        assert (REPOSITORY / test).exists(), test


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Put the keys of a piece of a campaign file over those of a whole one."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        result[key] = merged(below[key], value) if both else value
    return result


def without_packages(block: Block) -> bool:
    """Say whether a block names only the product's own parts; the others: tests/examples."""
    return not block.page.startswith("docs/extending/")


@pytest.mark.parametrize("block", filter(without_packages, blocks("yaml")), ids=str)
def test_pieces_of_campaign_files_are_accepted(block: Block) -> None:
    piece = yaml.safe_load(block.text)
    whole = load_campaign("photovoltaic-3d").model_dump(mode="json", exclude_unset=True)
    content = piece if "generator" in piece else merged(whole, piece)
    CampaignConfig.model_validate(content)


def test_a_stale_key_is_noticed() -> None:
    whole = load_campaign("photovoltaic-3d").model_dump(mode="json", exclude_unset=True)
    with pytest.raises(ValueError, match="max_element"):
        CampaignConfig.model_validate(merged(whole, {"screen": {"max_element": 4}}))
