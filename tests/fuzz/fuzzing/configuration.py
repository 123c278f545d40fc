"""Targets: campaign files, filters, training configurations and the command line."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from importlib import resources
from pathlib import Path
from unittest import mock

from db.filters import InvalidFilter
from discovery.campaign.config import ConfigError
from fuzzing.target import Target, saved


def _campaigns() -> list[bytes]:
    small = (
        b"name: own\ngenerator: perov5\ntargets: [{property: band_gap, min: 0.5, max: 2}]\n"
        b"propose: {proposers: [{kind: random, batch: 4}]}\nbudget: {rounds: 1}\n"
    )
    return [small, *_shipped("campaigns")]


def _shipped(folder: str) -> list[bytes]:
    """Return the configurations of a kind that come with the package, the shortest first."""
    files = (resources.files("configs") / folder).iterdir()
    return sorted((one.read_bytes() for one in files if one.name.endswith(".yaml")), key=len)


def _read_campaign(data: bytes, folder: Path) -> object:
    from discovery.campaign.config import load_campaign

    return load_campaign(str(saved(data, folder, "own.yaml"))).record()


def _filters() -> list[bytes]:
    good = [
        'band_gap >= 0.5 AND elements HAS ALL "Ga","N"',
        'NOT (state = "verified" OR formula CONTAINS "Ga") AND hit = TRUE',
        "0.5 <= band_gap AND natoms <= 20 AND energy_above_hull IS KNOWN",
        'elements LENGTH 3 OR elements HAS ANY "O", "S" AND id STARTS WITH "x"',
    ]
    return [one.encode() for one in good]


def _read_filter(data: bytes, folder: Path) -> object:
    from bson import encode

    from db.filters import parse, to_mongo

    text = data.decode("utf-8", "surrogateescape")
    return encode({"query": to_mongo(parse(text))})


def _read_model(data: bytes, folder: Path) -> object:
    from discovery.models.generator_training import read_train_config

    return read_train_config(str(saved(data, folder, "own.yaml")), [])


COMMANDS: tuple[str, ...] = (
    "status x --json",
    "show x-1 --json",
    "query x --where 'band_gap>=0.5' --sort band_gap --format json --limit 3",
    "query x --elements In,Ga --fields formula,band_gap --format csv --out out.csv",
    "funnel x --window band_gap:1.0:2.0",
    "dft list --campaign x --state failed",
    "dft show abc",
    "worker --queue relax --concurrency 2",
    "dedup own.cif --reference mp --json",
    "data list --json",
    "data import own.csv.gz --name own",
    "models list",
    "import-dft calculations --level pbe --min-k-density 1",
    "serve --optimade --host 127.0.0.1 --port 0",
    "run --campaign own.yaml --max-candidates 3 --workers 0",
    "train --config own.yaml --out out",
    "generate --checkpoint nowhere --n 3 --formula SrTiO3 --out out",
    "--help",
)


def _without_database() -> contextlib.ExitStack:
    """Put a database that cannot be reached behind every command."""
    from db.connection import DatabaseUnavailable

    stack = contextlib.ExitStack()
    refusal = DatabaseUnavailable("no database while the command line is fuzzed")
    for name in ("db.connection.connect", "discovery.campaign.launch.connect"):
        stack.enter_context(mock.patch(name, side_effect=refusal))
    return stack


def _run_command(data: bytes, folder: Path) -> object:
    import os

    from discovery.cli import main

    text = data.decode("utf-8", "surrogateescape").replace("\0", "")
    try:
        arguments = shlex.split(text)
    except ValueError:
        arguments = text.split()
    before = Path.cwd()
    os.chdir(folder)
    (folder / "own.cif").write_text("data_x\n")
    output = io.StringIO()
    try:
        with (
            _without_database(),
            mock.patch.object(sys, "argv", ["discovery", *arguments]),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            main()
    except SystemExit as end:
        if end.code not in (None, 0, 1, 2, 130):
            raise RuntimeError(f"exit code {end.code!r}: {output.getvalue():.200}") from None
        if end.code and "Traceback" in output.getvalue():
            raise RuntimeError(output.getvalue()[-2000:]) from None
    finally:
        os.chdir(before)
    return output.getvalue()


TARGETS = (
    Target(
        "campaign",
        _campaigns,
        _read_campaign,
        (ConfigError,),
        tokens=(
            *(b"&a ", b"*a", b"<<: *a", b"? ", b"!!binary ", b"!!timestamp ", b"|-\n", b"---\n"),
            *(
                b"targets:",
                b"propose:",
                b"verify:",
                b"screen:",
                b"hull:",
                b"null",
                b".inf",
                b".nan",
            ),
        ),
        packages=("yaml", "discovery.campaign.config", "agents"),
        weight=5,
    ),
    Target(
        "model-configuration",
        lambda: _shipped("model"),
        _read_model,
        (ConfigError,),
        tokens=(b"model:", b"epochs:", b"dataset:", b"null", b".inf", b"&a ", b"*a"),
        packages=("yaml", "discovery.models.generator_training", "model.settings"),
        weight=3,
    ),
    Target(
        "filter",
        _filters,
        _read_filter,
        (InvalidFilter,),
        tokens=(
            *(b" AND ", b" OR ", b"NOT ", b" HAS ALL ", b" HAS ONLY ", b" LENGTH ", b" IS UNKNOWN"),
            *(b" CONTAINS ", b" ENDS WITH ", b'"', b"TRUE", b"band_gap", b"elements", b"id", b":"),
        ),
        packages=("lark", "db.filters"),
        largest=12_000,
        weight=12,
    ),
    Target(
        "command-line",
        lambda: [one.encode() for one in COMMANDS],
        _run_command,
        (),
        tokens=(
            *(b" --json", b" --help", b" -", b" --", b" --campaign ", b" --out ", b" --limit -1"),
            *(b" --where ", b" --format cif", b" --db mongodb://u:p@h/x", b" ''", b" --version"),
        ),
        packages=("discovery.cli",),
        largest=600,
        weight=0.25,
    ),
)
