"""``evaluate``: a generator measured by the metrics of its field, one command for each."""

from __future__ import annotations

import enum
import json as json_module
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from discovery.cli import completion, evaluate_search
from discovery.cli.bars import working
from discovery.cli.options import Json
from discovery.cli.output import UsageError, print_json

if TYPE_CHECKING:
    from model.generator import Generator

app = typer.Typer(help="Measure a generator, or its search.", no_args_is_help=True)
evaluate_search.register(app)


class Split(enum.StrEnum):
    """Official splits of a data set."""

    train = "train"
    val = "val"
    test = "test"


Dataset = Annotated[
    str | None, typer.Option(help="Name of the data set; default: the checkpoint's own.")
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="Name or folder; default: named like the data set.",
        autocompletion=completion.generators,
    ),
]
OfficialSplit = Annotated[Split, typer.Option(help="Official split.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes; default: as many as there are cores.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="Temperature of the prior.")]
Fingerprints = Annotated[
    Path | None, typer.Option(help="Folder that keeps fingerprints; default: the user's cache.")
]


@app.command()
def reconstruction(
    dataset: Dataset = None,
    split: OfficialSplit = Split.test,
    checkpoint: Checkpoint = None,
    limit: Limit = None,
    jobs: Jobs = None,
    failures: Annotated[
        Path | None, typer.Option(help="JSON file to write: every crystal that fails, and why.")
    ] = None,
    json: Json = False,
) -> None:
    """Encode and decode a split, and match against the originals.

    Example: `discovery evaluate reconstruction --dataset perov5 --split test --json`
    """
    from model.metrics.matching import available_cores
    from model.metrics.reconstruction import reconstruction as measure

    generator, name, folder = _subject(checkpoint, dataset, split)
    failed: list[dict[str, Any]] = []
    with working("reconstructing"):
        result = measure(
            generator,
            dataset=name,
            split=split.value,
            data_dir=folder,
            limit=limit,
            jobs=jobs or available_cores(),
            failures=failed,
        )
    if failures is not None:
        failures.write_text(json_module.dumps(failed, indent=2) + "\n")
    _show(result, json)


@app.command()
def generation(
    checkpoint: Checkpoint = None,
    dataset: Dataset = None,
    n: Annotated[int, typer.Option(min=1, help="Crystals to draw from the prior.")] = 10_000,
    n_fingerprints: Annotated[
        int, typer.Option(min=0, help="Of these, so many get fingerprints (22 ms a site).")
    ] = 1000,
    n_unique: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many are judged unique and novel; default: all, or 300 of one formula."
        ),
    ] = None,
    structures: Annotated[
        Path | None, typer.Option(help="Judge this extxyz file or folder of CIFs instead.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Compare with the first so many test rows only.")
    ] = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    fingerprints: Fingerprints = None,
    jobs: Jobs = None,
    json: Json = False,
) -> None:
    """Judge crystals from the prior: validity, coverage, property distance, uniqueness, novelty.

    Example: `discovery evaluate generation --checkpoint mp20 --n 10000 --json`
    """
    from agents.paths import cache_path
    from model.metrics.generation import evaluate_generation
    from model.metrics.matching import available_cores

    generator, name, folder = _subject(checkpoint, dataset, Split.test)
    with working("judging what the prior draws"):
        result = evaluate_generation(
            generator,
            dataset=name,
            data_dir=folder,
            n=n,
            n_fingerprints=n_fingerprints,
            n_unique=n_unique,
            structures=structures,
            limit=limit,
            seed=seed,
            temperature=temperature,
            cache=fingerprints or cache_path("fingerprints"),
            jobs=jobs or available_cores(),
        )
    _show(result, json)


@app.command()
def latent(
    checkpoint: Checkpoint = None,
    dataset: Dataset = None,
    split: OfficialSplit = Split.test,
    limit: Limit = None,
    points: Annotated[
        Path | None, typer.Option(help="JSON file to write: principal components of every crystal.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Look at the code vectors: components, silhouettes by symmetry, what the codes know.

    Example: `discovery evaluate latent --checkpoint mp20 --json`
    """
    from model.metrics.latent import evaluate_latent

    generator, name, folder = _subject(checkpoint, dataset, split)
    with working("looking at the codes"):
        result, table = evaluate_latent(
            generator, dataset=name, split=split.value, data_dir=folder, limit=limit, seed=seed
        )
    if points is not None:
        points.write_text(json_module.dumps(table) + "\n")
    _show(result, json)


@app.command()
def searchability(
    checkpoint: Annotated[
        str, typer.Option(help="Name or folder.", autocompletion=completion.generators)
    ],
    bases: Annotated[int, typer.Option(min=1, help="Crystals whose local codes are kept.")] = 100,
    draws: Annotated[int, typer.Option(min=1, help="Draws of global codes for each.")] = 64,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    json: Json = False,
) -> None:
    """Draw global codes for fixed local codes and see what becomes of the crystals.

    Example: `discovery evaluate searchability --checkpoint mp20 --json`
    """
    from model.generator import Generator
    from model.metrics.searchability import evaluate_searchability

    with working("drawing codes and decoding them"):
        result = evaluate_searchability(
            Generator.load(checkpoint),
            n_bases=bases,
            n_draws=draws,
            seed=seed,
            temperature=temperature,
        )
    _show(result, json)


@app.command()
def prediction(
    checkpoint: Checkpoint = None,
    dataset: Dataset = None,
    split: OfficialSplit = Split.test,
    limit: Limit = 1000,
    samples: Annotated[int, typer.Option(min=1, help="Structures for each formula.")] = 20,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    json: Json = False,
) -> None:
    """Predict the structures of a split from their formulas.

    Example: `discovery evaluate prediction --checkpoint mp20 --limit 1000 --samples 20 --json`
    """
    from model.prior.prediction import structure_prediction

    generator, name, folder = _subject(checkpoint, dataset, split)
    with working("predicting structures"):
        result = structure_prediction(
            generator=generator,
            dataset=name,
            split=split.value,
            data_dir=folder,
            limit=limit,
            samples=samples,
            seed=seed,
            temperature=temperature,
        )
    _show(result, json)


@app.command()
def properties(
    checkpoint: Checkpoint = None,
    dataset: Dataset = None,
    split: OfficialSplit = Split.test,
    limit: Limit = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="TARGET=FILE.csv.gz (id,value): labels of one more level of theory; repeatable."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Judge the property head on a split, from codes: errors, calibration, a constant beside.

    Example: `discovery evaluate properties --checkpoint mp20 --json`
    """
    from model.metrics.properties import evaluate_properties

    generator, name, folder = _subject(checkpoint, dataset, split)
    with working("judging the property head"):
        result = evaluate_properties(
            generator,
            dataset=name,
            split=split.value,
            data_dir=folder,
            limit=limit,
            extra_labels=_labels(label or []),
        )
    _show(result, json)


def _labels(pairs: list[str]) -> dict[str, Path]:
    """Return target → file of TARGET=FILE pairs."""
    labels = {}
    for pair in pairs:
        target, _, file = pair.rpartition("=")
        if not target or not Path(file).is_file():
            raise UsageError(f"--label {pair!r}: expected TARGET=FILE with an existing file")
        labels[target] = Path(file)
    return labels


def _subject(
    checkpoint: str | None, dataset: str | None, split: Split
) -> tuple[Generator, str, Path]:
    """Return the generator, the data set's name and the folder of its files."""
    from agents.paths import data_path
    from model.generator import Generator

    named = checkpoint or dataset
    if named is None:
        raise UsageError("give --checkpoint, --dataset or both")
    with working(f"loading {named}"):
        generator = Generator.load(named)
    name = dataset or str(generator.card["config"]["dataset"])
    return generator, name, data_path(f"{name}_{split.value}.csv.gz").parent


def _show(result: Mapping[str, Any], json: bool) -> None:
    """Print a result as one JSON document or as lines."""
    if json:
        print_json(result)
        return
    for key, value in _flat(result):
        print(f"{key:44} {value}")


def _flat(result: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested results as lines with dotted names."""
    lines: list[tuple[str, Any]] = []
    for key, value in result.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append((prefix + key, f"{value:.4f}" if isinstance(value, float) else value))
    return lines
