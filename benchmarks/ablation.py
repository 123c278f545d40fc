"""What each part of the generator's design is worth: one part changed at a time.

    python benchmarks/ablation.py --config perov5 --epochs 10 --out ablation.jsonl
    python benchmarks/ablation.py --config mp20 --epochs 8 --limit 9000 --variants full seeing

Every variant is trained by the product's own trainer on the training split and judged on the first
rows of the validation split, never on the test split. One JSON line a run: match rate and RMS at
the plain and the strict tolerance, and the searchability of the codes (genes of random donors on
held-out bases). Runs that stand in the file already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from agents.paths import data_path
from model.data.canonical import CanonicalCrystal, Crystal, canonical
from model.data.tensors import CrystalTensors
from model.generator import Generator
from model.metrics.reconstruction import reconstruction
from model.metrics.searchability import donors, searchability, volume_slope
from model.networks.coordinates import fourier_features
from model.networks.decoder import AtomPrediction, CodeVectors, CrystalDecoder
from model.networks.encoder import CrystalEncoder
from model.networks.lattice import RelativeLattice
from model.networks.layers import atom_mean
from model.settings import ModelConfig, TrainConfig
from model.training import train


class SeeingEncoder(CrystalEncoder):
    """Local codes see everything, the elements included, as in VQCrystal."""

    def _roles(self, crystals: CrystalTensors, waves: Tensor) -> Tensor:
        element = self.element(crystals.numbers) + self.rank(crystals.ranks)
        own = self.anonymous(torch.cat([waves.flatten(-2), element], -1))
        around = F.gelu(self.anonymous_context(atom_mean(own, crystals.mask)))
        return self.to_role(torch.cat([own, around[:, None].expand_as(own)], -1))


class TravellingEncoder(CrystalEncoder):
    """Species tokens see the whole crystal, its cell included, and carry it to other crystals."""

    def forward(self, crystals: CrystalTensors, lattice: Tensor) -> Any:
        encoding = super().forward(crystals, lattice)
        waves = fourier_features(crystals.frac)
        context = self._context(crystals, lattice, self.element(crystals.numbers), waves)
        slot = F.one_hot(crystals.ranks, self.config.max_species).to(context.dtype)
        slot = slot * crystals.mask[..., None]
        own = slot.transpose(1, 2) @ context / slot.sum(1).clamp(min=1)[..., None]
        return replace(encoding, species=encoding.species + own[..., : self.config.species_dim])


class PairlessEncoder(CrystalEncoder):
    """Attention without the bias of distances."""

    def _context(
        self, crystals: CrystalTensors, lattice: Tensor, element: Tensor, waves: Tensor
    ) -> Tensor:
        far = replace(crystals, distances=torch.full_like(crystals.distances, 1e3))
        return super()._context(far, lattice, element, waves)


class MovingDecoder(CrystalDecoder):
    """Coordinates also read the transformer's state, so global genes move atoms."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.moving = nn.Linear(config.width, 3 * config.coordinate_bins)

    def forward(self, codes: CodeVectors, slots: Tensor) -> AtomPrediction:
        prediction = super().forward(codes, slots)
        moved = self.moving(prediction.hidden).unflatten(-1, (3, self.bins))
        return replace(prediction, coordinates=prediction.coordinates + moved)


class AbsoluteLattice(RelativeLattice):
    """The crystal token alone says the cell."""

    def expected(self, species: Tensor, *args: Tensor) -> Tensor:
        return super().expected(species, *args) * 0


def as_in_file(crystal: Crystal) -> CanonicalCrystal:
    """Rank the elements, but leave origin and order of the atoms as they are in the file."""
    rank_of = dict(zip((ordered := canonical(crystal)).numbers.tolist(), ordered.ranks.tolist()))
    ranks = np.array([rank_of[z] for z in crystal.numbers.tolist()])
    return CanonicalCrystal(crystal.numbers, crystal.frac % 1.0, crystal.cell, ranks)


@dataclass(frozen=True)
class Variant:
    """One changed part: classes put in place of the product's, or other settings."""

    what: str
    parts: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)


_ENCODER, _DECODER = "model.networks.vqvae.CrystalEncoder", "model.networks.vqvae.CrystalDecoder"
VARIANTS = {
    "full": Variant("the design"),
    "seeing": Variant("local codes see the elements", {_ENCODER: SeeingEncoder}),
    "travelling": Variant("species tokens see the cell", {_ENCODER: TravellingEncoder}),
    "pairless": Variant("no pair bias", {_ENCODER: PairlessEncoder}),
    "moving": Variant("global genes move atoms", {_DECODER: MovingDecoder}),
    "absolute": Variant(
        "lattice not relative to chemistry",
        {"model.networks.vqvae.RelativeLattice": AbsoluteLattice},
    ),
    "uncanonical": Variant(
        "atoms and origin as in the file",
        {"model.data.cache.canonical": as_in_file, "model.generator.canonical": as_in_file},
    ),
    "recycled": Variant(
        "the library's usual recycling of codes",
        model={"codebook_decay": 0.95, "dead_code_threshold": 2.0},
    ),
    "rotated": Variant("rotation trick on", model={"rotation_trick": True}),
    "unlabelled": Variant("no property loss", losses={"properties": 0.0}),
}


@contextmanager
def changed(variant: Variant) -> Iterator[None]:
    """Put a variant's parts in place while the context lasts."""
    with ExitStack() as stack:
        for place, part in variant.parts.items():
            stack.enter_context(mock.patch(place, part))
        yield


STEERING = (
    "distinct_compositions",
    "min_distance_above_0.5",
    "charge_neutral",
    "composition_differs",
    "coordinate_shift",
)


def configuration(base: str, variant: Variant, options: argparse.Namespace) -> TrainConfig:
    """Return the training configuration of a variant, with a property head that costs little."""
    text = (resources.files("configs") / "model" / f"{base}.yaml").read_text("utf-8")
    content = yaml.safe_load(text)
    content["model"] = {**content.get("model", {}), **variant.model}
    content["losses"] = {**content.get("losses", {}), **variant.losses}
    content |= {"epochs": options.epochs, "limit": options.limit, "seed": options.seed}
    return TrainConfig(**content | {"head": {"epochs": 2, "members": 2}, "prior": None})


def measure(base: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train a variant and judge it on validation crystals."""
    variant, started = VARIANTS[name], time.perf_counter()
    config = configuration(base, variant, options)
    data_dir = data_path(f"{config.dataset}_train.csv.gz").parent
    with tempfile.TemporaryDirectory() as folder, changed(variant):
        out = train(config, data_dir=data_dir, out=Path(folder) / "checkpoint")
        seconds = time.perf_counter() - started
        generator = Generator.load(out)
        rebuilt = reconstruction(
            generator, dataset=config.dataset, split="val", data_dir=data_dir, limit=options.rows
        )
        steered = searchability(generator, donors(generator), n_bases=50)
        swaps = volume_slope(generator, n_bases=50, n_draws=32)
    return {
        "config": base,
        "variant": name,
        "what": variant.what,
        "epochs": options.epochs,
        "limit": options.limit,
        "seed": options.seed,
        "rows": options.rows,
        **{k: rebuilt[k] for k in ("match_rate", "rms", "match_rate_strict", "match_rate_free")},
        **{k: steered[k] for k in STEERING},
        "volume_slope": swaps["slope"],
        "train_seconds": round(seconds, 1),
    }


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", default="perov5")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int, default=None, help="training rows")
    parser.add_argument("--rows", type=int, default=500, help="validation rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("ablation.jsonl"))
    options = parser.parse_args()
    done = [json.loads(line) for line in options.out.open()] if options.out.exists() else []
    asked = {"config": options.config, "epochs": options.epochs, "limit": options.limit}
    asked |= {"seed": options.seed, "rows": options.rows}
    for name in options.variants:
        wanted = {**asked, "variant": name}
        if any(wanted.items() <= run.items() for run in done):
            continue
        result = measure(options.config, name, options)
        with options.out.open("a") as stream:
            stream.write(json.dumps(result) + "\n")
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
