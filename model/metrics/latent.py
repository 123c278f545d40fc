"""The space of codes: principal components, symmetry, what the codes know, how many are used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.codes import CrystalCodes
from model.data.dataset import read_split
from model.generator import Generator
from model.metrics.code_cost import Position, positions
from model.metrics.probe import probe
from model.metrics.symmetry import crystal_system, silhouettes, space_group
from model.networks.indices import CodeIndices
from model.networks.quantiser import look_up_kept

PROTOCOL = (
    "global vectors: code vectors of the species tokens (zero in unused slots) and of the crystal "
    "token, centred, either part divided by its root mean square so that slots few crystals use "
    "weigh little; local vectors: mean over atoms; space groups by spglib at 0.1 Å; "
    "silhouette (Rousseeuw 1987) of up to 4,000 crystals by crystal system and by the "
    "ten most frequent space groups, Euclidean between vectors, Hamming between codes; "
    "probe: two hidden layers on frozen vectors, trained on the bank's training rows, judged on "
    "the split"
)
_CHUNK = 1024


@torch.inference_mode()
def code_vectors(generator: Generator, codes: Sequence[CrystalCodes]) -> tuple[Tensor, Tensor]:
    """Return the global (n, G) and the mean local (n, L) code vectors of crystals."""
    quantisers = generator.model.quantisers
    global_parts, local_parts = [], []
    for start in range(0, len(codes), _CHUNK):
        indices = CodeIndices.from_codes(
            codes[start : start + _CHUNK], generator.model.species_slots
        )
        parts = [quantisers["crystal"].lookup(indices.crystal)]
        if "species" in quantisers:
            tokens = look_up_kept(quantisers["species"], indices.species, indices.present)
            parts.insert(0, tokens.flatten(1))
        global_parts.append(torch.cat(parts, -1))
        local_parts.append(_mean_local(generator, indices))
    return torch.cat(global_parts), torch.cat(local_parts)


def _mean_local(generator: Generator, indices: CodeIndices) -> Tensor:
    """Return the mean over atoms of all local code vectors (B, L)."""
    quantisers, mask = generator.model.quantisers, indices.mask
    if "local" in quantisers:
        vectors = look_up_kept(quantisers["local"], indices.local, mask)
    else:
        role = look_up_kept(quantisers["role"], indices.local[..., :1], mask)
        kept = mask[..., None].expand(*mask.shape, 3)
        axes = look_up_kept(quantisers["axis"], indices.local[..., 1:, None], kept)
        vectors = torch.cat([role, axes.flatten(-2)], -1)
    return vectors.sum(1) / mask.sum(1, keepdim=True)


def principal_components(
    vectors: NDArray[np.float64], n: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates (m, n) along the first components and the shares of variance (n,).

    Components are signed so that their largest weight is positive.
    """
    centred = vectors - vectors.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:n]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    share = singular**2 / (singular**2).sum()
    return centred @ axes.T, share[:n]


def perplexities(generator: Generator) -> dict[str, Any]:
    """Return the effective number of codes by position over the bank's training crystals.

    Returns:
        {"species.0": {"perplexity", "used", "size"}, …}: exp of the entropy, codes that occur,
        codes there are.
    """
    counts: dict[Position, Counter[int]] = defaultdict(Counter)
    sizes: dict[Position, int] = {}
    for row in generator.bank.rows("train"):
        codes = generator.bank.codes(int(row))
        places = (*generator.gene_sizes(codes), *generator.model.local_sizes * codes.n_atoms)
        for (position, code), size in zip(positions(codes), places):
            counts[position][code] += 1
            sizes[position] = size
    result = {}
    for (kind, level), column in counts.items():
        share = np.array(list(column.values())) / column.total()
        result[f"{kind}.{level}"] = {
            "perplexity": float(np.exp(-(share * np.log(share)).sum())),
            "used": len(column),
            "size": sizes[kind, level],
        }
    return result


def evaluate_latent(
    generator: Generator,
    *,
    dataset: str,
    split: str,
    data_dir: Path,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Look at the codes of a split (SCIENCE §3, "Latent space").

    Args:
        generator: to look at.
        dataset: e.g. "mp20".
        split: "train", "val" or "test".
        data_dir: directory of the data sets.
        limit: only the first rows.
        seed: of the probe and of the crystals of a silhouette.

    Returns:
        The figures {"explained_variance", "silhouette", "probes" (target → "global", "local",
        "both" → R², MAE), "perplexity", …}, and the points to draw: per crystal {"id", "formula",
        "pc1", "pc2", "space_group", "crystal_system", target: label or None}.

    Raises:
        ValueError: if fewer than three crystals can be encoded.
    """
    table = read_split(dataset, split, data_dir=data_dir, limit=limit)
    encoded = generator.encode_crystals(table.crystals)
    rows = [i for i, c in enumerate(encoded) if isinstance(c, CrystalCodes)]
    codes = [c for c in encoded if isinstance(c, CrystalCodes)]
    if len(codes) < 3:
        raise ValueError(f"{len(codes)} crystals of {dataset} {split} can be encoded: too few")
    vectors, local = code_vectors(generator, codes)
    crystal_width = generator.model.quantisers["crystal"].dim
    scaled = _balanced(vectors.double(), crystal_width).numpy()
    components, share = principal_components(scaled, 10)
    groups = [space_group(table.crystals[i]) for i in rows]
    labels = {name: torch.from_numpy(values[rows]) for name, values in table.labels.items()}
    figures = {
        "model": generator.name,
        "model_version": generator.version,
        "dataset": dataset,
        "split": split,
        "n": len(codes),
        "seed": seed,
        "explained_variance": share.tolist(),
        "silhouette": silhouettes(scaled, _padded_genes(codes), groups, seed=seed),
        "probes": _probes(generator, vectors, local, labels, seed),
        "perplexity": perplexities(generator),
        "protocol": PROTOCOL,
    }
    points = [
        {
            "id": table.ids[i],
            "formula": table.formulas[i],
            "pc1": float(components[k, 0]),
            "pc2": float(components[k, 1]),
            "space_group": groups[k],
            "crystal_system": None if groups[k] is None else crystal_system(groups[k] or 1),
            **{name: _or_none(values[k].item()) for name, values in labels.items()},
        }
        for k, i in enumerate(rows)
    ]
    return figures, points


def _balanced(vectors: Tensor, crystal_width: int) -> Tensor:
    """Centre global vectors (n, G); give species tokens and crystal token the same spread.

    What has no spread at all is left out: the species tokens of crystals of one element.
    """
    centred = vectors - vectors.mean(0)
    parts = centred.split([vectors.shape[1] - crystal_width, crystal_width], 1)
    spreads = [part.square().sum(1).mean().sqrt() for part in parts]
    least = 1e-6 * vectors.square().sum(1).mean().sqrt()  # of equal vectors only rounding is left
    return torch.cat([part / spread for part, spread in zip(parts, spreads) if spread > least], 1)


def _probes(
    generator: Generator, vectors: Tensor, local: Tensor, labels: dict[str, Tensor], seed: int
) -> dict[str, Any]:
    """Return what the codes know of every target that bank and split both have."""
    rows = generator.bank.rows("train")
    shared = [name for name in labels if name in generator.bank.properties]
    if not shared:
        return {}
    own, own_local = code_vectors(generator, [generator.bank.codes(int(r)) for r in rows])
    result: dict[str, Any] = {}
    for name in shared:
        values = torch.from_numpy(generator.bank.properties[name][rows])
        if int((~values.isnan()).sum()) < 2 or int((~labels[name].isnan()).sum()) < 2:
            continue
        inputs = {
            "global": (own, vectors),
            "local": (own_local, local),
            "both": (torch.cat([own, own_local], 1), torch.cat([vectors, local], 1)),
        }
        result[name] = {}
        for kind, (train, test) in inputs.items():
            found = probe(train, values, test, labels[name], seed=seed)
            result[name][kind] = {"r2": found.r2, "mae": found.mae, "n": found.n}
    return result


def _padded_genes(codes: Sequence[CrystalCodes]) -> NDArray[np.int64]:
    """Return global codes (n, genes): species padded with -1 to the most, then the crystal's."""
    slots = max(c.n_species for c in codes)
    levels = len(codes[0].species[0]) if slots else 0
    rows = [
        [
            *(g for token in c.species for g in token),
            *(-1 for _ in range((slots - c.n_species) * levels)),
            *c.crystal,
        ]
        for c in codes
    ]
    return np.array(rows, dtype=np.int64)


def _or_none(value: float) -> float | None:
    """Return a label, None where it is missing."""
    return None if np.isnan(value) else value
